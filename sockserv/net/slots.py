"""Waiting for the peer to take one more call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from sockserv.errors import DeadlineExceeded, TooManyCalls

__all__ = ["SlotQueue"]


class SlotQueue:
    """Calls of ours that are not open yet, because the peer has as many as it takes.

    They are let in as they came, and at most `max_waiting` wait.
    """

    __slots__ = ("_clock", "_max_waiting", "_waiting")

    def __init__(self, clock: IReactorTime, max_waiting: int) -> None:
        self._clock = clock
        self._max_waiting = max_waiting
        self._waiting: deque[Deferred[None]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, timeout_seconds: float | None) -> float | None:
        """Wait until a slot may be free; returns what is left of the timeout.

        Raises `TooManyCalls` when too many wait already, `DeadlineExceeded` after the timeout.
        """
        if len(self._waiting) >= self._max_waiting:
            raise TooManyCalls(
                f"{self._max_waiting} calls wait already for the peer to take them: "
                "wait for some to end",
                details={"max_waiting_calls": self._max_waiting},
            )
        began = self._clock.seconds()
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if timeout_seconds is not None:
            waiting.addTimeout(timeout_seconds, self._clock)
        try:
            await waiting
        except TimeoutError:
            raise DeadlineExceeded(
                f"the peer took no more calls within {timeout_seconds:g} seconds"
            ) from None
        if timeout_seconds is None:
            return None
        # Nothing left is not the same as no limit.
        return max(1e-3, timeout_seconds - (self._clock.seconds() - began))

    def let_in(self, has_room: Callable[[], bool]) -> None:
        """A slot is free: let one in, or more as long as there is room."""
        # Who is let in may find that it cannot be sent at all, and leave the slot to the next one.
        while self._waiting and has_room():
            self._waiting.popleft().callback(None)

    def fail(self, failure: Exception) -> None:
        """There will be no more slots."""
        while self._waiting:
            self._waiting.popleft().errback(failure)
