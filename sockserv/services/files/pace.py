"""How fast the bytes of one identity may go, in all its calls together."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

__all__ = ["Pace"]


class Pace:
    """A rate that is shared: each takes its turn, and waits as long as the bytes of those before it may take."""

    def __init__(self, bytes_per_second: int) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = 0.0

    async def wait_for(self, count: int, clock: IReactorTime) -> None:
        """Wait until `count` bytes, which have just gone, are within the rate."""
        now = clock.seconds()
        self._free_at = max(now, self._free_at) + count / self.bytes_per_second
        await deferLater(clock, self._free_at - now)
