"""Events that wait for who reads them."""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["MAX_UNREAD", "Waiting"]

T = TypeVar("T")

MAX_UNREAD: Final = 256
"""So many events wait for one reader; then nothing more is taken from the server, which keeps the rest."""


class Waiting(Generic[T]):
    """An asynchronous iterator of what it is given.

    For one reader. It ends when it is closed, and raises what it was closed with.
    """

    def __init__(self) -> None:
        self._events: deque[T] = deque()
        self._is_closed = False
        self._failure: Exception | None = None
        self._reader: Deferred[None] | None = None
        self._room: list[Deferred[None]] = []

    def __aiter__(self) -> Waiting[T]:
        return self

    async def __anext__(self) -> T:
        while not self._events:
            if self._failure is not None:
                raise self._failure
            if self._is_closed:
                raise StopAsyncIteration
            if self._reader is not None:
                raise RuntimeError("somebody reads this already: one reader at a time")
            self._reader = Deferred(self._stop_reading)
            await self._reader
        event = self._events.popleft()
        if self.has_room:
            room, self._room = self._room, []
            for one in room:
                one.callback(None)
        return event

    @property
    def has_room(self) -> bool:
        """Whether it may be given more."""
        return len(self._events) < MAX_UNREAD

    async def room(self) -> None:
        """Wait until it may be given more."""
        while not self.has_room and not self._is_closed:
            waiting: Deferred[None] = Deferred(lambda one: self._room.remove(one))
            self._room.append(waiting)
            await waiting

    def put(self, event: T) -> None:
        """Give it one more."""
        if not self._is_closed:
            self._events.append(event)
            self._wake()

    def close(self, failure: Exception | None = None) -> None:
        """Nothing more will come; what waits may still be read."""
        self._is_closed = True
        self._failure = failure
        self._wake()
        room, self._room = self._room, []
        for one in room:
            one.callback(None)

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)

    def _stop_reading(self, reader: Deferred[None]) -> None:
        self._reader = None
