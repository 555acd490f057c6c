"""A job on a server, for the one who has run it or attached to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from sockserv.client.execution.ending import ended_by, settled
from sockserv.client.execution.output import JobOutput
from sockserv.errors import CallEnded, UnexpectedResult
from sockserv.execution.arguments import STANDARD_ERROR, STANDARD_OUTPUT
from sockserv.execution.errors import OutcomeUnknown
from sockserv.execution.outcome import Outcome, OutcomeKind

if TYPE_CHECKING:
    from sockserv.client.execution.face import Execution
    from sockserv.net.calls import OutgoingCall

__all__ = ["JobInput", "RemoteJob"]

MAX_UNREAD_BYTES: Final = 1024 * 1024
"""How much of each stream waits for its reader."""


class JobInput:
    """What a job reads from its standard input."""

    def __init__(self, call: OutgoingCall, *, is_closed: bool) -> None:
        self._call = call
        self._is_closed = is_closed

    async def write(self, data: bytes) -> None:
        """Send the next bytes, any number; waits while the far end has no room for them.

        Raises `CallEnded` when the job has ended, or `close` was called, and what the call has failed with.
        """
        if self._is_closed:
            raise CallEnded("the job's standard input was closed")
        await self._call.send(data)

    def close(self) -> None:
        """There is no more: the job sees the end of its input. May be called again."""
        if not self._is_closed:
            self._is_closed = True
            self._call.end()


class RemoteJob:
    """A job that was run, or attached to.

    `name` is what it is called at the server, `stdin` what it reads, `stdout` and `stderr` what it writes: with a
    terminal, everything comes by `stdout`. The job waits for whoever reads these: read both at the same time, or
    `close` what you do not want.
    """

    def __init__(
        self,
        execution: Execution,
        call: OutgoingCall,
        name: str,
        *,
        has_all_input: bool = False,
        stdout_offset: int = 0,
        stderr_offset: int = 0,
        identity: str | None = None,
        is_kept: bool = False,
    ) -> None:
        self._execution = execution
        self._call = call
        self.name = name
        self.stdin = JobInput(call, is_closed=has_all_input)
        self.stdout = JobOutput(max_unread_bytes=MAX_UNREAD_BYTES)
        self.stderr = JobOutput(max_unread_bytes=MAX_UNREAD_BYTES)
        self._stdout_offset = stdout_offset
        self._stderr_offset = stderr_offset
        self._identity = identity
        self._is_kept = is_kept
        self._ended: Outcome | Exception | None = None
        self._waiting: list[Deferred[None]] = []
        # Whatever goes wrong is told to those who read and wait.
        Deferred.fromCoroutine(self._receive())

    def __repr__(self) -> str:
        return f"<job {self.name}: {self._ended or 'running'}>"

    def outcome(self) -> Deferred[Outcome]:
        """How the job ends, when it has ended and all of its output has come.

        Output that nobody has begun to read by now is thrown away. When the connection ends before the job does, the
        outcome is `lost`; a refusal is an outcome, too. Fails with `OutputMismatch` when not as many bytes have come
        as the server has sent, with `CallCancelled` after `cancel`, and with any other error of the call
        (`JobExists`, `InvalidArgument`, ...). Cancelling the Deferred ends the waiting, and not the job.
        """
        self.stdout.discard_unclaimed()
        self.stderr.discard_unclaimed()
        return Deferred.fromCoroutine(self._outcome())

    def signal(self, signal: str) -> Deferred[None]:
        """Send a signal, such as `INT`, to all processes of the job. Fails with `JobNotFound` when it has ended."""
        return self._execution.signal(self.name, signal, identity=self._identity)

    def resize(self, columns: int, rows: int) -> Deferred[None]:
        """Tell the job's terminal its size, in characters. Fails with `NoTerminal`, `JobNotFound`."""
        return self._execution.resize(self.name, columns, rows, identity=self._identity)

    def kill(self, *, force: bool = False) -> Deferred[Outcome]:
        """End the job: gently at first, with `force` at once. Fires with its outcome; fails with `JobNotFound`."""
        return self._execution.kill(self.name, force=force, identity=self._identity)

    def cancel(self) -> None:
        """Give the job up, with what it has written and nobody has read.

        The server ends one that was run; one that is kept goes on. Nobody here hears of its outcome.
        """
        self._call.cancel()
        self.stdout.close()
        self.stderr.close()

    async def _outcome(self) -> Outcome:
        while self._ended is None:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
        if isinstance(self._ended, Exception):
            raise self._ended
        return self._ended

    async def _receive(self) -> None:
        # What is missing of the output, for those who read it.
        failure: Exception | None = None
        try:
            ended: Outcome | Exception = await self._follow()
        except Exception as error:
            ended, failure = self._made_of(error), error
        if isinstance(ended, Outcome):
            if ended.kind is OutcomeKind.REFUSED:
                failure = None
            elif ended.kind is OutcomeKind.LOST:
                failure = failure or OutcomeUnknown(ended.message)
        self._ended = ended
        self.stdout.end(failure)
        self.stderr.end(failure)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:
                one.callback(None)

    async def _follow(self) -> Outcome:
        """Take the streams apart until their end; what the server says then."""
        outputs = {STANDARD_OUTPUT: self.stdout, STANDARD_ERROR: self.stderr}
        body = self._call.body
        while (taken := await body.take()) is not None:
            stream, piece = taken
            output = outputs.get(stream)
            if output is None:
                self._call.cancel()
                raise UnexpectedResult(f"the job {self.name} writes to a stream {stream}")
            output.feed(piece)
            if not output.has_room:
                await output.room()
        return settled(await self._call.result(Outcome), **self._bytes())

    def _made_of(self, error: Exception) -> Outcome | Exception:
        """What the end of the call with an error is for the job."""
        try:
            return ended_by(error, self.name, is_kept=self._is_kept, **self._bytes())
        except Exception as no_end:
            return no_end

    def _bytes(self) -> dict[str, int]:
        """How much there is by now of each stream, from its beginning on."""
        return {
            "stdout_bytes": self._stdout_offset + self.stdout.received_bytes,
            "stderr_bytes": self._stderr_offset + self.stderr.received_bytes,
        }
