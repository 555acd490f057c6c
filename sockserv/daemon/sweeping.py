"""Removing what broken uploads have left, now and then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["FilesSweeper"]

_INTERVAL_SECONDS = 3600.0


class FilesSweeper:
    """Has the folders of a files service swept once an hour. `sweep` does it, and gives how many it has removed."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, sweep: Callable[[], Awaitable[int]]) -> None:
        self._clock = clock
        self._sweep_once = sweep
        # Not a LoopingCall: that imports the global reactor.
        self._next: IDelayedCall | None = None
        self._sweeping: Deferred[None] | None = None

    def start(self) -> None:
        """Begin, an hour from now."""
        self._next = self._clock.callLater(_INTERVAL_SECONDS, self._sweep)

    def stop(self) -> None:
        """Sweep no more: what runs stops after its next step. A second call does nothing."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _sweep(self) -> None:
        self._next = None
        self._sweeping = sweeping = Deferred.fromCoroutine(self._run())
        sweeping.addErrback(self._log_failure)

    async def _run(self) -> None:
        removed = await self._sweep_once()
        self._sweeping = None
        if removed:
            self._log.info(
                "removed what was left of {removed} uploads that broke off", removed=removed
            )
        self.start()

    def _log_failure(self, failure: Failure) -> None:
        self._sweeping = None
        if failure.check(CancelledError) is None:
            self._log.failure("what broken uploads have left cannot be removed", failure)
            self.start()
