"""The bytes of a datagram's content: every border, and everything that is none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.wire.datagrams.drops import DatagramDropped, DropReason
from sockserv.wire.datagrams.layout import (
    HEADER,
    MAX_ACK_BYTES,
    MAX_CONTENT_BYTES,
    MAX_DATAGRAM_BYTES,
    MAX_MESSAGE_BYTES,
    MESSAGE_HEADER_BYTES,
    REPLAY_WINDOW,
    TAG_BYTES,
    Ack,
    ack_part,
    decode_content,
    message_part,
)

U32 = st.integers(0, 2**32 - 1)


def test_the_largest_message_fills_a_datagram() -> None:
    part = message_part(2**32 - 1, 2**32 - 1, bytes(MAX_MESSAGE_BYTES))
    assert HEADER.size + len(part) + TAG_BYTES == MAX_DATAGRAM_BYTES
    assert len(part) == MAX_CONTENT_BYTES == MESSAGE_HEADER_BYTES + MAX_MESSAGE_BYTES


def test_the_largest_ack() -> None:
    part = ack_part(Ack(2**64 - 1, 100.0, (1 << REPLAY_WINDOW) - 1))
    assert len(part) == MAX_ACK_BYTES
    ack = decode_content(part).ack
    assert ack == Ack(2**64 - 1, 6.5535, (1 << REPLAY_WINDOW) - 1)


@given(st.lists(st.tuples(U32, st.integers(1, 2**32 - 1), st.binary(max_size=40))))
def test_messages_keep_their_order(messages: list[tuple[int, int, bytes]]) -> None:
    data = b"".join(message_part(*message) for message in messages)
    content = decode_content(data)
    assert content.messages == messages
    assert content.asks_for_ack == bool(messages)


@given(st.integers(0, 2**64 - 1), st.integers(0, 65_535), st.integers(0, 2**1023 - 1))
def test_an_ack_comes_back(largest: int, delay: int, others: int) -> None:
    ack = Ack(largest, delay / 10_000, others << 1 | 1)
    decoded = decode_content(ack_part(ack)).ack
    assert decoded is not None
    assert (decoded.largest, decoded.bits) == (ack.largest, ack.bits)
    assert abs(decoded.delay_seconds - ack.delay_seconds) <= 0.0001


def test_a_delay_that_cannot_be_is_written_as_one_that_can() -> None:
    ack = decode_content(ack_part(Ack(1, -5.0, 1))).ack
    assert ack is not None
    assert ack.delay_seconds == 0


def test_parts_of_every_kind_in_one_content() -> None:
    data = (
        b"\x01"
        + ack_part(Ack(5, 0.0, 1))
        + b"\x03challeng"
        + b"\x04response"
        + message_part(1, 2, b"three")
        + bytes(5)
    )
    content = decode_content(data)
    assert content.is_ping
    assert content.ack == Ack(5, 0.0, 1)
    assert content.challenge == b"challeng"
    assert content.response == b"response"
    assert content.messages == [(1, 2, b"three")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x06",
        b"\xff",
        b"\x05",
        message_part(1, 1, b"body")[:-1],
        message_part(1, 1, b"")[:-1],
        message_part(1, 0, b"numbers begin with 1"),
        b"\x02",
        ack_part(Ack(1, 0.0, 1))[:-1],
        ack_part(Ack(9, 0.0, 3))[:-1],
        ack_part(Ack(1, 0.0, 1)) * 2,
        b"\x03seven..",
        b"\x03challeng" * 2,
        b"\x04seven..",
        b"\x04response" * 2,
        b"\x00\x01",
        message_part(1, 1, b"x") + b"\x00" * 8 + b"\x05",
    ],
)
def test_what_is_no_content(data: bytes) -> None:
    with pytest.raises(DatagramDropped) as caught:
        decode_content(data)
    assert caught.value.reason is DropReason.MALFORMED


@given(st.binary(max_size=60))
def test_any_bytes_are_a_content_or_dropped(data: bytes) -> None:
    with suppress(DatagramDropped):
        decode_content(data)
