"""Programs that a test plays."""

from __future__ import annotations

import errno
from signal import SIGCHLD, SIGINT, SIGKILL, SIGPIPE, SIGSEGV, SIGTERM
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockserv.execution.arguments import Terminal
from sockserv.services.execution.child import Child, Ending, Program, Spawner, StartFailed
from sockserv.testing import (
    ScriptedProcess,
    ScriptedSpawner,
    SignalReceived,
    cat,
    exits,
    prints,
    sleeps,
)
from sockserv.testing.processes import Script

CAPACITY_BYTES = 64 * 1024


class Stage:
    """A clock, a spawner, and what comes of Deferreds and coroutines."""

    def __init__(self, script: Script | StartFailed, **more: Any) -> None:
        self.clock = Clock()
        self.spawner = ScriptedSpawner(self.clock, {"it": script}, **more)

    def start(self, *argv: str, terminal: Terminal | None = None) -> Any:
        program = Program(argv=argv or ("it",), environment={}, directory="/", terminal=terminal)
        return self.result(self.spawner.spawn(program))

    def result(self, awaitable: Any) -> Any:
        """What it gives, None for what has not come yet."""
        results: list[Any] = []
        if not isinstance(awaitable, Deferred):
            awaitable = Deferred.fromCoroutine(awaitable)
        awaitable.addBoth(results.append)
        self.clock.advance(0)
        if results and hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0] if results else None

    def pump(self, child: Any) -> bytes:
        """All that it writes to its standard output."""
        output = bytearray()
        while data := self.result(child.stdout.read()):
            output += data
        return bytes(output)


def test_they_keep_to_the_interfaces() -> None:
    stage = Stage(exits())
    spawner: Spawner = stage.spawner
    child: Child = stage.start()
    assert spawner.stop().called
    assert child.pid == 1000


@pytest.mark.parametrize("code", [0, 1, 255])
def test_exiting(code: int) -> None:
    stage = Stage(exits(code))
    child = stage.start()
    assert stage.result(child.ended) == Ending(code=code)
    assert child.is_gone
    assert stage.pump(child) == b""


def test_both_outputs() -> None:
    stage = Stage(prints(b"out", b"err", code=2))
    child = stage.start()
    assert stage.result(child.stdout.read()) == b"out"
    assert stage.result(child.stderr.read()) == b"err"
    assert stage.result(child.stderr.read()) == b""
    assert stage.result(child.stderr.read()) == b""


def test_input_to_output() -> None:
    stage = Stage(cat)
    child = stage.start()
    assert stage.result(child.stdin.write(b"abc")) is True
    child.stdin.close()
    assert stage.pump(child) == b"abc"
    assert child.stdin.written_bytes == 3
    assert stage.result(child.ended) == Ending(code=0)


def test_a_writer_that_nobody_reads_waits() -> None:
    stage = Stage(prints(b"x" * (CAPACITY_BYTES + 1)))
    child = stage.start()
    ended: list[Ending] = []
    child.ended.addCallback(ended.append)
    assert not ended
    assert stage.result(child.stdout.read()) == b"x" * CAPACITY_BYTES
    assert ended
    assert stage.result(child.stdout.read()) == b"x"


def test_one_that_never_reads_makes_its_writer_wait() -> None:
    stage = Stage(sleeps(5))
    child = stage.start()
    assert stage.result(child.stdin.write(b"x" * CAPACITY_BYTES)) is True
    writing = Deferred.fromCoroutine(child.stdin.write(b"xyz"))
    assert not writing.called
    stage.clock.advance(5)
    assert stage.result(writing) is False
    assert child.stdin.written_bytes == CAPACITY_BYTES


def test_a_writer_without_a_reader_dies() -> None:
    stage = Stage(prints(b"x" * (CAPACITY_BYTES + 1)))
    child = stage.start()
    child.stdout.close()
    child.stdout.close()
    assert stage.result(child.ended) == Ending(signal=SIGPIPE)


def test_closing_while_a_write_waits() -> None:
    stage = Stage(sleeps(5))
    child = stage.start()
    writing = Deferred.fromCoroutine(child.stdin.write(b"x" * (CAPACITY_BYTES + 1)))
    child.stdin.close()
    assert stage.result(writing) is False
    child.end()


@pytest.mark.parametrize(
    ("numbers", "ending"),
    [
        ([SIGINT], Ending(signal=SIGINT)),
        ([SIGCHLD], None),
        ([SIGTERM], None),
        ([SIGTERM, SIGKILL], Ending(signal=SIGKILL)),
    ],
)
def test_signals(numbers: list[int], ending: Ending | None) -> None:
    stage = Stage(sleeps(10, ignoring=("TERM",)))
    child = stage.start()
    for number in numbers:
        child.signal(number)
    assert stage.result(child.ended) == ending
    assert child.signals == numbers
    child.end()


def test_a_signal_that_is_caught() -> None:
    async def slow_death(process: ScriptedProcess) -> int:
        process.catch("TERM")
        try:
            await process.sleep(100)
        except SignalReceived as received:
            await process.sleep(3)
            return len(received.name)
        return 0

    stage = Stage(slow_death)
    child = stage.start()
    child.signal(SIGTERM)
    assert not child.ended.called
    stage.clock.advance(3)
    assert stage.result(child.ended) == Ending(code=4)
    assert not stage.clock.getDelayedCalls()


def test_a_fault() -> None:
    async def fault(process: ScriptedProcess) -> int:
        process.die(SIGSEGV)

    stage = Stage(fault)
    assert stage.result(stage.start().ended) == Ending(signal=SIGSEGV)


def test_what_outlives_the_first_process_holds_the_streams() -> None:
    async def first(process: ScriptedProcess) -> int:
        process.fork(sleeps(5))
        return 0

    stage = Stage(first)
    child = stage.start()
    assert stage.result(child.ended) == Ending(code=0)
    assert not child.is_gone
    reading = Deferred.fromCoroutine(child.stdout.read())
    stage.clock.advance(0)
    assert not reading.called
    stage.clock.advance(5)
    assert stage.result(reading) == b""
    assert child.is_gone


def test_what_is_out_of_reach() -> None:
    async def first(process: ScriptedProcess) -> int:
        process.fork(sleeps(5), is_in_reach=False)
        return 0

    stage = Stage(first)
    child = stage.start()
    assert child.is_gone
    child.signal(SIGKILL)
    reading = Deferred.fromCoroutine(child.stdout.read())
    stage.clock.advance(0)
    assert not reading.called
    child.end()
    assert stage.result(reading) == b""


def test_what_watches_it_is_lost() -> None:
    stage = Stage(sleeps(5))
    child = stage.start()
    child.lose()
    assert stage.result(child.ended) == Ending()
    assert child.is_gone
    child.end()


def test_a_terminal() -> None:
    stage = Stage(prints(b"out", b"err"))
    child = stage.start(terminal=Terminal(columns=100, rows=30))
    assert stage.pump(child) == b"outerr"
    assert stage.result(child.stderr.read()) == b""
    child.resize(80, 24)
    assert child.sizes == [(100, 30), (80, 24)]


def test_going_to_the_background() -> None:
    async def background(process: ScriptedProcess) -> int:
        process.close_input()
        process.close_outputs()
        with pytest.raises(OSError, match="closed"):
            await process.write(b"x")
        await process.sleep(5)
        return len(await process.read())

    stage = Stage(background)
    child = stage.start()
    assert stage.pump(child) == b""
    assert stage.result(child.stdin.write(b"x")) is False
    stage.clock.advance(5)
    assert stage.result(child.ended) == Ending(code=0)


class TestStarting:
    def test_what_is_not_there(self) -> None:
        with pytest.raises(StartFailed) as caught:
            Stage(exits()).start("other")
        assert caught.value.errno == errno.ENOENT

    def test_what_cannot_be_started(self) -> None:
        with pytest.raises(StartFailed) as caught:
            Stage(StartFailed(errno.EACCES, "directory")).start()
        assert (caught.value.errno, caught.value.what) == (errno.EACCES, "directory")

    def test_it_takes_a_while(self) -> None:
        stage = Stage(exits(), delay_seconds=2)
        spawning = stage.spawner.spawn(Program(argv=("it",), environment={}, directory="/"))
        assert not spawning.called
        stage.clock.advance(2)
        assert stage.result(spawning) is stage.spawner.started[0]

    def test_it_is_given_up(self) -> None:
        stage = Stage(exits(), delay_seconds=2)
        spawning = stage.spawner.spawn(Program(argv=("it",), environment={}, directory="/"))
        spawning.addErrback(lambda failure: None)
        spawning.cancel()
        assert not stage.clock.getDelayedCalls()
        assert not stage.spawner.started


def test_stopping_kills_all() -> None:
    stage = Stage(sleeps(5, ignoring=("TERM", "INT")))
    child = stage.start()
    stage.spawner.stop()
    assert stage.result(child.ended) == Ending(signal=SIGKILL)
