"""Programs that a test plays: a spawner that starts coroutines.

::

    async def greet(process: ScriptedProcess) -> int:
        name = await process.read()
        await process.write(b"hello, " + name)
        return 0

    spawner = ScriptedSpawner(memory_network.clock, {"greet": greet})

What a script returns is its exit code. It ends by a signal, or at the end of the pipes that it writes to, as a program
does. `process.fork` starts another one in the same tree, which may outlive the first.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping
from signal import SIGKILL, SIGPIPE, Signals
from typing import Any, Final, NoReturn, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from sockserv.services.execution.child import Child, Ending, Program, StartFailed
from sockserv.testing.pipes import Pipe, PipeSink, PipeSource

__all__ = [
    "Script",
    "ScriptedChild",
    "ScriptedProcess",
    "ScriptedSpawner",
    "SignalReceived",
    "cat",
    "exits",
    "prints",
    "sleeps",
]

_HARMLESS: Final = frozenset({"CHLD", "CONT", "URG", "WINCH"})
"""Signals that do nothing to a program which has not asked for them."""


class SignalReceived(Exception):
    """A signal that the process wanted to `catch` has come, while it waited for something."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Died(Exception):
    """The process dies by a signal of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class ScriptedProcess:
    """A process, for the script that plays it.

    `program` is what was asked for, `child` the tree that it is of. The methods that wait end with `SignalReceived`
    when a signal comes that the script catches.
    """

    def __init__(
        self, child: ScriptedChild, program: Program, clock: IReactorTime, *, is_in_reach: bool
    ) -> None:
        self.child = child
        self.program = program
        self.is_in_reach = is_in_reach
        self._clock = clock
        self._ignored: set[str] = set()
        self._caught: set[str] = set()
        self._missed: list[str] = []
        self._waiting: Deferred[Any] | None = None
        self._running: Deferred[Any] | None = None
        self._killed_by: int | None = None
        self._outputs = {id(pipe): pipe for pipe in (child.output, child.errors)}
        for pipe in self._outputs.values():
            pipe.add_writer()
        self._input: Pipe | None = child.input
        child.input.add_reader()

    # For the script

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return self.program.argv

    async def read(self, max_bytes: int = 65_536) -> bytes:
        """The next bytes of the standard input, at least one; `b""` at its end."""
        while self._input is not None:
            data = self._input.take(max_bytes)
            if data is not None:
                return data
            await self._wait(self._input.wait_for_data())
        return b""

    async def write(self, data: bytes, *, to_stderr: bool = False) -> None:
        """Write to the standard output, or to the standard error; waits while nobody reads.

        A process whose reader has gone dies of it.
        """
        pipe = self.child.errors if to_stderr else self.child.output
        rest = memoryview(data)
        while rest:
            if id(pipe) not in self._outputs:
                raise OSError(errno.EBADF, "the process has closed this")
            count = pipe.put(rest)
            if count is None:
                self.die(SIGPIPE)
            rest = rest[count:]
            if rest:
                await self._wait(pipe.wait_for_room())

    async def sleep(self, seconds: float) -> None:
        """Let time pass on the clock."""
        waiting: Deferred[None] = Deferred()
        timer = self._clock.callLater(seconds, waiting.callback, None)
        try:
            await self._wait(waiting)
        finally:
            if timer.active():
                timer.cancel()

    def ignore(self, *names: str) -> None:
        """Let signals of these names (`INT`) do nothing from now on."""
        self._ignored.update(names)

    def catch(self, *names: str) -> None:
        """Have signals of these names raise `SignalReceived` in what the script waits for, or will wait for next."""
        self._caught.update(names)

    def die(self, signal: int) -> NoReturn:
        """Die by a signal, as by a fault of the program."""
        raise _Died(signal)

    def fork(self, script: Script, *, is_in_reach: bool = True) -> ScriptedProcess:
        """Start another process with the same input and outputs; out of reach, no signal finds it and nobody waits for
        it.
        """
        return self.child.start(script, self.program, is_in_reach=is_in_reach)

    def close_input(self) -> None:
        """Read no more: when all have closed it, who writes to the program learns of it."""
        if self._input is not None:
            self._input.remove_reader()
            self._input = None

    def close_outputs(self) -> None:
        """Write no more: when all have closed them, they are at their end."""
        outputs, self._outputs = self._outputs, {}
        for pipe in outputs.values():
            pipe.remove_writer()

    # For the child

    def run(self, script: Script, on_end: Callable[[ScriptedProcess, Ending], None]) -> None:
        """Play the script; `on_end` is told how it has ended."""

        def ended(ending: Ending) -> None:
            self.close_input()
            self.close_outputs()
            on_end(self, ending)

        self._running = Deferred.fromCoroutine(self._run(script))
        self._running.addCallback(ended)

    async def _run(self, script: Script) -> Ending:
        try:
            code = await script(self)
        except _Died as died:
            return Ending(signal=died.number)
        except CancelledError:
            return Ending(signal=self._killed_by)
        except SignalReceived as received:
            return Ending(signal=Signals[f"SIG{received.name}"])
        return Ending(code=code or 0) if self._killed_by is None else Ending(signal=self._killed_by)

    def signal(self, number: int) -> None:
        """A signal comes."""
        name = Signals(number).name.removeprefix("SIG")
        if number != SIGKILL and (name in self._ignored or name in _HARMLESS - self._caught):
            return
        if number != SIGKILL and name in self._caught:
            if self._waiting is None:
                self._missed.append(name)
            else:
                self._waiting.errback(SignalReceived(name))
        elif self._killed_by is None:
            self._killed_by = number
            if self._running is not None:
                self._running.cancel()

    async def _wait(self, waiting: Deferred[Any]) -> None:
        if self._killed_by is not None:
            raise CancelledError
        if self._missed:
            raise SignalReceived(self._missed.pop(0))
        self._waiting = waiting
        try:
            await waiting
        finally:
            self._waiting = None


Script: TypeAlias = Callable[[ScriptedProcess], Awaitable[int | None]]
"""Plays a program: given the process, it returns the exit code, None for 0."""


class ScriptedChild:
    """A tree of scripted processes; see `Child`.

    `input`, `output` and `errors` are its pipes, `program` what was asked for, `signals` the numbers of those that
    were sent, `sizes` those that its terminal was given, as columns and rows.
    """

    def __init__(self, pid: int, program: Program, clock: IReactorTime) -> None:
        self.pid = pid
        self.program = program
        self.input, self.output, self.errors = Pipe(), Pipe(), Pipe()
        self.stdin = PipeSink(self.input)
        self.stdout = PipeSource(self.output, clock)
        self.stderr = PipeSource(self.errors, clock)
        self.ended: Deferred[Ending] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.signals: list[int] = []
        self.sizes: list[tuple[int, int]] = []
        self._clock = clock
        self._first: ScriptedProcess | None = None
        self._processes: list[ScriptedProcess] = []
        if program.terminal is not None:
            self.sizes.append((program.terminal.columns, program.terminal.rows))
            self.stderr = PipeSource(Pipe(), clock)  # which nobody has open
            self.errors = self.output

    @property
    def is_gone(self) -> bool:
        """Whether nothing of the tree is left, as far as it is in reach."""
        return self.gone.called

    def signal(self, number: int) -> None:
        """Send a signal to all processes that are in reach."""
        self.signals.append(number)
        for process in tuple(self._processes):
            if process.is_in_reach:
                process.signal(number)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal its size."""
        self.sizes.append((columns, rows))

    def lose(self) -> None:
        """Let what watches the program be lost: nobody will ever know how it has ended."""
        for process in tuple(self._processes):
            process.is_in_reach = False
        self._told(Ending())

    def end(self) -> None:
        """Kill all its processes, whether or not they are in reach."""
        for process in tuple(self._processes):
            process.signal(SIGKILL)

    def start(
        self, script: Script, program: Program, *, is_in_reach: bool = True
    ) -> ScriptedProcess:
        """Start one more process of the tree, the first one at first."""
        process = ScriptedProcess(self, program, self._clock, is_in_reach=is_in_reach)
        self._first = self._first or process
        self._processes.append(process)
        process.run(script, self._ended)
        return process

    def _ended(self, process: ScriptedProcess, ending: Ending) -> None:
        self._processes.remove(process)
        if process is self._first:
            self._told(ending)
        else:
            self._check_gone()

    def _told(self, ending: Ending) -> None:
        if not self.ended.called:
            self.ended.callback(ending)
        self._check_gone()

    def _check_gone(self) -> None:
        is_left = any(process.is_in_reach for process in self._processes)
        if self.ended.called and not is_left and not self.gone.called:
            self.gone.callback(None)


class ScriptedSpawner:
    """Starts scripts instead of programs; see `sockserv.services.execution.child.Spawner`.

    `programs` has a script, or the failure to start it, by the first word of the command; what is not in it is not
    found. A program takes `delay_seconds` to start. `started` are the children, the oldest first.
    """

    def __init__(
        self,
        clock: IReactorTime,
        programs: Mapping[str, Script | StartFailed],
        *,
        delay_seconds: float = 0.0,
    ) -> None:
        self.programs = dict(programs)
        self.delay_seconds = delay_seconds
        self.started: list[ScriptedChild] = []
        self._clock = clock

    def spawn(self, program: Program) -> Deferred[Child]:
        """Start a program."""
        script = self.programs.get(program.argv[0], StartFailed(errno.ENOENT))
        if isinstance(script, StartFailed):
            return fail(StartFailed(script.errno, script.what))
        if self.delay_seconds:
            return deferLater(self._clock, self.delay_seconds, self._start, script, program)
        return succeed(self._start(script, program))

    def stop(self) -> Deferred[None]:
        """Kill all that is in reach."""
        for child in self.started:
            child.signal(SIGKILL)
        return succeed(None)

    def _start(self, script: Script, program: Program) -> Child:
        child = ScriptedChild(1000 + len(self.started), program, self._clock)
        self.started.append(child)
        child.start(script, program)
        return child


async def cat(process: ScriptedProcess) -> int:
    """Writes what it reads."""
    while data := await process.read():
        await process.write(data)
    return 0


def exits(code: int = 0) -> Script:
    """A script that does nothing but exit."""

    async def script(process: ScriptedProcess) -> int:
        return code

    return script


def prints(stdout: bytes = b"", stderr: bytes = b"", *, code: int = 0) -> Script:
    """A script that writes, and exits."""

    async def script(process: ScriptedProcess) -> int:
        await process.write(stdout)
        await process.write(stderr, to_stderr=True)
        return code

    return script


def sleeps(seconds: float, *, ignoring: tuple[str, ...] = ()) -> Script:
    """A script that lets time pass, never reads, and ignores signals of these names."""

    async def script(process: ScriptedProcess) -> int:
        process.ignore(*ignoring)
        await process.sleep(seconds)
        return 0

    return script
