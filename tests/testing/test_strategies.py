"""What the strategies draw is what they say."""

from __future__ import annotations

import enum
from typing import Any, Literal, get_args

import attrs
import msgspec
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import MemoryServer
from sockserv.testing.strategies import (
    arguments,
    datagram_links,
    frames,
    json_values,
    links,
    messages,
    pieces,
)
from sockserv.wire.messages import Message, decode_header, encode_header, name_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Inner:
    weight: float
    tags: frozenset[str] = frozenset()


@attrs.frozen
class Everything:
    count: int = attrs.field(validator=attrs.validators.ge(0))
    name: str | None
    inner: Inner
    many: list[Inner]
    pair: tuple[int, bool]
    row: tuple[str, ...]
    table: dict[str, float]
    colour: Colour
    mode: Literal["fast", "slow"]
    more: Any = None


class Mirror(Service):
    @operation("mirror", args=Everything, permission="mirror")
    def mirror(self, call: Call[Everything]) -> Everything:
        return call.args


@given(arguments(Everything))
def test_arguments_arrive_as_they_were_drawn(args: Everything) -> None:
    with MemoryServer([Mirror()]) as memory:
        client = memory.connect()
        assert memory.run(client.call("mirror", args, result=Everything)).result == args


def test_arguments_leave_out_what_has_a_default() -> None:
    assert find(arguments(Inner), lambda inner: bool(inner.tags)).tags
    assert find(arguments(Inner), lambda inner: not inner.tags).tags == frozenset()


@given(json_values())
def test_json_values_keep_their_value(value: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value)) == value


@given(messages())
def test_messages_are_valid(message: Any) -> None:
    assert decode_header(encode_header(message)) == message


def test_every_kind_of_message_is_drawn() -> None:
    names = set()

    @settings(max_examples=100, phases=[Phase.generate], derandomize=True, database=None)
    @given(messages())
    def collect(message: Any) -> None:
        names.add(name_of(message))

    collect()
    assert names == {cls.__struct_config__.tag for cls in get_args(Message)}


@given(frames(max_body_bytes=50))
def test_the_body_has_the_size_announced(drawn: tuple[Any, bytes]) -> None:
    message, body = drawn
    assert message.size == len(body) <= 50


@given(st.data(), st.binary(max_size=100))
def test_pieces_are_the_same_bytes(data: st.DataObject, whole: bytes) -> None:
    cut = data.draw(pieces(whole, max_pieces=5))
    assert b"".join(cut) == whole
    assert 1 <= len(cut) <= 5


@given(links(), st.binary(max_size=5000))
def test_links_carry_everything(link: Any, body: bytes) -> None:
    with MemoryServer([Echo()]) as memory:
        client = memory.connect(link=link)
        assert memory.run(client.call("echo", body=body)).body == body


@given(datagram_links())
def test_links_of_datagrams_let_some_through(link: Any) -> None:
    for channel in (link.to_network, link.from_network):
        arrived = [data for _ in range(50) for _, data in channel.travels(b"data")]
        assert b"data" in arrived
