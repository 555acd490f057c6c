"""How much somebody may say."""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """How much somebody may do: so many a second in the long run, so many at once after a while of nothing."""

    __slots__ = ("_most", "_paid_until", "_per_second")

    def __init__(self, *, per_second: float, at_once: int) -> None:
        self._per_second = per_second
        self._most = at_once / per_second
        # When all that was done would have been done at the steady rate.
        self._paid_until = 0.0

    def take(self, now: float) -> float:
        """Do one more: gives how many seconds that is too early, 0 if it is not."""
        self._paid_until = self._with_one_more(now)
        return max(0.0, self._paid_until - now - self._most)

    def take_if_due(self, now: float) -> float:
        """Do one more, unless that is too early: gives how many seconds it is, 0 if it was done."""
        seconds = max(0.0, self._with_one_more(now) - now - self._most)
        if not seconds:
            self._paid_until = self._with_one_more(now)
        return seconds

    def _with_one_more(self, now: float) -> float:
        return max(self._paid_until, now) + 1.0 / self._per_second
