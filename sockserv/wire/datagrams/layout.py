"""The bytes of a datagram: its header in the clear, and the parts of its content.

Invariants:

1. Any content gives a `Content` or `DatagramDropped`, and nothing else.
2. No datagram exceeds `MAX_DATAGRAM_BYTES`, whatever it carries.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

import msgspec

from sockserv.wire.datagrams.drops import DatagramDropped, DropReason

__all__ = [
    "HEADER",
    "MAX_ACK_BYTES",
    "MAX_CONTENT_BYTES",
    "MAX_DATAGRAM_BYTES",
    "MAX_MESSAGE_BYTES",
    "MESSAGE_HEADER_BYTES",
    "MIN_CLIENT_CONTENT_BYTES",
    "REPLAY_WINDOW",
    "SESSION_ID_BYTES",
    "TAG_BYTES",
    "TOKEN_BYTES",
    "Ack",
    "Content",
    "Kind",
    "Part",
    "ack_part",
    "decode_content",
    "message_part",
]

MAX_DATAGRAM_BYTES: Final = 1200
"""The largest payload of UDP that is ever sent or accepted: it passes any network of today in one piece."""

SESSION_ID_BYTES: Final = 8
TOKEN_BYTES: Final = 8
TAG_BYTES: Final = 16

HEADER: Final = Struct(f">B{SESSION_ID_BYTES}sQ")
"""The kind, the session, and the counter of the datagram."""

MAX_CONTENT_BYTES: Final = MAX_DATAGRAM_BYTES - HEADER.size - TAG_BYTES

_MESSAGE: Final = Struct(">BIIH")
_ACK: Final = Struct(">BQHB")
MESSAGE_HEADER_BYTES: Final = _MESSAGE.size
_ACK_BYTES: Final = _ACK.size

REPLAY_WINDOW: Final = 1024
"""How far behind the newest datagram one is still taken, and acknowledged."""

MAX_ACK_BYTES: Final = _ACK_BYTES + REPLAY_WINDOW // 8

MAX_MESSAGE_BYTES: Final = MAX_CONTENT_BYTES - MESSAGE_HEADER_BYTES
"""The longest message; what is longer goes over the connection."""

MIN_CLIENT_CONTENT_BYTES: Final = 1 + TOKEN_BYTES
"""What a client sends is filled up to this, so that a challenge is never larger than what asked for it."""

_DELAY_UNITS: Final = 10_000
"""The delay of an acknowledgement is counted in units of 0.1 ms."""

_MAX_DELAY: Final = 0xFFFF


class Kind(IntEnum):
    """The first byte of a datagram."""

    SEALED = 0x51
    PLAIN = 0x50
    """In the clear, for loopback alone."""


class Part(IntEnum):
    """The first byte of each part of the content."""

    PADDING = 0
    PING = 1
    ACK = 2
    CHALLENGE = 3
    RESPONSE = 4
    MESSAGE = 5


# To look a member up in its enum takes as long as reading a small part.
_PADDING, _PING, _ACKNOWLEDGEMENT, _CHALLENGE, _RESPONSE, _A_MESSAGE = map(int, Part)


class Ack(msgspec.Struct, frozen=True, gc=False):
    """What has arrived: the datagram `largest`, and `largest - i` for each bit `i` that is set in `bits`.

    `delay_seconds` is how long the receiver of `largest` has waited before it said so.
    """

    largest: int
    delay_seconds: float
    bits: int


class Content(msgspec.Struct):
    """The parts of one datagram; `messages` are stream, number and body of each."""

    messages: list[tuple[int, int, bytes]]
    ack: Ack | None = None
    challenge: bytes | None = None
    response: bytes | None = None
    is_ping: bool = False

    @property
    def asks_for_ack(self) -> bool:
        """Whether the sender waits for an acknowledgement of it."""
        return self.is_ping or bool(self.messages)


def message_part(stream: int, number: int, body: bytes) -> bytes:
    """A message as part of a content."""
    return _MESSAGE.pack(_A_MESSAGE, stream, number, len(body)) + body


def ack_part(ack: Ack) -> bytes:
    """An acknowledgement as part of a content. The bit of `largest` itself is not written."""
    bits = ack.bits >> 1
    size = (bits.bit_length() + 7) // 8
    delay = min(_MAX_DELAY, max(0, int(ack.delay_seconds * _DELAY_UNITS)))
    return _ACK.pack(_ACKNOWLEDGEMENT, ack.largest, delay, size) + bits.to_bytes(size, "little")


def decode_content(data: bytes) -> Content:
    """The parts of a content; raises `DatagramDropped` for anything else."""
    content = Content([])
    messages = content.messages
    size = len(data)
    offset = 0
    while offset < size:
        if data[offset] != _A_MESSAGE:
            offset = _decode_other(data, offset, content)
            continue
        start = offset + MESSAGE_HEADER_BYTES
        if start > size:
            raise DatagramDropped(DropReason.MALFORMED)
        _, stream, number, length = _MESSAGE.unpack_from(data, offset)
        offset = start + length
        if offset > size or not number:
            raise DatagramDropped(DropReason.MALFORMED)
        messages.append((stream, number, data[start:offset]))
    return content


def _decode_other(data: bytes, offset: int, content: Content) -> int:
    """Read a part that is no message; returns where the next one begins."""
    kind = data[offset]
    end = offset + 1
    if kind == _ACKNOWLEDGEMENT and content.ack is None:
        return _decode_ack(data, offset, content)
    if kind == _PING:
        content.is_ping = True
        return end
    token = data[end : end + TOKEN_BYTES]
    if kind == _CHALLENGE and content.challenge is None and len(token) == TOKEN_BYTES:
        content.challenge = token
        return end + TOKEN_BYTES
    if kind == _RESPONSE and content.response is None and len(token) == TOKEN_BYTES:
        content.response = token
        return end + TOKEN_BYTES
    if kind == _PADDING and not any(data[end:]):
        return len(data)
    raise DatagramDropped(DropReason.MALFORMED)


def _decode_ack(data: bytes, offset: int, content: Content) -> int:
    start = offset + _ACK_BYTES
    if start > len(data):
        raise DatagramDropped(DropReason.MALFORMED)
    _, largest, delay, count = _ACK.unpack_from(data, offset)
    end = start + count
    if end > len(data):
        raise DatagramDropped(DropReason.MALFORMED)
    bits = int.from_bytes(data[start:end], "little")
    content.ack = Ack(largest, delay / _DELAY_UNITS, bits << 1 | 1)
    return int(end)
