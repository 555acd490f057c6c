"""How much content may be on its way to the disk at once.

What was handed over to be written stays in memory until it is, also when its call has ended, by which the memory of
everything else is bounded: on a slow disk, callers who come and go would fill it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["Gate"]

T = TypeVar("T")

_MAX_BYTES: Final = 64 * 1024 * 1024


class Gate:
    """Lets at most `max_bytes` through to the disk, and one who has more by itself; who comes first goes first."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._inside_bytes = 0
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()

    def has_room(self, count: int) -> bool:
        """Whether `count` bytes may enter now."""
        return not self._waiting and self._fits(count)

    async def enter(self, count: int) -> None:
        """Wait until `count` bytes may be written; `write` has to follow. Cancelling it gives the turn up."""
        if not self.has_room(count):
            admitted: Deferred[None] = Deferred(lambda _: self._give_up(waiting))
            waiting = count, admitted
            self._waiting.append(waiting)
            await admitted
        else:
            self._inside_bytes += count

    def write(self, count: int, writing: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """What `writing` gives, by which the bytes that have entered are written.

        Cancelling it stops the waiting, and not the writing: until that has ended, the bytes are inside.
        """
        told: Deferred[T] = Deferred()

        def leave(result: Any) -> None:
            self._inside_bytes -= count
            self._admit()
            if not told.called:
                told.callback(result)

        Deferred.fromCoroutine(writing).addBoth(leave)
        return told

    def _fits(self, count: int) -> bool:
        return not self._inside_bytes or self._inside_bytes + count <= self._max_bytes

    def _give_up(self, waiting: tuple[int, Deferred[None]]) -> None:
        self._waiting.remove(waiting)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            count, admitted = self._waiting.popleft()
            self._inside_bytes += count
            admitted.callback(None)
