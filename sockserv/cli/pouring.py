"""What a remote job writes, to where it is wanted, until the job has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from sockserv.client.execution.ending import lost
from sockserv.errors import CallCancelled, SockservError
from sockserv.execution.outcome import Outcome

if TYPE_CHECKING:
    from sockserv.client.execution import JobOutput, RemoteJob

__all__ = ["Pouring", "Target"]

_LEFT: Final = "its end was not waited for"


class Target(Protocol):
    """Where output goes to."""

    def write(self, data: bytes) -> Awaitable[None]:
        """Take the next bytes; waits where there is no room for more."""


class Pouring:
    """Hands on what a job writes, and does something `beside` that; when one of it fails, the job is given up."""

    def __init__(
        self,
        job: RemoteJob,
        stdout: Target,
        stderr: Target,
        *,
        beside: Coroutine[Any, Any, None] | None = None,
    ) -> None:
        self._job = job
        self._targets = ((job.stdout, stdout), (job.stderr, stderr))
        self._beside = beside
        self._has_left = False
        self._failure: Failure | None = None

    async def run(self) -> Outcome:
        """The outcome of the job, when all that it has written was handed on.

        Raises what `RemoteJob.outcome` fails with, and what the targets raise. Cancelling it gives the job up.
        """
        copies = [self._start(_copy(source, target)) for source, target in self._targets]
        beside = None if self._beside is None else self._start(self._beside)
        try:
            outcome = await self._until_ended()
            for copy in copies if not self._has_left else ():
                await copy
        finally:
            for one in (*copies, beside):
                if one is not None:
                    one.cancel()
            self._job.cancel()
        if self._failure is not None:
            self._failure.raiseException()
        return outcome

    def leave(self) -> None:
        """Wait no more, for nothing: whoever is to take the output may be stuck. The outcome is `lost` then."""
        self._has_left = True
        self._job.cancel()

    async def _until_ended(self) -> Outcome:
        try:
            return await self._job.outcome()
        except CallCancelled:
            if self._failure is not None:
                self._failure.raiseException()
            if not self._has_left:
                raise
            return lost(self._job.name, _LEFT)

    def _start(self, work: Coroutine[Any, Any, None]) -> Deferred[None]:
        return Deferred.fromCoroutine(work).addErrback(self._stop)

    def _stop(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None and self._failure is None:
            self._failure = failure
            self._job.cancel()


async def _copy(source: JobOutput, target: Target) -> None:
    while True:
        try:
            piece = await source.__anext__()
        except (StopAsyncIteration, SockservError):
            return  # the outcome says how it has ended
        await target.write(piece)
