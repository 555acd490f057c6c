"""How much somebody may say."""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """How much somebody may do: so many a second in the long run, so many at once after a while of nothing."""

    def __init__(self, *, per_second: float, at_once: int) -> None:
        self._per_second = per_second
        self._most = at_once / per_second
        # When all that was done would have been done at the steady rate.
        self._paid_until = 0.0

    def take(self, now: float) -> float:
        """Do one more: gives how many seconds that is too early, 0 if it is not."""
        self._paid_until = max(self._paid_until, now) + 1.0 / self._per_second
        return max(0.0, self._paid_until - now - self._most)
