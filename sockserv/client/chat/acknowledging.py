"""Acknowledging what was said to us: not each message by itself, which would cost both ends as much as the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["ACKNOWLEDGE_SECONDS", "MAX_UNACKNOWLEDGED", "Acknowledging"]

ACKNOWLEDGE_SECONDS: Final = 0.02
"""Less than what a datagram's own acknowledgement waits for something that it can go with, and nothing to who waits for
word of a delivery.
"""

MAX_UNACKNOWLEDGED: Final = 32
"""With so many it waits no longer: a hub sends only so much ahead."""


class Acknowledging:
    """Has messages acknowledged, by `send` with the id of the last one: many together, each within
    `ACKNOWLEDGE_SECONDS`.
    """

    def __init__(self, clock: IReactorTime, send: Callable[[int], Any]) -> None:
        self._clock = clock
        self._send = send
        self._last = 0
        self._count = 0
        self._later: IDelayedCall | None = None

    def add(self, number: int) -> None:
        """All messages up to this id were taken."""
        self._last = number
        self._count += 1
        if self._count >= MAX_UNACKNOWLEDGED:
            self.now()
        elif self._later is None:
            self._later = self._clock.callLater(ACKNOWLEDGE_SECONDS, self._on_time)

    def now(self) -> None:
        """Acknowledge what was taken: nothing more may be for a while."""
        if self._count:
            self._count = 0
            self._send(self._last)

    def stop(self) -> None:
        """Acknowledge what was taken, and nothing after that."""
        self.now()
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _on_time(self) -> None:
        self._later = None
        self.now()
