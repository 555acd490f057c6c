"""How long an answer takes (RFC 6298), and how much may be on its way (RFC 9002, section 7).

Invariants:

1. A measured time is never negative, whatever the clock and the peer say.
2. The window lies between `MIN_WINDOW_BYTES` and `MAX_WINDOW_BYTES`.
"""

from __future__ import annotations

from typing import Final

from sockserv.wire.datagrams.layout import MAX_DATAGRAM_BYTES

__all__ = [
    "FIRST_WINDOW_BYTES",
    "MAX_PATIENCE_SECONDS",
    "MAX_WINDOW_BYTES",
    "MIN_PATIENCE_SECONDS",
    "MIN_WINDOW_BYTES",
    "CongestionWindow",
    "RoundTrip",
]

_FIRST_GUESS_SECONDS: Final = 0.1
"""Of a path that was never measured; what is only to be tried is repeated soon."""

MIN_PATIENCE_SECONDS: Final = 0.1
"""Sooner nothing is sent again for want of an answer: a busy machine is that slow at times."""

MAX_PATIENCE_SECONDS: Final = 3.0
"""However often there was no answer, it is asked for again after this; a path that is back is noticed as soon."""

MIN_WINDOW_BYTES: Final = 4 * MAX_DATAGRAM_BYTES
FIRST_WINDOW_BYTES: Final = 10 * MAX_DATAGRAM_BYTES
MAX_WINDOW_BYTES: Final = 256 * MAX_DATAGRAM_BYTES

_BACK_OFF: Final = 1.5
"""By this the wait grows with each timeout. Twice as long, as TCP waits, would be for a full network, of which nobody
waits longer than `MAX_PATIENCE_SECONDS` all the same; one that just loses makes people wait for seconds then."""

_MAX_REORDERING: Final = 2.0


class RoundTrip:
    """The time from sending to the acknowledgement.

    `smoothed_seconds` is the average, `latest_seconds` the last measurement.
    """

    __slots__ = (
        "_has_sample",
        "_least_seconds",
        "_reordering",
        "_variation_seconds",
        "latest_seconds",
        "smoothed_seconds",
    )

    def __init__(self) -> None:
        self._has_sample = False
        self._least_seconds = 0.0
        self._reordering = 1.125
        self.latest_seconds = self.smoothed_seconds = _FIRST_GUESS_SECONDS
        self._variation_seconds = _FIRST_GUESS_SECONDS / 2

    def add(self, elapsed_seconds: float, delay_seconds: float) -> None:
        """A datagram was acknowledged `elapsed_seconds` after it was sent, of which the peer waited `delay_seconds`."""
        sample = max(0.0, elapsed_seconds)
        if not self._has_sample:
            self._least_seconds = sample = max(0.0, sample - delay_seconds)
            self._has_sample = True
            self.smoothed_seconds = sample
            self._variation_seconds = sample / 2
        else:
            self._least_seconds = min(self._least_seconds, sample)
            # A peer that boasts of its delay does not make the path faster than it has ever been.
            sample = max(self._least_seconds, sample - delay_seconds)
            difference = abs(self.smoothed_seconds - sample)
            self._variation_seconds += (difference - self._variation_seconds) / 4
            self.smoothed_seconds += (sample - self.smoothed_seconds) / 8
        self.latest_seconds = sample

    def note_spurious_loss(self) -> None:
        """Something that was thought to be lost was only late: wait longer for what is overtaken."""
        self._reordering = min(_MAX_REORDERING, self._reordering + 0.125)

    @property
    def reordering_seconds(self) -> float:
        """How long after its sending a datagram is lost when a later one has arrived."""
        return max(0.001, max(self.smoothed_seconds, self.latest_seconds) * self._reordering)

    def patience_seconds(self, *, timeouts: int, ack_delay_seconds: float) -> float:
        """How long to wait for an answer before something is sent again, after so many `timeouts` in a row."""
        patience = self.smoothed_seconds + 4 * self._variation_seconds + ack_delay_seconds
        if patience < MIN_PATIENCE_SECONDS:
            patience = MIN_PATIENCE_SECONDS
        if timeouts:
            patience *= _BACK_OFF ** min(timeouts, 20)
        return min(MAX_PATIENCE_SECONDS, patience)


class CongestionWindow:
    """How many bytes may be on their way at once: more while all goes well, half of it after a loss."""

    __slots__ = ("_recovery_from", "_threshold_bytes", "size_bytes")

    def __init__(self) -> None:
        self._recovery_from = float("-inf")
        self._threshold_bytes = MAX_WINDOW_BYTES
        self.size_bytes = FIRST_WINDOW_BYTES

    def on_acked(self, size_bytes: int, sent_at: float, in_flight_bytes: int) -> None:
        """So many bytes have arrived; a window that was not used does not grow."""
        if sent_at <= self._recovery_from or in_flight_bytes * 2 < self.size_bytes:
            return
        if self.size_bytes < self._threshold_bytes:
            grown = self.size_bytes + size_bytes
        else:
            grown = self.size_bytes + MAX_DATAGRAM_BYTES * size_bytes // self.size_bytes
        self.size_bytes = min(MAX_WINDOW_BYTES, grown)

    def on_lost(self, sent_at: float, now: float) -> None:
        """A datagram was lost; those of one round trip count as one."""
        if sent_at > self._recovery_from:
            self._recovery_from = now
            self.size_bytes = self._threshold_bytes = max(MIN_WINDOW_BYTES, self.size_bytes // 2)

    def on_silence(self) -> None:
        """Nothing has been acknowledged for long."""
        self.size_bytes = MIN_WINDOW_BYTES
