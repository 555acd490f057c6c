"""All that a job writes, in one piece: the cheapest way to run a command, without a reader for each of its streams."""

from __future__ import annotations

import attrs
from msgspec import Raw
from twisted.internet.defer import CancelledError, Deferred

from sockserv.client.execution.ending import ended_by, settled
from sockserv.errors import ReplyTooLarge, SockservError, UnexpectedResult
from sockserv.execution.arguments import STANDARD_ERROR, STANDARD_OUTPUT
from sockserv.execution.outcome import Outcome
from sockserv.net.calls import OutgoingCall

__all__ = ["Collecting", "Completed"]


@attrs.frozen
class Completed:
    """A job that has ended: how, and what it has written."""

    outcome: Outcome
    stdout: bytes
    stderr: bytes


class Collecting:
    """Collects what a job writes, `max_bytes` at most; `done` fires at its end. Cancelling that gives the job up."""

    __slots__ = ("_call", "_job", "_left_bytes", "_max_bytes", "_pieces", "done")

    def __init__(self, call: OutgoingCall, job: str, max_bytes: int) -> None:
        self._call = call
        self._job = job
        self._max_bytes = self._left_bytes = max_bytes
        self._pieces: dict[int, list[bytes]] = {STANDARD_OUTPUT: [], STANDARD_ERROR: []}
        self.done: Deferred[Completed] = Deferred(self._cancel)
        call.collect(self._take, self._end)

    def _take(self, stream: int, piece: bytes) -> None:
        pieces = self._pieces.get(stream)
        self._left_bytes -= len(piece)
        if pieces is None:
            self._call.give_up(UnexpectedResult(f"the job {self._job} writes to a stream {stream}"))
        elif self._left_bytes < 0:
            self._call.give_up(
                ReplyTooLarge(f"the job {self._job} has written more than {self._max_bytes} bytes")
            )
        else:
            pieces.append(piece)

    def _end(self, result: Raw | None, failure: Exception | None) -> None:
        done = self.done
        if done.called:
            return
        stdout, stderr = map(b"".join, self._pieces.values())
        try:
            if result is not None:
                outcome = settled(
                    self._call.decode(result, Outcome),
                    stdout_bytes=len(stdout),
                    stderr_bytes=len(stderr),
                )
            else:
                assert failure is not None
                outcome = ended_by(
                    failure, self._job, stdout_bytes=len(stdout), stderr_bytes=len(stderr)
                )
        except SockservError as error:
            done.errback(error)
        else:
            done.callback(Completed(outcome, stdout, stderr))

    def _cancel(self, done: Deferred[Completed]) -> None:
        # The Deferred has its own error for that, which comes first.
        done.errback(CancelledError())
        self._call.cancel()
