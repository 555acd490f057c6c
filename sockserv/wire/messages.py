"""The messages of version 1, and their headers (docs/protocol.md, "Messages").

A header is a JSON object; its `type` names the message. Objects with a key twice, with a key that the
message does not have (but for `hello`, which later versions may extend), or nested too deep are
refused: two readers could understand them differently.
"""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from typing import Annotated, Any, ClassVar, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from sockserv.errors import GoodbyeCode, ProtocolError

__all__ = [
    "LOGIN_PREFIX",
    "MAX_DEPTH",
    "MAX_INTEGER",
    "MIN_HEADER_BYTES",
    "NOTHING",
    "PROTOCOL_VERSION",
    "Cancel",
    "Data",
    "Error",
    "Goodbye",
    "Hello",
    "Message",
    "Open",
    "PeerLimits",
    "Ping",
    "Pong",
    "Reply",
    "Window",
    "decode_header",
    "decode_value",
    "encode_frame",
    "encode_header",
    "encode_value",
    "name_of",
    "pack_length",
    "printable",
]

T = TypeVar("T")

PROTOCOL_VERSION: Final = 1

MAX_INTEGER: Final = 2**53 - 1
"""The greatest integer of the protocol: JSON readers keep integers exact up to here."""

LOGIN_PREFIX: Final = "auth."
"""What the names of the operations begin with that may be called before the login."""

NOTHING: Final = Raw(b"")
"""Stands for an absent `args` or `result`."""

MAX_DEPTH: Final = 32
"""How deep objects and arrays may nest in a header, itself included."""

MIN_HEADER_BYTES: Final = 4096
"""Headers up to this length are accepted by everybody, so that an error or a goodbye always fits."""

_GRACEFUL: Final = frozenset(code.value for code in GoodbyeCode if code.is_graceful)

CallNumber: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
Stream: TypeAlias = Annotated[int, Meta(ge=0, le=255)]
HeaderLimit: TypeAlias = Annotated[int, Meta(ge=MIN_HEADER_BYTES, le=MAX_INTEGER)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]


class PeerLimits(Struct, frozen=True, omit_defaults=True):
    """What the sender of a `hello` accepts; sizes in bytes."""

    max_header_bytes: HeaderLimit = MIN_HEADER_BYTES
    max_body_bytes: Positive = 65_536
    window_bytes: Positive = 65_536
    max_calls: Positive = 1


class _Message(Struct, tag_field="type", omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """The common ground of all messages but hello."""


class Hello(Struct, tag_field="type", tag="hello", omit_defaults=True, frozen=True, gc=False):
    """The first message of both sides."""

    version: Count
    agent: str = ""
    limits: PeerLimits = PeerLimits()
    auth: tuple[str, ...] = ()
    size: ClassVar[int] = 0


class Open(_Message, tag="open"):
    """The caller begins a call; may carry the first bytes of its body."""

    call: CallNumber
    op: str
    args: Raw = NOTHING
    timeout: Seconds | None = None
    end: bool = False
    size: Count = 0


class Data(_Message, tag="data"):
    """The next bytes of a call's body, either way."""

    call: CallNumber
    stream: Stream = 0
    end: bool = False
    size: Count = 0


class Reply(_Message, tag="reply"):
    """The callee ends the call with success; may carry the last bytes of its body."""

    call: CallNumber
    result: Raw = NOTHING
    size: Count = 0


class Error(_Message, tag="error"):
    """The callee ends the call with a failure."""

    call: CallNumber
    code: str
    message: str = ""
    details: dict[str, Any] = {}
    size: ClassVar[int] = 0


class Cancel(_Message, tag="cancel"):
    """The caller gives the call up."""

    call: CallNumber
    size: ClassVar[int] = 0


class Window(_Message, tag="window"):
    """The receiver of a body has consumed so many of its bytes; as many more may be sent."""

    call: CallNumber
    bytes: Positive
    size: ClassVar[int] = 0


class Ping(_Message, tag="ping"):
    """Asks for a pong with the same token."""

    token: Count
    size: ClassVar[int] = 0


class Pong(_Message, tag="pong"):
    """Answers a ping."""

    token: Count
    size: ClassVar[int] = 0


class Goodbye(_Message, tag="goodbye"):
    """The sender ends the connection, and says why."""

    code: str
    message: str = ""
    size: ClassVar[int] = 0

    @property
    def is_graceful(self) -> bool:
        """Whether running calls may still end; never after a code that is not known here."""
        return self.code in _GRACEFUL


Message: TypeAlias = Hello | Open | Data | Reply | Error | Cancel | Window | Ping | Pong | Goodbye

_FLAT: Final = frozenset({Data, Cancel, Window, Ping, Pong, Goodbye})
"""The messages that hold no values of others: there is nothing to look into."""

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder(Message).decode
_decode_anything = msgspec.json.Decoder().decode
_STRINGS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]')

pack_length = struct.Struct(">I").pack
"""The prefix of a header of so many bytes."""

encode_header = _encoder.encode
"""A message as the bytes of its header."""


def encode_frame(message: Message) -> bytes:
    """A message without a body as the bytes of its frame."""
    header = encode_header(message)
    return pack_length(len(header)) + header


def name_of(message: Message) -> str:
    """The `type` of a message."""
    name: str = type(message).__struct_config__.tag  # type: ignore[assignment]
    return name


def encode_value(value: Any) -> Raw:
    """An argument object or a result (attrs classes, Structs, plain JSON types) as JSON.

    Raises `TypeError` for a value that JSON cannot express, `ValueError` for one that is nested too deep or has a
    key twice, as `{1: ..., "1": ...}` does in JSON.
    """
    encoded = _encoder.encode(value)
    # One level is left for the header around it.
    if _is_deeper(encoded, MAX_DEPTH - 1):
        raise ValueError(f"a value is nested deeper than {MAX_DEPTH - 1} levels: send it as a body")
    # The peer would close the connection for it. Decoding keeps one of two values of the same key.
    if len(_encoder.encode(_decode_anything(encoded))) < len(encoded):
        try:
            json.loads(encoded, object_pairs_hook=_unique)
        except ProtocolError:
            raise ValueError("a value has the same key twice, once it is JSON") from None
    return Raw(encoded)


def decode_value(value: Raw, kind: type[T]) -> T:
    """What a JSON value stands for, as an object of the class `kind`.

    Raises `ValueError` that says which field is wrong, and how.
    """
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def decode_header(header: bytes) -> Message:
    """The message that the bytes of a header stand for; raises `ProtocolError`."""
    try:
        message: Message = _decode(header)
        # A header that is written as we would write it has every key once; what its values hold is
        # not seen by that. Any other writing is as good, but costs the longer check.
        if encode_header(message) != header:
            json.loads(header, object_pairs_hook=_unique)
        if message.__class__ is Open:
            if message.args is not NOTHING:
                _check_nested(header)
        elif message.__class__ is Reply:
            if message.result is not NOTHING:
                _check_nested(header)
        elif message.__class__ not in _FLAT:
            _check_nested(header)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, ValueError) as error:
        reason = printable(str(error))
        raise ProtocolError(GoodbyeCode.BAD_HEADER, f"a header is not valid: {reason}") from None
    return message


def _check_nested(header: bytes) -> None:
    if _is_deeper(header, MAX_DEPTH):
        raise _too_deep()
    # Decoding keeps one of two values of the same key, so that the length cannot come out the same.
    if _encoder.encode(_decode_anything(header)) != header:
        json.loads(header, object_pairs_hook=_unique)


def _is_deeper(json_text: bytes, levels: int) -> bool:
    """Whether the objects and arrays of a JSON text nest deeper than so many levels."""
    if json_text.count(b"[") + json_text.count(b"{") <= levels:
        return False  # so it is with nearly all
    depth = 0
    for token in _STRINGS_AND_BRACKETS.findall(json_text):
        if token in b"[{":
            depth += 1
            if depth > levels:
                return True
        elif token in b"]}":
            depth -= 1
    return False


def printable(text: str, *, max_characters: int = 200) -> str:
    """What a peer has said, or was quoted with, fit for a log or a terminal: short, and on one line."""
    short = text[:max_characters]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in short)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ProtocolError(GoodbyeCode.BAD_HEADER, f"a header has the key {twice[:80]!r} twice")
    return result


def _too_deep() -> ProtocolError:
    return ProtocolError(
        GoodbyeCode.BAD_HEADER, f"a header nests its values deeper than {MAX_DEPTH} levels"
    )
