"""Storing messages: all that come in one turn, or while others are being written, go to the disk together, and then
their senders are told.

A commit costs far more than a message: what can wait for no longer than the turn does not have one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sockserv.services.chat.messages import NewMessage
from sockserv.services.chat.store import ChatStore
from sockserv.services.threads import InThread

__all__ = ["OnStored", "Storing"]

OnStored: TypeAlias = Callable[[int | None], None]
"""Told the id that a message has got; 0 if it was stored before and is gone, None if it could not be stored."""

_MOST_AT_ONCE: Final = 1000


class Storing:
    """Stores messages in the order of their coming. `in_thread` is the one thread in which the store is used."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, store: ChatStore, in_thread: InThread) -> None:
        self._clock = clock
        self._store = store
        self._in_thread = in_thread
        self._waiting: list[tuple[NewMessage, OnStored]] = []
        self._idle: list[Deferred[None]] = []
        self._is_writing = False

    def add(self, message: NewMessage, on_stored: OnStored) -> None:
        """Have a message stored."""
        self._waiting.append((message, on_stored))
        if not self._is_writing:
            self._is_writing = True
            self._clock.callLater(0, self._start)

    def idle(self) -> Deferred[None]:
        """Fires when nothing is left to write."""
        done: Deferred[None] = Deferred()
        if self._is_writing:
            self._idle.append(done)
        else:
            done.callback(None)
        return done

    def _start(self) -> None:
        Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            ids: Sequence[int | None]
            try:
                ids = await self._in_thread(self._store.add, [message for message, _ in taken])
            except Exception:
                self._log.failure("{count} messages could not be stored", count=len(taken))
                ids = [None] * len(taken)
            for (_, on_stored), number in zip(taken, ids, strict=True):
                on_stored(number)
        self._is_writing = False
        idle, self._idle = self._idle, []
        for waiting in idle:
            waiting.callback(None)
