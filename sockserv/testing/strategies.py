"""Hypothesis strategies: what can stand in a call, in a message, on the wire, and what a network does to it.

Needs the package `hypothesis`; the rest of the kit does not.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import attrs
from hypothesis import strategies as st
from msgspec import Raw

from sockserv.testing.channel import BUFFER_BYTES
from sockserv.testing.datagrams import DatagramLink
from sockserv.testing.link import Link
from sockserv.wire import messages as wire

__all__ = [
    "arguments",
    "datagram_links",
    "frames",
    "json_objects",
    "json_values",
    "links",
    "messages",
    "pieces",
    "texts",
]

A = TypeVar("A")

_INTEGERS: Final = st.integers(-(2**63), 2**64 - 1)
_FLOATS: Final = st.floats(allow_nan=False, allow_infinity=False)
_NUMBERS: Final = st.one_of(st.integers(1, 100), st.integers(1, wire.MAX_INTEGER))
_COUNTS: Final = st.one_of(st.integers(0, 100), st.integers(0, wire.MAX_INTEGER))


def texts(*, max_size: int = 20) -> st.SearchStrategy[str]:
    """Text that UTF-8 can express."""
    return st.text(st.characters(codec="utf-8"), max_size=max_size)


def json_values(*, max_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Anything that JSON can express, and that keeps its value on the way."""
    return st.recursive(
        st.none() | st.booleans() | _INTEGERS | _FLOATS | texts(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(), inner, max_size=4),
        max_leaves=max_leaves,
    )


def json_objects(*, max_size: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects, as an error's `details` are."""
    return st.dictionaries(texts(), json_values(), max_size=max_size)


def arguments(cls: type[A]) -> st.SearchStrategy[A]:
    """Arguments of an operation: objects of an attrs class, whose fields are what their types say.

    A field with a default is left out at times. What a validator refuses is not drawn.
    """
    attrs.resolve_types(cls)  # type: ignore[type-var]  # an attrs class, as it says
    fields = attrs.fields(cls)  # type: ignore[arg-type]
    required = {f.name: _values(f.type) for f in fields if f.default is attrs.NOTHING}
    optional = {f.name: _values(f.type) for f in fields if f.default is not attrs.NOTHING}
    given = st.fixed_dictionaries(required, optional=optional)
    return given.map(lambda values: _built(cls, values)).flatmap(
        lambda made: st.nothing() if made is None else st.just(made)
    )


def messages() -> st.SearchStrategy[wire.Message]:
    """Every kind of message of the protocol; those that can have a body announce one of any size."""
    raws = st.one_of(st.just(wire.NOTHING), json_values().map(wire.encode_value))
    return st.one_of(
        _hellos(),
        st.builds(
            wire.Open,
            call=_NUMBERS,
            op=texts(),
            args=raws,
            timeout=st.none() | st.floats(0, 1e9, exclude_min=True),
            end=st.booleans(),
            size=_COUNTS,
        ),
        st.builds(
            wire.Data, call=_NUMBERS, stream=st.integers(0, 255), end=st.booleans(), size=_COUNTS
        ),
        st.builds(wire.Reply, call=_NUMBERS, result=raws, size=_COUNTS),
        st.builds(wire.Error, call=_NUMBERS, code=texts(), message=texts(), details=json_objects()),
        st.builds(wire.Cancel, call=_NUMBERS),
        st.builds(wire.Window, call=_NUMBERS, bytes=_NUMBERS),
        st.builds(wire.Ping, token=_COUNTS),
        st.builds(wire.Pong, token=_COUNTS),
        st.builds(wire.Goodbye, code=texts(), message=texts()),
    )


@st.composite
def frames(draw: st.DrawFn, *, max_body_bytes: int = 300) -> tuple[wire.Message, bytes]:
    """A message with a body that has the size which it announces."""
    message = draw(messages())
    body = b""
    if isinstance(message, wire.Open | wire.Data | wire.Reply):
        body = draw(st.binary(max_size=max_body_bytes))
        message.size = len(body)
    return message, body


@st.composite
def pieces(draw: st.DrawFn, data: bytes, *, max_pieces: int = 12) -> list[bytes]:
    """The same bytes in deliveries of any size, none among them too."""
    borders = draw(st.lists(st.integers(0, len(data)), max_size=max_pieces - 1))
    return [data[start:end] for start, end in pairwise([0, *sorted(borders), len(data)])]


def links() -> st.SearchStrategy[Link]:
    """Links that cut what they carry anywhere, and pause their writers early or late."""
    sizes = st.lists(st.one_of(st.integers(1, 8), st.integers(1, 4096)), max_size=100)
    return st.builds(Link, fragments=sizes, buffer_bytes=st.sampled_from((1, 1000, BUFFER_BYTES)))


def datagram_links() -> st.SearchStrategy[DatagramLink]:
    """Links that lose, repeat, reorder, cut and damage datagrams, each seldom enough that much gets
    through in the end.
    """
    often = st.sampled_from((0.0, 0.1, 0.3))
    seldom = st.sampled_from((0.0, 0.05))
    return st.builds(
        DatagramLink,
        seed=st.integers(0, 2**32),
        loss=often,
        duplication=often,
        reordering=often,
        truncation=seldom,
        corruption=seldom,
        delay_seconds=st.sampled_from((0.0, 0.001, 0.05, 0.3)),
    )


def _hellos() -> st.SearchStrategy[wire.Hello]:
    limits = st.builds(
        wire.PeerLimits,
        max_header_bytes=st.integers(wire.MIN_HEADER_BYTES, wire.MAX_INTEGER),
        max_body_bytes=_NUMBERS,
        window_bytes=_NUMBERS,
        max_calls=_NUMBERS,
    )
    return st.builds(
        wire.Hello,
        version=_COUNTS,
        agent=texts(),
        limits=limits,
        auth=st.lists(texts(), max_size=3).map(tuple),
    )


def _built(cls: type[A], values: Mapping[str, Any]) -> A | None:
    aliases = {field.name: field.alias for field in attrs.fields(cls)}  # type: ignore[arg-type]
    try:
        return cls(**{aliases[name]: value for name, value in values.items()})
    except (TypeError, ValueError):
        return None


_SCALARS: Final[Mapping[Any, st.SearchStrategy[Any]]] = {
    int: _INTEGERS,
    float: _FLOATS,
    str: texts(),
    bool: st.booleans(),
    type(None): st.none(),
    Any: json_values(),
    Raw: json_values().map(wire.encode_value),
}


def _values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type that survive a passage through JSON."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.one_of([_values(one) for one in inner])
    if origin in (list, Sequence):
        return st.lists(_values(inner[0]), max_size=4)
    if origin is tuple and inner[-1] is not Ellipsis:
        return st.tuples(*map(_values, inner))
    if origin is tuple:
        return st.lists(_values(inner[0]), max_size=4).map(tuple)
    if origin in (set, frozenset):
        return st.frozensets(_values(inner[0]), max_size=4).map(origin)
    if origin in (dict, Mapping):
        return st.dictionaries(_values(inner[0]), _values(inner[1]), max_size=4)
    if attrs.has(kind):
        return arguments(kind)
    return st.from_type(kind)
