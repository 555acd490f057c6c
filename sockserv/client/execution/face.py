"""Commands on a server, for programs: `client.exec`."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sockserv.client.execution.collecting import Collecting, Completed
from sockserv.client.execution.ending import check_complete, lost
from sockserv.client.execution.errors import InvalidCommand, NotStarted
from sockserv.client.execution.job import RemoteJob
from sockserv.client.execution.output import DEFAULT_MAX_BYTES
from sockserv.errors import ConnectionEnded, MessageTooLarge, UnexpectedResult
from sockserv.execution.arguments import Command
from sockserv.execution.errors import OutcomeUnknown
from sockserv.execution.outcome import Explanation, Job, Outcome, Started
from sockserv.execution.usage import CommandUsage

if TYPE_CHECKING:
    from sockserv.client.client import Client
    from sockserv.net.calls import OutgoingCall

__all__ = ["Execution", "new_name"]

L = TypeVar("L")

AnyCommand: TypeAlias = Sequence[str] | Command
"""The words of a command, or these with all else that there is to say about how it is run."""

_NAME_BYTES: Final = 6


class Execution:
    """Commands that the identity may run at the server; `client.exec` makes it.

    A command is a list of words, the program and its arguments, or a `Command` with what there is to say besides: an
    environment, a directory, a time limit, a terminal, a shell. All methods fail with the errors of
    `sockserv.execution.errors`, with `InvalidCommand` for a command that cannot be sent, with `PermissionDenied`, and
    with `ConnectionEnded`. All Deferreds can be cancelled. Jobs are one's own; with the permission `admin`,
    `identity` says whose job is meant.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    # Jobs that end with their caller

    def run(
        self, command: AnyCommand, *, stdin: bytes | None = None, job: str | None = None
    ) -> Deferred[RemoteJob]:
        """Run a command; fires as soon as it is asked for, and its `outcome` tells all else, a refusal too.

        `stdin` is all of its standard input; without it, write to the job's `stdin`, and close that. `job` is what to
        call it, 1 to 64 letters, digits, `-` and `_`. When the connection ends, the server ends the job.
        """
        name = job or new_name()
        has_all = stdin is not None

        def begun(call: OutgoingCall) -> RemoteJob:
            return RemoteJob(self, call, name, has_all_input=has_all)

        return self._open(
            "exec.run", arguments_of(command, job=name), body=stdin or b"", end=has_all
        ).addCallback(begun)

    def collect(
        self, command: AnyCommand, *, stdin: bytes = b"", max_bytes: int = DEFAULT_MAX_BYTES
    ) -> Deferred[Completed]:
        """Run a command to its end, with all that it writes.

        What it writes, on both streams together, is `max_bytes` at most: then the server kills it, and its outcome is
        `killed(output-limit)`. It is the outcome that tells whether it was a success; it may be `lost`, with what had
        come before. Fails with what `RemoteJob.outcome` fails with, and with `ReplyTooLarge` if the server sends more
        all the same. Cancelling the Deferred ends the job.
        """
        name = new_name()
        arguments = arguments_of(command, job=name)
        limit = arguments.get("output_limit_bytes", max_bytes)
        arguments["output_limit_bytes"] = min(limit, max_bytes)
        return self._open("exec.run", arguments, body=stdin, end=True).addCallback(
            lambda call: Collecting(call, name, max_bytes).done
        )

    # Jobs that are kept

    def start(
        self,
        command: AnyCommand,
        *,
        job: str | None = None,
        stdin: bool = True,
        spool_bytes: int | None = None,
        expiry_seconds: float | None = None,
    ) -> Deferred[Started]:
        """Start a command that goes on whatever becomes of the connection; fires when it runs.

        The server keeps its output, `spool_bytes` at most, and its outcome, for `expiry_seconds` after its end.
        Without `stdin` nobody can write to it; with it, it waits for who attaches to do so. Fails with `Refused`,
        `TooManyJobs`, and with `NotStarted` for a program that is not there, or not one.
        """
        more = {"spool_bytes": spool_bytes, "expiry_seconds": expiry_seconds}
        given = {name: value for name, value in more.items() if value is not None}
        name = job or new_name()
        arguments = arguments_of(command, job=name, stdin=stdin, **given)
        return Deferred.fromCoroutine(self._start(arguments))

    async def _start(self, arguments: dict[str, Any]) -> Started:
        result = await self._ask("exec.start", arguments, dict)
        try:
            if "kind" not in result:
                return msgspec.convert(result, Started)
            outcome = msgspec.convert(result, Outcome)
        except msgspec.ValidationError as error:
            raise UnexpectedResult(f"the result is not what was expected: {error}") from None
        raise NotStarted(outcome)

    def attach(
        self,
        job: str,
        *,
        stdout_offset: int = 0,
        stderr_offset: int = 0,
        stdin_offset: int | None = None,
        identity: str | None = None,
    ) -> Deferred[RemoteJob]:
        """Follow a kept job, running or not: its output from the offsets on, up to its end.

        With `stdin_offset` we write to its `stdin`, too: it is the number of bytes that the job was given before, 0
        for a new one. The job goes on when the connection ends. The outcome fails with `JobNotFound`, `OutputGone`,
        `StandardInputBusy`.
        """
        arguments = _about(
            job,
            identity,
            stdout_offset=stdout_offset,
            stderr_offset=stderr_offset,
            stdin=stdin_offset is not None,
            stdin_offset=stdin_offset or 0,
        )

        def begun(call: OutgoingCall) -> RemoteJob:
            return RemoteJob(
                self,
                call,
                job,
                has_all_input=stdin_offset is None,
                stdout_offset=stdout_offset,
                stderr_offset=stderr_offset,
                identity=identity,
                is_kept=True,
            )

        return self._open("exec.attach", arguments, end=stdin_offset is None).addCallback(begun)

    def remove(self, job: str, *, identity: str | None = None) -> Deferred[None]:
        """Have the server forget a kept job that has ended, with its output. Fails with `JobRunning`, `JobNotFound`."""
        return Deferred.fromCoroutine(self._ask("exec.remove", _about(job, identity), Any))

    # All jobs

    def jobs(self) -> Deferred[list[Job]]:
        """Our jobs that run, and those that are kept; with the permission `admin`, those of everybody."""
        return Deferred.fromCoroutine(self._list("exec.jobs", Job))

    def wait(self, job: str, *, identity: str | None = None) -> Deferred[Outcome]:
        """How a job ends, when it has ended; `lost` when the connection ends before. Fails with `JobNotFound`."""
        return Deferred.fromCoroutine(self._ask_for_end("exec.wait", _about(job, identity)))

    def kill(
        self, job: str, *, force: bool = False, identity: str | None = None
    ) -> Deferred[Outcome]:
        """End a job: gently at first, with `force` at once. Fires with its outcome; fails with `JobNotFound`."""
        arguments = _about(job, identity, force=force)
        return Deferred.fromCoroutine(self._ask_for_end("exec.kill", arguments))

    def signal(self, job: str, signal: str, *, identity: str | None = None) -> Deferred[None]:
        """Send a signal, such as `INT`, to all processes of a job. Fails with `JobNotFound`."""
        arguments = _about(job, identity, signal=signal)
        return Deferred.fromCoroutine(self._ask("exec.signal", arguments, Any))

    def resize(
        self, job: str, columns: int, rows: int, *, identity: str | None = None
    ) -> Deferred[None]:
        """Tell the terminal of a job its size, in characters. Fails with `NoTerminal`, `JobNotFound`."""
        arguments = _about(job, identity, columns=columns, rows=rows)
        return Deferred.fromCoroutine(self._ask("exec.resize", arguments, Any))

    def explain(self, command: AnyCommand, *, identity: str | None = None) -> Deferred[Explanation]:
        """What would become of a command; `identity` is who would run it, if not we: that needs `admin`."""
        arguments = arguments_of(command) | ({"identity": identity} if identity else {})
        return Deferred.fromCoroutine(self._ask("exec.explain", arguments, Explanation))

    def commands(self) -> Deferred[list[CommandUsage]]:
        """What we may run, and how each of that is used."""
        return Deferred.fromCoroutine(self._list("exec.commands", CommandUsage))

    async def _list(self, op: str, kind: type[L]) -> list[L]:
        reply = await self._client.call(op)
        decode = msgspec.json.Decoder(kind).decode
        try:
            return [decode(line) for line in reply.body.splitlines()]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnexpectedResult(f"the answer to {op} is no list: {error}") from None

    async def _ask_for_end(self, op: str, arguments: dict[str, Any]) -> Outcome:
        try:
            outcome: Outcome = await self._ask(op, arguments, Outcome)
        except (ConnectionEnded, OutcomeUnknown) as error:
            return lost(arguments["job"], error)
        check_complete(outcome)
        return outcome

    async def _ask(self, op: str, arguments: dict[str, Any], kind: Any) -> Any:
        asking = self._client.call(op, arguments, result=kind)
        reply = await asking.addErrback(_explained)
        if kind is Any:
            return None
        if reply.result is None:
            raise UnexpectedResult(f"{op} was answered without a result")
        return reply.result

    def _open(
        self, op: str, arguments: dict[str, Any], *, body: bytes = b"", end: bool
    ) -> Deferred[OutgoingCall]:
        return self._client.open(op, arguments, body=body, end=end).addErrback(_explained)


def _explained(failure: Failure) -> Any:
    """Says of a command that cannot be sent what is wrong with it."""
    match failure.value:
        case UnicodeEncodeError() as error:
            raise InvalidCommand(
                f"{error.object!r} cannot be sent: it is no text in UTF-8"
            ) from None
        case MessageTooLarge() as error:
            raise InvalidCommand(
                f"the command is too long: what is large is to be its standard input ({error})"
            ) from None
    return failure


def new_name() -> str:
    """A name for a job that no other one of its identity has."""
    return token_hex(_NAME_BYTES)


def arguments_of(command: AnyCommand, **more: Any) -> dict[str, Any]:
    """A command as the arguments of an operation, without what needs no saying. Raises `TypeError` for what is none."""
    if isinstance(command, str | bytes):
        raise TypeError(
            "a command is a list of words; text for a shell is Command(argv=(text,), shell=True)"
        )
    if isinstance(command, Command):
        given = {
            name: value
            for name, default in _DEFAULTS
            if (value := getattr(command, name)) != default
        }
        words: Sequence[str] = command.argv
    else:
        words = tuple(command)
        given = {"argv": words}
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"the words of a command are text, and not all of {words!r} are")
    return given | more


_DEFAULTS: Final = tuple(
    (field.name, getattr(Command(), field.name)) for field in attrs.fields(Command)
)


def _about(job: str, identity: str | None, **more: Any) -> dict[str, Any]:
    """The arguments of an operation about a job."""
    return {"job": job} | ({} if identity is None else {"identity": identity}) | more
