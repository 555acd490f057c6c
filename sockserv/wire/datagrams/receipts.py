"""Which datagrams have come, so that none is taken twice and the peer is told.

Invariants:

1. A counter is taken once. One that lies `REPLAY_WINDOW` or more behind the newest is never taken.
2. Each datagram that asks for it is covered by an acknowledgement within `ack_delay_seconds`, and by the next ones too:
   one that is lost takes nothing with it.
3. The memory is one number of `REPLAY_WINDOW` bits, whatever the peer sends.
"""

from __future__ import annotations

from typing import Final

from sockserv.wire.datagrams.drops import DatagramDropped, DropReason
from sockserv.wire.datagrams.layout import REPLAY_WINDOW, Ack, ack_part

__all__ = ["MAX_UNACKED_DATAGRAMS", "Receipts"]

_MASK: Final = (1 << REPLAY_WINDOW) - 1

_MIN_COVERED: Final = 64
"""How many datagrams an acknowledgement speaks of at least."""

MAX_UNACKED_DATAGRAMS: Final = 4
"""After so many that ask for it an acknowledgement waits no longer."""


_REPEATS: Final = 3
"""So many datagrams that go out anyway tell it again: one of them gets there."""


class Receipts:
    """The counters that have come, and the acknowledgement that is due for them."""

    __slots__ = (
        "_ack_delay_seconds",
        "_bits",
        "_largest_at",
        "_largest_told",
        "_oldest_unacked",
        "_repeats",
        "_unacked",
        "ack_at",
        "largest",
    )

    def __init__(self, ack_delay_seconds: float) -> None:
        self.largest = -1
        self.ack_at: float | None = None
        """When an acknowledgement must go out at the latest, None if nobody waits for one."""
        self._ack_delay_seconds = ack_delay_seconds
        self._bits = 0
        self._largest_at = 0.0
        self._largest_told = -1
        self._oldest_unacked = -1
        self._repeats = 0
        self._unacked = 0

    def check(self, counter: int) -> None:
        """Raises `DatagramDropped` for a counter that has come before, or that is too old to tell."""
        behind = self.largest - counter
        if behind < 0:
            return
        if behind >= REPLAY_WINDOW:
            raise DatagramDropped(DropReason.TOO_OLD)
        if self._bits >> behind & 1:
            raise DatagramDropped(DropReason.REPLAYED)

    def add(self, counter: int, now: float, *, asks_for_ack: bool) -> None:
        """A datagram was taken."""
        ahead = counter - self.largest
        if ahead > 0:
            # Shifting by a counter that is far ahead would make a number as long as that.
            shifted = self._bits << ahead & _MASK if ahead < REPLAY_WINDOW else 0
            self._bits = shifted | 1
            self.largest = counter
            self._largest_at = now
        else:
            self._bits |= 1 << -ahead
        if asks_for_ack:
            self._repeats = _REPEATS
            if not self._unacked or counter < self._oldest_unacked:
                self._oldest_unacked = counter
            self._unacked += 1
            if self._unacked >= MAX_UNACKED_DATAGRAMS:
                self.ack_at = now
            elif self.ack_at is None:
                self.ack_at = now + self._ack_delay_seconds

    def is_due(self, now: float) -> bool:
        """Whether an acknowledgement has to go out, by itself if need be."""
        return self.ack_at is not None and self.ack_at <= now

    @property
    def has_news(self) -> bool:
        """Whether the peer may not have heard of all that has come."""
        return self._repeats > 0

    def take_ack(self, now: float) -> bytes:
        """The part that tells what has come; afterwards nobody waits for it."""
        covered = max(_MIN_COVERED, 2 * (self.largest - self._largest_told))
        if self._unacked:
            covered = max(covered, self.largest - self._oldest_unacked + 1)
        bits = self._bits & ((1 << min(covered, REPLAY_WINDOW)) - 1)
        self._repeats -= 1
        self._largest_told = self.largest
        self._unacked = 0
        self.ack_at = None
        return ack_part(Ack(self.largest, now - self._largest_at, bits))
