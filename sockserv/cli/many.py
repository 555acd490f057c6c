"""The same command on many servers at once: their lines by server, and a table of how each has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred

from sockserv.cli.amounts import amount
from sockserv.cli.complaints import complaint_about
from sockserv.cli.exits import ExitStatus
from sockserv.cli.interrupts import Interrupts
from sockserv.cli.lines import LineWriter, SharedOutput
from sockserv.cli.outcomes import as_values
from sockserv.cli.output import as_json_line, padded, printable, table
from sockserv.cli.pouring import Pouring
from sockserv.cli.stdio import StreamError
from sockserv.client.files.parallel import in_parallel
from sockserv.client.profiles import is_name
from sockserv.errors import CallCancelled, SockservError
from sockserv.urls import ServerUrl

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client import Client
    from sockserv.execution.arguments import Command
    from sockserv.execution.outcome import Outcome

__all__ = ["Many"]

_AT_ONCE: Final = 64
_COLOURS: Final = (36, 33, 32, 35, 34, 31)


class Many:
    """Runs a command on servers; what goes wrong with one of them is no matter of the others."""

    def __init__(self, session: Session, names: tuple[str, ...], command: Command) -> None:
        self._session = session
        self._command = command
        self._names = {name: _shown(name) for name in names}
        self._width = max(map(len, self._names.values()))
        self._output = SharedOutput(session.output)
        self._errors = SharedOutput(session.errors)
        self._interrupts = Interrupts(session, self._leave)
        self._connecting: set[Deferred[Client]] = set()
        self._pouring: set[Pouring] = set()
        self._results: dict[str, Outcome | SockservError] = {}

    async def run(self) -> int:
        """Run it everywhere, and show how it went; the exit status.

        Raises what goes wrong with the standard streams. Cancelling it gives all jobs up.
        """
        with self._interrupts.caught():
            await in_parallel(map(self._run_one, self._names), at_once=_AT_ONCE)
        await self._show_results()
        is_success = all(_is_success(result) for result in self._results.values())
        return ExitStatus.DONE if is_success else ExitStatus.FAILED

    async def _run_one(self, name: str) -> None:
        try:
            self._results[name] = await self._run_at(name)
        except StreamError:
            raise
        except SockservError as error:
            self._results[name] = error

    async def _run_at(self, name: str) -> Outcome:
        client = await self._connect(name)
        try:
            if self._interrupts.has_come:
                raise CallCancelled("it was not run any more")
            job = await client.exec.run(self._command, stdin=b"")
            self._interrupts.add(job)
            stdout, stderr = self._writer(name, 1), self._writer(name, 2)
            pouring = Pouring(job, stdout, stderr)
            self._pouring.add(pouring)
            try:
                outcome = await pouring.run()
            finally:
                self._pouring.remove(pouring)
            await stdout.end()
            await stderr.end()
            return outcome
        finally:
            await client.close()

    async def _connect(self, name: str) -> Client:
        connecting = self._session.connect_by_name(name)
        self._connecting.add(connecting)
        try:
            return await connecting
        except CancelledError:
            if self._interrupts.has_come:
                raise CallCancelled("it was not run any more") from None
            raise
        finally:
            self._connecting.remove(connecting)

    def _leave(self) -> None:
        for pouring in tuple(self._pouring):
            pouring.leave()
        for connecting in tuple(self._connecting):
            connecting.cancel()

    def _writer(self, name: str, number: int) -> LineWriter:
        """Where lines of a server go to that come on its standard output, 1, or its standard error, 2."""
        shown = self._names[name]
        if self._session.options.json:
            stream = "stdout" if number == 1 else "stderr"

            def as_json(line: bytes) -> bytes:
                text = line.decode("utf-8", "backslashreplace")
                return as_json_line({"server": shown, "stream": stream, "text": text})

            return LineWriter(self._output, as_json)
        head = f"{padded(shown, self._width)} | ".encode()
        if self._session.terminal.has(number):
            colour = _COLOURS[list(self._names).index(name) % len(_COLOURS)]
            head = b"\x1b[%dm%b\x1b[0m" % (colour, head)
        target = self._output if number == 1 else self._errors
        return LineWriter(target, lambda line: b"%b%b\n" % (head, line))

    async def _show_results(self) -> None:
        results = [(shown, self._results[name]) for name, shown in self._names.items()]
        if self._session.options.json:
            for shown, result in results:
                await self._session.output.write(as_json_line({"server": shown} | _values(result)))
        else:
            rows = [(shown, *_row(result)) for shown, result in results]
            head = ("SERVER", "OUTCOME", "TIME", "OUTPUT", "")
            await self._session.errors.write(table(head, rows).encode())


def _shown(name: str) -> str:
    """What stands for a server, without what is secret in it.

    Raises `ConnectError` for what is neither URL nor name.
    """
    return printable(name if is_name(name) else ServerUrl.parse(name).address)


def _is_success(result: Outcome | SockservError) -> bool:
    return not isinstance(result, SockservError) and result.is_success


def _row(result: Outcome | SockservError) -> tuple[str, str, str, str]:
    if isinstance(result, SockservError):
        return "error", "", "", str(result)
    size = amount(result.stdout_bytes + result.stderr_bytes)
    return str(result), f"{result.seconds:.1f} s", size, result.message


def _values(result: Outcome | SockservError) -> dict[str, Any]:
    if isinstance(result, SockservError):
        complaint = complaint_about(result)
        return {"error": {"code": complaint.code, "message": complaint.message}}
    return {"outcome": as_values(result)}
