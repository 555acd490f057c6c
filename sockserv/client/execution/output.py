"""One stream of what a job writes, for the one who reads it.

Invariants:

1. All that has come is counted, whether somebody reads it or not.
2. What waits to be read is `max_unread_bytes` and one piece at most: then nothing more is taken from the connection,
   and so, once its windows are full, the job waits.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred

from sockserv.client.execution.errors import OutputDiscarded
from sockserv.errors import ReplyTooLarge

__all__ = ["DEFAULT_MAX_BYTES", "JobOutput"]

DEFAULT_MAX_BYTES = 16 * 1024 * 1024


class JobOutput:
    """What a job writes to one of its streams: an asynchronous iterator of `bytes`, never empty ones. For one reader.

    It ends when the job has ended. Iterating raises `ConnectionEnded` when the connection did before,
    `OutputMismatch` when not all has come, `OutputDiscarded`, and otherwise what the call has failed with.
    """

    received_bytes = 0
    """How much has come, read or not."""

    _is_claimed = False
    _is_discarded = False
    _is_ended = False
    _failure: Exception | None = None
    _unread_bytes = 0
    _waiting: Deferred[None] | None = None
    _room: Deferred[None] | None = None

    def __init__(self, *, max_unread_bytes: int) -> None:
        self._max_unread_bytes = max_unread_bytes
        self._pieces: deque[bytes] = deque()

    def __aiter__(self) -> JobOutput:
        self._is_claimed = True
        return self

    async def __anext__(self) -> bytes:
        self._is_claimed = True
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._is_ended:
                raise StopAsyncIteration
            if self._waiting is not None:
                raise RuntimeError("the output is being read already: one reader at a time")
            self._waiting = Deferred(self._stop_waiting)
            await self._waiting
        piece = self._pieces.popleft()
        self._unread_bytes -= len(piece)
        if self._room is not None and self.has_room:
            self._make_room()
        return piece

    async def read(self, *, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
        """All that is left, in one piece, when the job has ended.

        Raises `ReplyTooLarge` when that is more than `max_bytes`, and what iterating raises.
        """
        pieces = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > max_bytes:
                raise ReplyTooLarge(f"the job has written more than {max_bytes} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Throw away what is left, and what still comes: the job never waits for anybody to read it."""
        self._is_claimed = self._is_discarded = True
        self._clear()

    # For the job

    def discard_unclaimed(self) -> None:
        """Throw everything away if nobody has begun to read; who begins later is told."""
        if not self._is_claimed:
            self.close()
            self._failure = OutputDiscarded(
                "the output was thrown away: begin to read it before you wait for the outcome"
            )

    @property
    def has_room(self) -> bool:
        """Whether more may be given."""
        return self._unread_bytes <= self._max_unread_bytes

    async def room(self) -> None:
        """Wait until more may be given."""
        while not self.has_room:
            self._room = Deferred()
            await self._room

    def feed(self, piece: bytes) -> None:
        """Add a piece."""
        self.received_bytes += len(piece)
        if not self._is_discarded:
            self._pieces.append(piece)
            self._unread_bytes += len(piece)
            self._wake()

    def end(self, failure: Exception | None) -> None:
        """No more pieces will come: the output is whole, or `failure` says why not."""
        self._is_ended = True
        self._failure = self._failure or failure
        self._wake()

    def _clear(self) -> None:
        self._pieces.clear()
        self._unread_bytes = 0
        self._make_room()

    def _make_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.called:
            room.callback(None)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _stop_waiting(self, waiting: Deferred[None]) -> None:
        self._waiting = None
