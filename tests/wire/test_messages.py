"""Headers: what is read, what is refused, and what it says about that."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.errors import GoodbyeCode, ProtocolError
from sockserv.testing.strategies import json_values
from sockserv.testing.strategies import messages as any_message
from sockserv.wire import messages
from sockserv.wire.messages import (
    MAX_DEPTH,
    MAX_INTEGER,
    NOTHING,
    Data,
    Error,
    Hello,
    Message,
    Open,
    PeerLimits,
    Ping,
    Reply,
    decode_header,
    decode_value,
    encode_frame,
    encode_header,
    encode_value,
    name_of,
)


def refused(header: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode_header(header)
    assert caught.value.code is GoodbyeCode.BAD_HEADER
    return str(caught.value)


def decode_or_refuse(header: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode_header(header)


def opening(args: str) -> bytes:
    return f'{{"type":"open","call":1,"op":"x","args":{args}}}'.encode()


def plain(message: Message) -> Any:
    return msgspec.json.decode(encode_header(message))


@given(any_message())
def test_what_is_written_is_read(message: Message) -> None:
    assert plain(decode_header(encode_header(message))) == plain(message)


@given(any_message(), st.randoms(use_true_random=False))
def test_the_order_of_keys_and_white_space_mean_nothing(message: Message, random: Any) -> None:
    keys = list(plain(message).items())
    random.shuffle(keys)
    header = json.dumps(dict(keys), indent=random.choice([None, 1])).encode()
    assert plain(decode_header(b" " + header + b"\n")) == plain(message)


@given(any_message(), st.data())
def test_a_key_twice(message: Message, data: st.DataObject) -> None:
    header = encode_header(message)
    key = data.draw(st.sampled_from(sorted(plain(message))))
    again = json.dumps({key: plain(message)[key]}).encode()
    assert "twice" in refused(header[:-1] + b"," + again[1:])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_breach(header: bytes) -> None:
    decode_or_refuse(header)


@given(any_message(), st.binary(max_size=4), st.data())
def test_a_message_with_a_mistake_in_it_too(
    message: Message, mistake: bytes, data: st.DataObject
) -> None:
    header = encode_header(message)
    at = data.draw(st.integers(0, len(header)))
    decode_or_refuse(header[:at] + mistake + header[at + len(mistake) :])


def test_a_frame_is_a_length_and_a_header() -> None:
    assert encode_frame(Ping(7)) == b'\0\0\0\x19{"type":"ping","token":7}'


def test_every_message_has_its_name() -> None:
    names = ["hello", "open", "data", "reply", "error", "cancel", "window", "ping"]
    names += ["pong", "goodbye"]
    classes = [getattr(messages, name.capitalize()) for name in names]
    fields: dict[str, Any] = {"call": 1, "op": "", "version": 1, "token": 0, "bytes": 1, "code": ""}
    for name, cls in zip(names, classes, strict=True):
        message = cls(**{f: fields[f] for f in cls.__struct_fields__ if f in fields})
        assert plain(message)["type"] == name_of(message) == name


def test_what_is_absent_has_its_default() -> None:
    assert decode_header(b'{"type":"hello","version":1}') == Hello(1, "", PeerLimits(), ())
    assert PeerLimits() == PeerLimits(4096, 65_536, 65_536, 1)
    opened = decode_header(b'{"type":"open","call":1,"op":"x"}')
    assert isinstance(opened, Open)
    assert opened.args is NOTHING
    assert (opened.timeout, opened.end, opened.size) == (None, False, 0)
    assert decode_header(b'{"type":"data","call":1}') == Data(1, 0, False, 0)
    replied = decode_header(b'{"type":"reply","call":1}')
    assert isinstance(replied, Reply)
    assert replied.result is NOTHING
    assert decode_header(b'{"type":"error","call":1,"code":"c"}') == Error(1, "c", "", {})


@pytest.mark.parametrize(
    "header",
    [
        b'{"type":"ping","token":%d}' % MAX_INTEGER,
        b'{"type":"ping","token":0}',
        b'{"type":"cancel","call":%d}' % MAX_INTEGER,
        b'{"type":"data","call":1,"stream":255}',
        b'{"type":"window","call":1,"bytes":1}',
        b'{"type":"open","call":1,"op":"","timeout":1e9}',
        b'{"type":"open","call":1,"op":"","timeout":5e-324}',
        b'{"type":"open","call":1,"op":"","timeout":null}',
        b'{"type":"open","call":1,"op":"","timeout":3}',
        b'{"type":"open","call":1,"op":"","args":null}',
        b'{"type":"open","call":1,"op":"","args":[]}',
        b'{"type":"hello","version":0}',
        b'{"type":"hello","version":1,"limits":{"max_header_bytes":4096}}',
        b'{"type":"hello","version":1,"limits":{"new":{}},"new":[1]}',
    ],
)
def test_just_within_the_range(header: bytes) -> None:
    decode_header(header)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b'{"type":"ping","token":%d}' % (MAX_INTEGER + 1), "token"),
        (b'{"type":"ping","token":-1}', "token"),
        (b'{"type":"ping","token":1.0}', "token"),
        (b'{"type":"ping","token":1e3}', "token"),
        (b'{"type":"ping","token":true}', "token"),
        (b'{"type":"ping","token":"1"}', "token"),
        (b'{"type":"ping","token":null}', "token"),
        (b'{"type":"ping"}', "token"),
        (b'{"type":"ping","token":1,"size":0}', "size"),
        (b'{"type":"cancel","call":0}', "call"),
        (b'{"type":"cancel","call":%d}' % (MAX_INTEGER + 1), "call"),
        (b'{"type":"cancel","call":1%s}' % (b"0" * 5000), "integer|out of range"),
        (b'{"type":"data","call":1,"stream":256}', "stream"),
        (b'{"type":"data","call":1,"end":1}', "end"),
        (b'{"type":"data","call":1,"size":-1}', "size"),
        (b'{"type":"window","call":1,"bytes":0}', "bytes"),
        (b'{"type":"open","call":1}', "op"),
        (b'{"type":"open","call":1,"op":"","timeout":0}', "timeout"),
        (b'{"type":"open","call":1,"op":"","timeout":1000000000.1}', "timeout"),
        (b'{"type":"open","call":1,"op":"","timeout":1e400}', "timeout"),
        (b'{"type":"open","call":1,"op":"","timeout":NaN}', "malformed"),
        (b'{"type":"open","call":1,"op":"","timeout":Infinity}', "malformed"),
        (b'{"type":"open","call":1,"op":"\\ud800"}', ""),
        (b'{"type":"open","call":1,"op":"\xff"}', "utf-8"),
        (b'{"type":"error","call":1,"code":"x","details":[]}', "details"),
        (b'{"type":"error","call":1,"code":"x","details":null}', "details"),
        (b'{"type":"hello","version":1,"limits":{"max_header_bytes":4095}}', "max_header_bytes"),
        (b'{"type":"hello","version":1,"limits":{"max_body_bytes":0}}', "max_body_bytes"),
        (b'{"type":"hello","version":1,"limits":{"window_bytes":0}}', "window_bytes"),
        (b'{"type":"hello","version":1,"limits":{"max_calls":0}}', "max_calls"),
        (b'{"type":"hello","version":1,"limits":null}', "limits"),
        (b'{"type":"Ping","token":1}', "type"),
        (b'{"token":1}', "type"),
        (b'{"type":1}', "type"),
        (b"{}", "type"),
        (b"[]", "array"),
        (b"null", "null"),
        (b'"ping"', "str"),
        (b"", "truncated"),
        (b" ", "truncated"),
        (b'\xef\xbb\xbf{"type":"ping","token":1}', "malformed"),
        (b'{"type":"ping","token":1}{}', "trailing"),
        (b'{"type":"ping","token":1', "truncated"),
        (b'{"type":"ping","token":1,}', "malformed"),
        (b"{'type':'ping'}", "malformed"),
        (b"[" * 60_000, "array"),
    ],
)
def test_just_beyond_it(header: bytes, why: str) -> None:
    assert why.split("|")[0].lower() in refused(header).lower() or why in refused(header)


@pytest.mark.parametrize(
    "args",
    [
        '{"a":1,"a":1}',
        '{"a":1,"a":2}',
        '{"a":1,"\\u0061":1}',
        '[{"b":{"a":{},"a":{}}}]',
        '{"s":"\\"{","a":1,"a":1}',
        '{"":0,"":0}',
    ],
)
@pytest.mark.parametrize("space", ["", " "])
def test_a_key_twice_within_a_value(args: str, space: str) -> None:
    assert "twice" in refused(opening(space + args))


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "deep",
    [
        lambda depth: nested(depth),
        lambda depth: '{"a":' * depth + "0" + "}" * depth,
        lambda depth: (
            '[{"a":' * (depth // 2)
            + nested(depth % 2) * (depth % 2)
            + "0" * (1 - depth % 2)
            + "}]" * (depth // 2)
        ),
    ],
)
def test_the_depth(deep: Any) -> None:
    decode_header(opening(deep(MAX_DEPTH - 1)))
    assert "deeper than 32 levels" in refused(opening(deep(MAX_DEPTH)))


@pytest.mark.parametrize("before", ['"\\\\"', '"\\""', '"\\\\\\""', '"\\n"', '"]]]"', '"é"'])
def test_strings_hide_no_depth(before: str) -> None:
    """A reader that loses its place among escapes takes what follows for a part of the string."""
    assert "deeper" in refused(opening(f"[{before},{nested(MAX_DEPTH - 1)},{before}]"))


@pytest.mark.parametrize("escape", ["", "\\n", "\\\\", '\\"', "\\u005b", "é"])
def test_brackets_in_strings_are_not_depth(escape: str) -> None:
    decode_header(opening(f'{{"a":"{escape}{"[{" * 40}{escape}","b":"{"[" * 40}"}}'))


def test_no_depth_exhausts_the_stack() -> None:
    assert "deeper" in refused(opening(nested(30_000)))
    assert "deeper" in refused(opening('{"a":' * 10_000 + "0" + "}" * 10_000))


@pytest.mark.parametrize("args", ['{"a":1e400}', '"\\ud800"', '{"a":"\\udc00"}', "1e400"])
def test_values_that_no_one_can_hold(args: str) -> None:
    refused(opening(args))


@pytest.mark.parametrize("args", [b'"\xff"', b'{"a":"\xff"}', b'{"\xff":1}', b'["\xed\xa0\x80"]'])
def test_values_that_are_not_utf8(args: bytes) -> None:
    refused(b'{"type":"open","call":1,"op":"x","args":' + args + b"}")


@pytest.mark.parametrize(
    "header",
    [
        b'{"type":"%s"}' % (b"z" * 60_000),
        b'{"type":"ping","token":1,"%s":1}' % (b"k" * 60_000),
        b'{"type":"ping","token":1,"a\\n\\u001b[31mb":1}',
        b'{"type":"open","call":1,"op":"","args":{"%s":1,"%s":2}}' % ((b"\\n" * 9000,) * 2),
    ],
)
def test_a_reason_is_short_and_on_one_line(header: bytes) -> None:
    reason = refused(header)
    assert len(reason) < 300
    assert reason.isprintable()


@given(json_values())
def test_a_value_comes_back(value: Any) -> None:
    assert decode_value(encode_value(value), object) == value


def test_a_value_of_the_wrong_class() -> None:
    with pytest.raises(ValueError, match=r"Expected `int`, got `str`"):
        decode_value(encode_value({"a": "1"}), dict[str, int])


@pytest.mark.parametrize("value", [object(), {"a": {1j}}])
def test_a_value_that_is_not_json(value: Any) -> None:
    with pytest.raises(TypeError):
        encode_value(value)


@pytest.mark.parametrize("value", [{1: 0, "1": 0}, {"a": [{"b": 1, "2": 2, 2: 3}]}])
def test_a_value_that_would_have_a_key_twice(value: Any) -> None:
    with pytest.raises(ValueError, match="the same key twice"):
        encode_value(value)


def test_keys_that_become_strings() -> None:
    assert bytes(encode_value({1: {2: 3}})) == b'{"1":{"2":3}}'


def test_a_value_that_the_peer_would_find_too_deep() -> None:
    deep: Any = 0
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    header = encode_header(Open(1, "x", encode_value(deep)))
    decode_header(header)
    with pytest.raises(ValueError, match="nested deeper than 31 levels"):
        encode_value([deep])
    encode_value(["[" * 100, *([[]] * 100)])
