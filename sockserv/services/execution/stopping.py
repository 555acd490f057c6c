"""Ending the processes of a job: gently at first, and for certain at last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from signal import SIGINT, SIGKILL, SIGTERM

from twisted.internet.defer import TimeoutError as WaitedTooLong
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sockserv.execution.grace import KILLED_SECONDS, LEFTOVER_SECONDS, SETTLE_SECONDS
from sockserv.services.execution.awaited import Awaited
from sockserv.services.execution.child import Child

__all__ = ["GradedStop", "end_leftovers"]


class GradedStop:
    """Stops a child: INT, the end of its input, TERM, KILL, with a pause after each; `end` says that the rest is not
    needed.

    The input is not the first to go: a program must not take what was given so far for all of it while it can be told
    otherwise. `has_input` says whether it has not ended yet. `on_failure` is called when the child has not ended
    although it was killed.
    """

    def __init__(
        self,
        child: Child,
        clock: IReactorTime,
        *,
        pause_seconds: float,
        has_input: Callable[[], bool],
        on_failure: Callable[[], None],
    ) -> None:
        self._has_input = has_input
        self._child = child
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._on_failure = on_failure
        self._steps: Iterator[float] | None = None
        self._timer: IDelayedCall | None = None
        self._is_over = False

    def begin(self, *, force: bool = False) -> None:
        """Begin to stop it, if that has not begun; with `force` kill it now, whatever has begun."""
        if self._is_over or (self._steps is not None and not force):
            return
        self._cancel_timer()
        self._steps = self._kill() if force else self._stop()
        self._go_on()

    def end(self) -> None:
        """The child has ended. May be called again."""
        self._is_over = True
        self._cancel_timer()

    def _stop(self) -> Iterator[float]:
        """The steps; each gives the seconds to wait before the next."""
        child = self._child
        child.signal(SIGINT)
        yield self._pause_seconds
        if self._has_input():
            child.stdin.close()
            yield self._pause_seconds
        child.signal(SIGTERM)
        yield self._pause_seconds
        yield from self._kill()

    def _kill(self) -> Iterator[float]:
        self._child.signal(SIGKILL)
        yield KILLED_SECONDS

    def _go_on(self) -> None:
        self._timer = None
        assert self._steps is not None
        seconds = next(self._steps, None)
        # To be told may have ended it at once.
        if self._is_over:
            return
        if seconds is None:
            self._on_failure()
        else:
            self._timer = self._clock.callLater(seconds, self._go_on)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


async def end_leftovers(
    child: Child, gone: Awaited[None], clock: IReactorTime, *, force: bool = False
) -> bool:
    """End what is left of the tree when its first process has ended; False if that did not work."""
    if gone.is_known or await _is_told(gone, clock, SETTLE_SECONDS):
        return True
    if not force:
        child.signal(SIGTERM)
        if await _is_told(gone, clock, LEFTOVER_SECONDS):
            return True
    child.signal(SIGKILL)
    return await _is_told(gone, clock, KILLED_SECONDS)


async def _is_told(something: Awaited[None], clock: IReactorTime, seconds: float) -> bool:
    try:
        await something.wait().addTimeout(seconds, clock)
    except WaitedTooLong:
        return False
    return True
