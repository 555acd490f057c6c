"""Taking a file's content from a call, while what came before is written and digested in a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, Final

import msgspec
from twisted.internet.defer import Deferred

from sockserv.errors import InvalidArgument
from sockserv.files.facts import Stored
from sockserv.services.api import Call, Piece
from sockserv.services.files.download import SMALL_BYTES
from sockserv.services.files.gate import Gate
from sockserv.services.files.pace import Pace
from sockserv.services.files.steps import Steps
from sockserv.services.files.storing import Storing
from sockserv.services.files.upload import Upload, Wants

__all__ = ["receive"]

_BATCH_BYTES: Final = 1024 * 1024
"""So much is written in one step, or more: a thread costs something each time."""

_MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
"""So much is taken while the step before it is being done."""

_BATCH_PIECES: Final = 256
_TRAILER_STREAM: Final = 1
_MAX_TRAILER_BYTES: Final = 1024


class _Trailer(msgspec.Struct, forbid_unknown_fields=True):
    """What follows the content."""

    digest: Annotated[str, msgspec.Meta(pattern=r"^blake3:[0-9a-f]{64}\Z")]


def receive(
    call: Call[Any], upload: Upload, pace: Pace | None, storing: Storing, gate: Gate
) -> Awaitable[Stored]:
    """Store the file that a call sends. Raises what `Upload.steps` raises.

    A small file costs one turn in a thread, or less: those that wait share one. Of a large one two batches are in
    memory: one is taken, as large as it gets up to a bound, while the other is written. When the call breaks off, what
    has come is written before it is let go, unless as much is being written as may be.
    """
    args = upload.args
    if args.offset <= SMALL_BYTES:  # what was kept is to be read again
        body = call.whole_body
        if body is not None and upload.digest is not None and pace is None:
            # The usual small file: a coroutine would cost as much as all else that is done here.
            return storing.store(call, upload, [body] if body else [])
        if args.size is not None and args.size - args.offset <= SMALL_BYTES:
            return _receive_small(call, upload, pace, storing)
    return _receive_large(call, upload, _Content(call, upload), pace, gate)


async def _receive_small(
    call: Call[Any], upload: Upload, pace: Pace | None, storing: Storing
) -> Stored:
    content = _Content(call, upload)
    args = upload.args
    await content.take(max(0, (args.size or 0) - args.offset) + 1)
    if pace is not None:
        await pace.wait_for(content.size, call.clock)
    return await storing.store(call, upload, content.pieces)


async def _receive_large(
    call: Call[Any], upload: Upload, content: _Content, pace: Pace | None, gate: Gate
) -> Stored:
    async with Steps(call.in_thread, upload.alone()) as steps:
        writing: Deferred[Wants | None] | None = None
        try:
            while await steps.next() is Wants.A_TURN:
                pass
            while await content.take(_BATCH_BYTES):
                # The sender goes on meanwhile.
                while writing is not None and not writing.called and content.has_room:
                    await content.take(content.size + 1)
                if writing is not None:
                    await writing
                size = content.size
                await gate.enter(size)
                writing = gate.write(size, content.written_by(steps))
                if pace is not None:
                    await pace.wait_for(size, call.clock)
            if writing is not None:
                await writing
        except Exception:
            # To close the upload takes a thread, and who waits for that is to keep nothing.
            call.body.discard()
            if writing is not None:
                # It is waited for below, in its turn.
                writing.addErrback(lambda _: None)
            if content.pieces and steps.is_open and gate.has_room(content.size):
                size = content.size
                await gate.enter(size)
                await gate.write(size, content.written_by(steps))
            raise
        await steps.send(())
        return steps.result


class _Content:
    """The content that has come, and has not been written; what the trailer says is told to the upload."""

    def __init__(self, call: Call[Any], upload: Upload) -> None:
        self._call = call
        self._body = call.body
        self._upload = upload
        self._trailer = b""
        self.pieces: list[Piece] = []
        self.size = 0
        self._given_bytes = 0
        self._is_open = True

    @property
    def has_room(self) -> bool:
        """Whether more may come, and may be taken before this is written."""
        is_full = self.size >= _MAX_BATCH_BYTES or len(self.pieces) >= _BATCH_PIECES
        return self._is_open and not is_full

    async def take(self, enough_bytes: int) -> bool:
        """Wait until there are so many bytes, or many pieces, or all; gives whether there are any.

        Raises `InvalidArgument` for what is neither content nor a trailer.
        """
        while self.size < enough_bytes and len(self.pieces) < _BATCH_PIECES:
            taken: Any = await self._body.take_view()
            if taken is None:
                self._is_open = False
                self._end()
                break
            stream, piece = taken
            if not stream:
                self.pieces.append(piece)
                self.size += len(piece)
                self._call.keeps(self._given_bytes + self.size)
            else:
                self._add_to_trailer(stream, piece)
        return bool(self.pieces)

    async def written_by(self, steps: Steps[Wants, Sequence[Piece], Stored]) -> Wants | None:
        """Have the pieces written, which are not in memory any more then; gives what the upload wants next."""
        pieces, self._given_bytes = self.pieces, self.size
        self.pieces, self.size = [], 0
        try:
            writing = steps.send(pieces)
            del pieces
            return await writing
        finally:
            self._given_bytes = 0
            self._call.keeps(self.size)

    def _add_to_trailer(self, stream: int, piece: Piece) -> None:
        self._trailer += piece
        if stream != _TRAILER_STREAM:
            raise InvalidArgument(f"stream {stream} has no meaning in an upload")
        if len(self._trailer) > _MAX_TRAILER_BYTES:
            raise InvalidArgument(f"the trailer is longer than {_MAX_TRAILER_BYTES} bytes")

    def _end(self) -> None:
        if self._trailer:
            try:
                self._upload.digest = msgspec.json.decode(self._trailer, type=_Trailer).digest
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InvalidArgument(f"the trailer: {error}") from None
