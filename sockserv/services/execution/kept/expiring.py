"""Removing kept jobs some time after their end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.execution.errors import ExecutionError

__all__ = ["Expiring", "Expiry"]

_MIN_PAUSE_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 3600.0
"""The clock may be set: no longer is anything taken for certain."""


class Expiring(Protocol):
    """A job that expires."""

    @property
    def expires_at(self) -> float | None:
        """When, in seconds since 1970; None while it runs."""

    def remove(self) -> Awaitable[None]:
        """Remove it."""


class Expiry:
    """Removes jobs when their time has come. `clock` is the time of day, `jobs` gives those that there are."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, jobs: Callable[[], Iterable[Expiring]]) -> None:
        self._clock = clock
        self._jobs = jobs
        self._timer: IDelayedCall | None = None
        self._removing: Deferred[None] | None = None
        self._is_stopped = False

    def look(self) -> None:
        """See when the next one is due: to be called when there are others than before."""
        if self._is_stopped or self._removing is not None:
            return
        self._cancel_timer()
        moments = [job.expires_at for job in self._jobs() if job.expires_at is not None]
        if moments:
            pause = min(moments) - self._clock.seconds()
            pause = min(max(pause, _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS)
            self._timer = self._clock.callLater(pause, self._begin)

    def stop(self) -> None:
        """Remove no more. A second call does nothing."""
        self._is_stopped = True
        self._cancel_timer()
        if self._removing is not None:
            self._removing.cancel()

    def _begin(self) -> None:
        self._timer = None
        self._removing = Deferred.fromCoroutine(self._remove())
        self._removing.addErrback(self._log_failure)
        self._removing.addBoth(self._go_on)

    async def _remove(self) -> None:
        now = self._clock.seconds()
        for job in tuple(self._jobs()):
            if job.expires_at is not None and job.expires_at <= now:
                try:
                    await job.remove()
                except (ExecutionError, OSError) as error:
                    self._log.warn("a kept job that has expired stays: {why}", why=error)

    def _go_on(self, result: None) -> None:
        self._removing = None
        self.look()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _log_failure(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("kept jobs that have expired cannot be removed", failure)
