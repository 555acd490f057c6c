"""Hypothesis strategies for messages, frames and the ways in which a stream can be cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from msgspec import Raw

from sockserv.wire.messages import (
    MAX_INTEGER,
    MIN_HEADER_BYTES,
    NOTHING,
    Cancel,
    Data,
    Error,
    Goodbye,
    Hello,
    Message,
    Open,
    PeerLimits,
    Ping,
    Pong,
    Reply,
    Window,
    encode_header,
    encode_value,
    pack_length,
)

quick = settings(max_examples=40, deadline=None)
"""For properties that must not take long; the fuzzer (`tests.fuzz`) tries as many cases as one likes."""

text = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.one_of(st.integers(1, 100), st.integers(1, MAX_INTEGER))
counts = st.one_of(st.integers(0, 100), st.integers(0, MAX_INTEGER))
sizes = st.integers(0, 300)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
raws = st.one_of(st.just(NOTHING), json_values.map(encode_value))
objects = st.dictionaries(text, json_values, max_size=3)
seconds = st.floats(0, 1e9, exclude_min=True)

hellos = st.builds(
    Hello,
    version=counts,
    agent=text,
    limits=st.builds(
        PeerLimits,
        max_header_bytes=st.integers(MIN_HEADER_BYTES, MAX_INTEGER),
        max_body_bytes=numbers,
        window_bytes=numbers,
        max_calls=numbers,
    ),
    auth=st.lists(text, max_size=3).map(tuple),
)

messages: st.SearchStrategy[Message] = st.one_of(
    hellos,
    st.builds(
        Open,
        call=numbers,
        op=text,
        args=raws,
        timeout=st.none() | seconds,
        end=st.booleans(),
        size=counts,
    ),
    st.builds(Data, call=numbers, stream=st.integers(0, 255), end=st.booleans(), size=counts),
    st.builds(Reply, call=numbers, result=raws, size=counts),
    st.builds(Error, call=numbers, code=text, message=text, details=objects),
    st.builds(Cancel, call=numbers),
    st.builds(Window, call=numbers, bytes=numbers),
    st.builds(Ping, token=counts),
    st.builds(Pong, token=counts),
    st.builds(Goodbye, code=text, message=text),
)


@st.composite
def frames(draw: st.DrawFn) -> tuple[Message, bytes]:
    """A message and its body."""
    message = draw(messages)
    body = b""
    if isinstance(message, Open | Data | Reply):
        body = draw(st.binary(max_size=300))
        message.size = len(body)
    return message, body


def bytes_of(message: Message, body: bytes = b"") -> bytes:
    """A message on the wire."""
    header = encode_header(message)
    return pack_length(len(header)) + header + body


def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream in deliveries of any size, empty ones too."""
    borders = draw(st.lists(st.integers(0, len(stream)), max_size=12))
    return [stream[a:b] for a, b in pairwise([0, *sorted(borders), len(stream)])]


def is_given(raw: Raw) -> bool:
    return bool(bytes(raw))
