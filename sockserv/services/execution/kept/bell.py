"""Something that many wait for, each as long as they like."""

from __future__ import annotations

from twisted.internet.defer import Deferred

__all__ = ["Bell"]


class Bell:
    """Rings now and then; who waits hears the next time."""

    def __init__(self) -> None:
        self._waiting: set[Deferred[None]] = set()

    def heard(self) -> Deferred[None]:
        """Fires when it rings next. Cancelling it concerns nobody else."""
        waiting: Deferred[None] = Deferred(self._waiting.discard)
        self._waiting.add(waiting)
        return waiting

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def ring(self) -> None:
        """Let all go on who wait."""
        waiting, self._waiting = self._waiting, set()
        for each in waiting:
            each.callback(None)
