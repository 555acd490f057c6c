"""Frames: what is held, what is copied, and that borders of deliveries mean nothing.

The borders of lengths and sizes are in docs/vectors/framing.json.
"""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.errors import ProtocolError
from sockserv.testing.strategies import frames, pieces
from sockserv.wire.framing import FrameReader, Piece, Prefix
from sockserv.wire.messages import Message, decode_header, encode_header, pack_length


@attrs.frozen
class Header:
    """A header that says nothing but the size of its body."""

    size: int = 0


def read_header(header: bytes) -> Header:
    return Header(**json.loads(header))


def make_reader(
    *, max_header_bytes: int = 65_536, max_body_bytes: int = 1_048_576
) -> FrameReader[Header]:
    return FrameReader(
        read_header, max_header_bytes=max_header_bytes, max_body_bytes=max_body_bytes
    )


def frame(body: bytes = b"", header: bytes | None = None) -> bytes:
    header = b'{"size":%d}' % len(body) if header is None else header
    return pack_length(len(header)) + header + body


def joined(reader: FrameReader[Any], deliveries: list[bytes]) -> list[tuple[Any, bytes]]:
    """The frames, with the parts of their bodies joined."""
    found: list[tuple[Any, bytes]] = []
    for delivery in deliveries:
        for part in reader.feed(delivery):
            if part.header is not None:
                found.append((part.header, part.body))
            else:
                header, body = found[-1]
                found[-1] = (header, body + part.body)
    return found


def as_sent(message: Message, body: bytes) -> tuple[bytes, bytes]:
    return encode_header(message), body


@given(st.lists(frames(), max_size=3), st.data())
def test_any_fragmentation_gives_the_same_frames(
    sent: list[tuple[Message, bytes]], data: st.DataObject
) -> None:
    stream = b""
    for message, body in sent:
        header = encode_header(message)
        stream += pack_length(len(header)) + header + body
    reader = FrameReader(decode_header, max_header_bytes=65536, max_body_bytes=300)
    received = joined(reader, data.draw(pieces(stream)))
    assert [as_sent(*r) for r in received] == [as_sent(*s) for s in sent]
    assert reader.is_between_frames


@given(st.binary(max_size=400), st.data())
def test_any_bytes_give_parts_or_a_breach(stream: bytes, data: st.DataObject) -> None:
    def read(deliveries: list[bytes]) -> tuple[list[Any], str | None]:
        reader = FrameReader(decode_header, max_header_bytes=300, max_body_bytes=300)
        found: list[Any] = []
        try:
            for delivery in deliveries:
                found += joined(reader, [delivery])
        except ProtocolError as error:
            return found, error.code
        return found, None

    assert read([stream])[1] == read(data.draw(pieces(stream)))[1]


@pytest.mark.parametrize("size", [1, 1460, 65_536])
def test_a_body_is_handed_on_as_it_comes(size: int) -> None:
    """No byte of it is copied or kept, so that the cost of a body is that of its deliveries."""
    reader = make_reader()
    deliveries = [bytes(size) for _ in range(1_048_576 // size // 16)]
    total = sum(map(len, deliveries))
    (first,) = reader.feed(frame(bytes(total))[:-total])
    assert (first.header, first.body, first.remaining) == (Header(total), b"", total)
    for delivery in deliveries:
        (part,) = reader.feed(delivery)
        total -= size
        assert part.body is delivery
        assert (part.header, part.remaining) == (None, total)
    assert reader.is_between_frames


def test_each_header_is_decoded_once() -> None:
    decoded = []

    def decode(header: bytes) -> Header:
        decoded.append(header)
        return read_header(header)

    reader = FrameReader(decode, max_header_bytes=65536, max_body_bytes=100)
    headers = [b'{"size":0}' + b" " * n for n in (0, 1, 50, 5000)]
    for byte in b"".join(frame(header=header) for header in headers):
        list(reader.feed(bytes([byte])))
    assert decoded == headers


def test_parts_are_as_many_as_frames_and_deliveries() -> None:
    stream = frame(b"x" * 10) * 1000
    for size in (1, 7, 25, 1000, len(stream)):
        reader = make_reader()
        deliveries = [stream[at : at + size] for at in range(0, len(stream), size)]
        parts = [part for delivery in deliveries for part in reader.feed(delivery)]
        assert len(parts) <= 1000 + len(deliveries)
        assert sum(len(part.body) for part in parts) == 10_000


def held_bytes(deliveries: list[bytes]) -> int:
    """How much more memory is held after the deliveries."""
    reader = make_reader()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for delivery in deliveries:
            assert not list(reader.feed(delivery))
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_a_header_in_tiny_pieces_costs_little_more_than_its_bytes() -> None:
    header = pack_length(65536) + b" " * 20_000
    bytewise = [bytes([byte]) for byte in header]
    assert 20_000 <= held_bytes(bytewise) < 30_000
    assert 20_000 <= held_bytes([header]) < 30_000


def test_what_a_length_announces_costs_nothing() -> None:
    assert held_bytes([pack_length(65536)]) < 500
    assert held_bytes([b"\0"]) < 500


def test_a_wrong_length_is_refused_before_a_byte_of_it_is_kept() -> None:
    reader = make_reader(max_header_bytes=10)
    assert not list(reader.feed(b"\0\0\0"))
    with pytest.raises(ProtocolError, match="said to have 11 bytes: 1 to 10"):
        list(reader.feed(b"\x0b"))
    reader = make_reader(max_body_bytes=10)
    parts = reader.feed(frame(b"1234567890") + frame(b"12345678901"))
    assert next(parts).body == b"1234567890"
    with pytest.raises(ProtocolError, match="said to have 11 bytes: 0 to 10"):
        next(parts)


def test_parts_come_one_by_one() -> None:
    """A limit that is raised between two frames of a delivery holds for the second."""
    reader = make_reader(max_header_bytes=2)
    parts = reader.feed(frame(header=b"{}") + frame(header=b"{ }"))
    assert next(parts).header == Header()
    reader.max_header_bytes = 3
    assert next(parts).header == Header()


def test_nothing_delivered() -> None:
    reader = make_reader()
    assert not list(reader.feed(b""))
    list(reader.feed(frame(b"ab")[:-1]))
    assert b"".join(part.body for part in reader.feed(b"")) == b""
    (part,) = reader.feed(b"b")
    assert (part.body, part.remaining) == (b"b", 0)
    list(reader.feed(b"\0"))
    assert not list(reader.feed(b""))
    assert reader.is_inside_header


@pytest.mark.parametrize(
    ("layout", "length", "packed"),
    [(">I", 258, b"\0\0\1\2"), ("<i", 258, b"\2\1\0\0"), (">H", 258, b"\1\2"), ("B", 2, b"\2")],
)
def test_a_prefix(layout: str, length: int, packed: bytes) -> None:
    prefix = Prefix(layout)
    assert (prefix.width, prefix.pack(length)) == (len(packed), packed)


VIEWED = 64 * 1024


def bodies(*deliveries: bytes) -> list[Piece]:
    """What a reader gives for the bodies of deliveries, one after the other."""
    reader = make_reader()
    found: list[Piece] = []

    def accept(header: Header | None, body: Piece, remaining: int) -> None:
        found.append(body)

    for delivery in deliveries:
        assert [*reader.feed_to(accept, delivery)] == []
    return found


@pytest.mark.parametrize("size", [1, VIEWED - 1, VIEWED, VIEWED + 1, 3 * VIEWED])
@pytest.mark.parametrize("others", [0, VIEWED // 2, VIEWED, 2 * VIEWED])
def test_only_what_is_large_and_most_of_a_delivery_is_a_view_of_it(size: int, others: int) -> None:
    stream = frame(b"a" * size) + frame(b"b" * others)
    first, second = bodies(stream)
    assert (first, second) == (b"a" * size, b"b" * others)
    for body in (first, second):
        is_view = len(body) >= VIEWED and 2 * len(body) >= len(stream)
        assert isinstance(body, memoryview) == is_view


def test_a_delivery_that_is_all_of_a_body_is_handed_on_itself() -> None:
    stream = frame(bytes(3 * VIEWED))
    rest = stream[-2 * VIEWED :]
    _, last = bodies(stream[: -2 * VIEWED], rest)
    assert last is rest


@pytest.mark.parametrize("cut", [VIEWED - 1, VIEWED, 2 * VIEWED, 4 * VIEWED])
def test_the_rest_of_a_body_is_a_view_by_the_same_rule(cut: int) -> None:
    stream = frame(bytes(5 * VIEWED)) + frame(b"next")
    _, rest, last = bodies(stream[:-cut], stream[-cut:])
    assert isinstance(rest, memoryview) == (cut > VIEWED)
    assert last == b"next"


def test_parts_that_are_asked_for_one_by_one_are_bytes() -> None:
    stream = frame(bytes(VIEWED))
    assert [type(part.body) for part in make_reader().feed(stream)] == [bytes]
