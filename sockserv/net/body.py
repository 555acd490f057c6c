"""The bytes that the peer sends in a call, for the one who consumes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from sockserv.errors import BodyTooLarge
from sockserv.wire.framing import Piece

if TYPE_CHECKING:
    from sockserv.net.running import RunningCall

__all__ = ["Body"]

_JOIN_BELOW_BYTES = 4096
"""Pieces are joined up to this size, so that many tiny ones cost no more memory than their bytes."""

_MANY_PIECES = 256
"""Once so many wait, small ones are joined to their stream across the pieces of other streams."""


class Body:
    """A call's incoming body: an asynchronous iterator of `bytes`.

    The pieces come as the network delivered them, of any size but 0. The peer is given credit for a
    piece when it is taken, so that at most one window waits here. What came first in a stream is taken
    first; between streams that holds as long as few pieces wait. Iterating raises what the call
    failed with (`CallError`, `ConnectionEnded`) when the body does not come to its end.
    """

    taken_bytes = 0
    """How much of it was consumed."""

    # Nearly all bodies are one piece and complete with it; only the others get more.
    _first: Piece | None = None
    _pieces: deque[tuple[int, Piece | bytearray]] | None = None
    # The last piece of a stream, if more can be joined to it.
    _tails: dict[int, bytearray] | None = None
    _is_ended = False
    _failure: Exception | None = None
    _waiting: Deferred[None] | None = None
    _sink: Callable[[int, bytes], None] | None = None
    _on_news: Callable[[], None] | None = None

    def __init__(self, call: RunningCall) -> None:
        self._call = call

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        taken = self._pop() or await self._take()
        if taken is None:
            raise StopAsyncIteration
        return bytes(taken[1])

    async def take(self) -> tuple[int, bytes] | None:
        """The next piece with the number of its stream; None at the end."""
        taken = self._pop() or await self._take()
        return None if taken is None else (taken[0], bytes(taken[1]))

    async def take_view(self) -> tuple[int, Piece] | None:
        """The same as `take`, but a large piece may be a view of what has come, of which nothing is copied.

        All that came with it, twice its size at most, stays in memory as long as any part of the view.
        """
        return self._pop() or await self._take()

    async def take_all(self) -> list[tuple[int, bytes]] | None:
        """All pieces that have come by now, at least one, each as `take` gives it; None at the end.

        Credit is given for all of them at once: for who takes them to a thread, while more come.
        """
        taken = await self.take()
        if taken is None:
            return None
        pieces = [taken]
        while (more := self._pop()) is not None:
            pieces.append((more[0], bytes(more[1])))
        return pieces

    async def read(self, *, max_bytes: int) -> bytes:
        """All that is left of the body, in one piece.

        Raises `BodyTooLarge` when that is more than `max_bytes`.
        """
        pieces = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > max_bytes:
                raise BodyTooLarge(
                    f"the body is larger than {max_bytes} bytes", details={"max_bytes": max_bytes}
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def listen(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when a piece has come, and when no more will, instead of waiting for either.

        For who would wait for long, beside many others. What has come before is there for `next_piece` at once.
        """
        self._on_news = on_news

    def next_piece(self) -> bytes | None:
        """The next piece, if one has come; else None, and `is_at_end` says whether more may come.

        Raises what the call failed with when no piece is left.
        """
        taken = self._pop()
        if taken is not None:
            return bytes(taken[1])
        if self._failure is not None:
            raise self._failure
        return None

    @property
    def is_at_end(self) -> bool:
        """Whether all of it has come, and was taken."""
        return self._is_ended and self._first is None and not self._pieces

    @property
    def waiting_bytes(self) -> int:
        """How much has come, and was not taken."""
        first = self._first
        waiting = 0 if first is None else len(first)
        if self._pieces:
            waiting += sum(len(piece) for _, piece in self._pieces)
        return waiting

    def pour(self, sink: Callable[[int, bytes], None]) -> None:
        """Give each piece to `sink` as it comes, with the number of its stream, instead of keeping it for a reader.

        For who takes everything at once anyway, before the first piece has come.
        """
        self._sink = sink

    def _pop(self) -> tuple[int, Piece] | None:
        """The first piece that waits here, if one does."""
        piece: Piece | bytearray | None
        piece = self._first
        stream = 0
        if piece is not None:
            self._first = None
        elif self._pieces:
            stream, piece = self._pieces.popleft()
            if self._tails and self._tails.get(stream) is piece:
                del self._tails[stream]
        else:
            return None
        self._consume(len(piece))
        return stream, bytes(piece) if isinstance(piece, bytearray) else piece

    async def _take(self) -> tuple[int, Piece] | None:
        """The next piece that comes."""
        while True:
            if self._failure is not None:
                raise self._failure
            if self._is_ended:
                return None
            if self._waiting is not None:
                raise RuntimeError("the body is being read already: one reader at a time")
            self._waiting = Deferred(self._stop_waiting)
            await self._waiting
            taken = self._pop()
            if taken is not None:
                return taken

    def _consume(self, count: int) -> None:
        self.taken_bytes += count
        call = self._call
        if call.is_receiving and not call.is_ended:
            call.peer.consume(call, count, keeps_up=not self._pieces)

    def _stop_waiting(self, waiting: Deferred[None]) -> None:
        self._waiting = None

    # For the connection

    def feed(self, stream: int, piece: Piece) -> None:
        """Add a piece; `wake` has to follow."""
        sink = self._sink
        if sink is not None:
            if sink is not _forget:
                self._consume(len(piece))
            sink(stream, bytes(piece))
            return
        pieces = self._pieces
        if pieces is None:
            if self._first is None and not stream:
                self._first = piece
                return
            self._pieces = pieces = deque()
            if self._first is not None:
                pieces.append((0, self._first))
                self._first = None
        elif pieces and len(piece) < _JOIN_BELOW_BYTES:
            self._add_small(pieces, stream, piece)
            return
        if self._tails:
            self._tails.pop(stream, None)
        pieces.append((stream, piece))

    def _add_small(
        self, pieces: deque[tuple[int, Piece | bytearray]], stream: int, piece: Piece
    ) -> None:
        if self._tails is None:
            self._tails = {}
        tail = self._tails.get(stream)
        if (
            tail is not None
            and len(tail) + len(piece) <= _JOIN_BELOW_BYTES
            and (pieces[-1][1] is tail or len(pieces) >= _MANY_PIECES)
        ):
            tail += piece
        else:
            self._tails[stream] = tail = bytearray(piece)
            pieces.append((stream, tail))

    def discard(self) -> None:
        """Nobody will read what is here, or what may still come."""
        self._first = self._pieces = self._tails = self._on_news = None
        self._sink = _forget

    def end(self, failure: Exception | None = None) -> None:
        """No more pieces will come: the body is whole, or `failure` says why not."""
        if not self._is_ended:
            self._is_ended = True
            self._failure = failure
            self.wake()

    def wake(self) -> None:
        """Let the reader go on, if it waits, or know that there is news."""
        waiting = self._waiting
        if waiting is not None:
            self._waiting = None
            waiting.callback(None)
        elif self._on_news is not None:
            self._on_news()


def _forget(stream: int, piece: bytes) -> None:
    """Where the pieces go that nobody reads."""
