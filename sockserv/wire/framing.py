"""Cutting a stream of bytes into frames: a length, a header, a body.

A frame is a length prefix, that many bytes of header, and a body whose size stands in the header.
The body is never collected: its bytes are handed on as they arrive.

Invariants:

1. A length is checked before a byte of what it announces is kept.
2. At most one prefix and one header are held, whatever the peer sends.
3. The cost of a delivery is proportional to its size, however the stream is cut into deliveries.
4. Any bytes give parts or a `ProtocolError`, and nothing else.
5. Who keeps a part of a delivery keeps no more than twice as many bytes in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs
import msgspec

from sockserv.errors import GoodbyeCode, ProtocolError

__all__ = ["FIRST_BYTES_OF_TLS", "U32_BIG_ENDIAN", "FramePart", "FrameReader", "Piece", "Prefix"]

Piece: TypeAlias = bytes | memoryview
"""Bytes of a body: a view, where a copy would cost more than it is worth."""

_LEAST_VIEW_BYTES: Final = 64 * 1024
"""What is smaller is copied."""

H = TypeVar("H")
T = TypeVar("T")


@attrs.frozen
class Prefix:
    """How a header's length is written.

    `layout` is one of the standard sizes of the `struct` module with its byte order: `">I"` is the
    protocol's own, `"<i"` (little-endian, signed, 32 bit) that of the tutorial's programs.
    """

    layout: str = ">I"

    @property
    def width(self) -> int:
        """How many bytes the prefix has."""
        return struct.calcsize(self.layout)

    def pack(self, length: int) -> bytes:
        """The prefix of a header of `length` bytes."""
        return struct.pack(self.layout, length)


U32_BIG_ENDIAN = Prefix(">I")

# Thousands of readers share theirs.
_getter_of = lru_cache(attrgetter)


@lru_cache
def _unpacking(layout: str) -> Callable[..., tuple[Any, ...]]:
    return struct.Struct(layout).unpack_from


FIRST_BYTES_OF_TLS = "these are the first bytes of TLS"
"""How the error begins that says that the peer speaks TLS."""

_BEGINNINGS_OF_TLS = {0x1503, 0x1603}
"""An alert and a handshake: what a length would begin with that is none."""


class FramePart(msgspec.Struct, Generic[H], frozen=True):
    """A piece of a frame.

    `header` stands on the first part of a frame and is `None` on the others. `body` holds the next
    bytes of the body; `remaining` says how many are still to come (0: the frame is complete).
    """

    header: H | None
    body: bytes
    remaining: int


class FrameReader(Generic[H]):
    """Reads frames from deliveries of any size.

    `decode_header` turns the bytes of a header into an object, or raises `ProtocolError`;
    `size_field` names its attribute that holds the size of the body in bytes.
    """

    __slots__ = (
        "_body_left",
        "_decode_header",
        "_size_of",
        "_started",
        "_unpack_from",
        "_width",
        "max_body_bytes",
        "max_header_bytes",
    )

    def __init__(
        self,
        decode_header: Callable[[bytes], H],
        *,
        max_header_bytes: int,
        max_body_bytes: int,
        prefix: Prefix = U32_BIG_ENDIAN,
        size_field: str = "size",
    ) -> None:
        self.max_header_bytes = max_header_bytes
        self.max_body_bytes = max_body_bytes
        self._decode_header = decode_header
        self._size_of = _getter_of(size_field)
        self._width = prefix.width
        self._unpack_from = _unpacking(prefix.layout)
        self._body_left = 0
        # The beginning of a prefix or header that no delivery has completed yet.
        self._started: bytearray | None = None

    @property
    def is_between_frames(self) -> bool:
        """Whether the stream could end here without cutting a frame."""
        return self._started is None and not self._body_left

    @property
    def is_inside_header(self) -> bool:
        """Whether a prefix or a header has begun and is not complete."""
        return self._started is not None

    def feed(self, data: bytes) -> Iterator[FramePart[H]]:
        """Take one delivery; yields its parts, in order, as they are asked for.

        Raises `ProtocolError` in place of the first part that cannot be.
        """
        parts: Iterator[FramePart[H]] = self.feed_to(_part_of, data)
        return parts

    def feed_to(
        self, accept: Callable[[H | None, Piece, int], T | None], data: bytes
    ) -> Iterator[T]:
        """Take one delivery; yields what `accept` makes of its parts, and is not None.

        `accept` is given what a `FramePart` would hold: the header, the bytes of the body, which may be a view of the
        delivery, and how many of them are still to come. Raises what it raises, and `ProtocolError` like `feed`.
        """
        end = len(data)
        offset = 0
        header: H | None
        if not self.is_between_frames:
            begun = self._continue(data)
            if begun is None:
                return
            header, start, offset = begun
            part = accept(header, _cut(data, start, offset), self._body_left)
            if part is not None:
                yield part

        width = self._width
        unpack_from = self._unpack_from
        decode_header = self._decode_header
        size_of = self._size_of
        while offset < end:
            start = offset + width
            if start > end:
                self._started = bytearray(data[offset:])
                return
            length = unpack_from(data, offset)[0]
            if not 0 < length <= self.max_header_bytes:
                raise self._bad_length(length)
            stop = start + length
            if stop > end:
                self._started = bytearray(data[offset:])
                return
            header = decode_header(data[start:stop])
            offset = stop
            size = size_of(header)
            if not 0 <= size <= self.max_body_bytes:
                raise self._bad_size(size)
            stop += size
            if stop > end:
                self._body_left = stop - end
            # Most are small, and a call would cost as much as the copy.
            body = data[offset:stop] if size < _LEAST_VIEW_BYTES else _cut(data, offset, stop)
            part = accept(header, body, self._body_left)
            offset = stop
            if part is not None:
                yield part

    def _continue(self, data: bytes) -> tuple[H | None, int, int] | None:
        """Give the begun frame what it gets of this delivery.

        Returns its header, if that became whole, and where the bytes for its body begin and end in
        `data`; None if the header needs more than all of it.
        """
        if self._started is None:
            stop = min(self._body_left, len(data))
            self._body_left -= stop
            return None, 0, stop
        header_bytes, start = self._continue_header(self._started, data)
        if header_bytes is None:
            return None
        header = self._decode_header(header_bytes)
        size: int = self._size_of(header)
        if not 0 <= size <= self.max_body_bytes:
            raise self._bad_size(size)
        stop = min(start + size, len(data))
        self._body_left = start + size - stop
        return header, start, stop

    def _continue_header(self, started: bytearray, data: bytes) -> tuple[bytes | None, int]:
        """Add to the begun header; gives it when it is whole, and how much of `data` that took."""
        width = self._width
        taken = 0
        if len(started) < width:
            taken = min(width - len(started), len(data))
            started += data[:taken]
            if len(started) < width:
                return None, taken
        length = self._unpack_from(started, 0)[0]
        if not 0 < length <= self.max_header_bytes:
            raise self._bad_length(length)
        missing = width + length - len(started)
        started += data[taken : taken + missing]
        if len(started) < width + length:
            return None, len(data)
        self._started = None
        return bytes(started[width:]), taken + missing

    def _bad_size(self, size: int) -> ProtocolError:
        return ProtocolError(
            GoodbyeCode.BAD_FRAME,
            f"the body of a frame is said to have {size} bytes: "
            f"0 to {self.max_body_bytes} are accepted",
        )

    def _bad_length(self, length: int) -> ProtocolError:
        if length >> 16 in _BEGINNINGS_OF_TLS:
            return ProtocolError(
                GoodbyeCode.BAD_FRAME,
                f"{FIRST_BYTES_OF_TLS}: one side has it, the other has not "
                "(with TLS, a URL begins with sockserv://)",
            )
        return ProtocolError(
            GoodbyeCode.BAD_FRAME,
            f"a header is said to have {length} bytes: 1 to {self.max_header_bytes} are accepted",
        )


def _cut(data: bytes, start: int, stop: int) -> Piece:
    """A part of a delivery: as a view, if it is large and the greater part."""
    size = min(stop, len(data)) - start
    if size >= _LEAST_VIEW_BYTES and 2 * size >= len(data) > size:
        return memoryview(data)[start:stop]
    return data[start:stop]


def _part_of(header: H | None, body: Piece, remaining: int) -> FramePart[H]:
    return FramePart(header, bytes(body), remaining)
