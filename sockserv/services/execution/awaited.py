"""A value that will be known, and that any number of callers wait for."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Awaited"]

T = TypeVar("T")


class Awaited(Generic[T]):
    """A value, or why there is none; the first one that is told counts."""

    def __init__(self) -> None:
        self.is_known = False
        self._value: T | Failure | None = None
        self._waiting: list[Deferred[T]] | None = None

    def tell(self, value: T | Failure) -> None:
        """Let everybody know who waits, and who will."""
        if self.is_known:
            return
        self.is_known = True
        self._value = value
        waiting, self._waiting = self._waiting, None
        for one in waiting or ():
            if not one.called:
                _fire(one, value)

    def wait(self) -> Deferred[T]:
        """Fires with the value, or fails with why there is none. Cancelling it concerns nobody else."""
        waiting: Deferred[Any] = Deferred(self._forget)
        if self.is_known:
            _fire(waiting, cast("T | Failure", self._value))
        elif self._waiting is None:
            self._waiting = [waiting]
        else:
            self._waiting.append(waiting)
        return waiting

    def _forget(self, waiting: Deferred[T]) -> None:
        if self._waiting is not None:
            self._waiting.remove(waiting)


def _fire(waiting: Deferred[Any], value: Any) -> None:
    if isinstance(value, Failure):
        waiting.errback(value)
    else:
        waiting.callback(value)
