"""How fast strangers may come: a handshake costs the one who is asked for it as much as the one who asks.

Invariants:

1. A place is let make `per_second` connections on average, and `BURST_SECONDS` of that at once.
2. Only what comes to no login counts: what does is given back.
3. The memory is bounded: the place that has come the longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from twisted.internet.interfaces import IReactorTime

__all__ = ["BURST_SECONDS", "Arrivals"]

BURST_SECONDS: Final = 10.0
"""How much of its rate a place may use at once: many machines may be behind one address, and start together."""


class Arrivals:
    """A token bucket for each place that connections come from; `most_places` of them are remembered."""

    def __init__(self, clock: IReactorTime, *, per_second: float, most_places: int) -> None:
        self._clock = clock
        self._per_second = per_second
        self._most_places = most_places
        # What each has used up of its bucket, as of when; the place that has come last stands last.
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    def may_come(self, place: str) -> bool:
        """Whether one more connection is taken from a place, for which that counts then."""
        used = self._used_by(place) + 1.0
        # Less than one at once would be none for ever.
        if used > max(1.0, self._per_second * BURST_SECONDS):
            return False
        self._used[place] = used, self._clock.seconds()
        self._used.move_to_end(place)
        if len(self._used) > self._most_places:
            self._used.popitem(last=False)
        return True

    def came_in(self, place: str) -> None:
        """A connection from a place has come to a login."""
        used = self._used_by(place) - 1.0
        if used > 0.0:
            self._used[place] = used, self._clock.seconds()
        else:
            self._used.pop(place, None)

    def _used_by(self, place: str) -> float:
        used, as_of = self._used.get(place, (0.0, 0.0))
        # The clock may have been set back.
        seconds = max(0.0, self._clock.seconds() - as_of)
        return max(0.0, used - seconds * self._per_second)
