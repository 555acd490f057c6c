"""What the operations of the chat service are asked with, one class each."""

from __future__ import annotations

from typing import Annotated, Final

import attrs
from msgspec import Meta

from sockserv.chat.errors import TextTooLong

__all__ = [
    "MAX_HISTORY_COUNT",
    "MAX_TEXT_BYTES",
    "AwayArguments",
    "HistoryArguments",
    "JoinArguments",
    "ReadArguments",
    "SearchArguments",
    "SendArguments",
    "WhoArguments",
    "check_text",
]

MAX_TEXT_BYTES: Final = 64 * 1024
"""What a message may have, in UTF-8."""
MAX_HISTORY_COUNT: Final = 500

_MAX_NUMBER: Final = 2**53 - 1

_Number = Annotated[int, Meta(ge=0, le=_MAX_NUMBER)]
_Positive = Annotated[int, Meta(ge=1, le=_MAX_NUMBER)]
_Count = Annotated[int, Meta(ge=1, le=MAX_HISTORY_COUNT)]
_Device = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
_Place = Annotated[str, Meta(min_length=1, max_length=512)]
_Status = Annotated[str, Meta(min_length=1, max_length=200)]


@attrs.frozen(kw_only=True)
class JoinArguments:
    """A device that wants to chat; the call is its session, and lasts until either side ends it.

    `rooms` are those that it is in. `after` is the id of the last message that it has seen, from which on it gets all
    others; None for what is new from now on. The mail that none of its identity's devices has acknowledged comes in
    both cases, also what is below `after`. With `datagrams` it would like to have the session over UDP. Without `mail`
    what is said to its identity is not for it, and stays mail.
    """

    device: _Device
    rooms: Annotated[tuple[_Place, ...], Meta(max_length=256)] = ()
    after: _Number | None = None
    datagrams: bool = False
    mail: bool = True


@attrs.frozen(kw_only=True)
class SendArguments:
    """One message, of a device that has not joined. `number` is the device's own for it; `to` is the place.

    Without a `text` that is the body, in UTF-8: the longest has no room among arguments.
    """

    device: _Device
    number: _Positive
    to: _Place
    text: str | None = None


@attrs.frozen(kw_only=True)
class WhoArguments:
    """Who is there: in a `room`, or at all."""

    room: _Place | None = None


@attrs.frozen(kw_only=True)
class HistoryArguments:
    """The last `count` messages of a place; those with an id below `before`, or the first ones above `after`."""

    to: _Place
    count: _Count = 50
    before: _Positive | None = None
    after: _Number | None = None


@attrs.frozen(kw_only=True)
class SearchArguments:
    """The last `count` messages with all words of `text`, at a place or at all those that the identity has."""

    text: Annotated[str, Meta(min_length=1, max_length=200)]
    to: _Place | None = None
    count: _Count = 50


@attrs.frozen(kw_only=True)
class ReadArguments:
    """The identity has read a place up to the message `id`."""

    to: _Place
    id: _Positive


@attrs.frozen(kw_only=True)
class AwayArguments:
    """The identity is away, and says why; None: it is back."""

    text: _Status | None = None


def check_text(text: str) -> None:
    """Look over something that is to be said. Raises `TextTooLong` where no hub would take it."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise TextTooLong("what is said has to be text") from None
    if not 0 < size <= MAX_TEXT_BYTES:
        raise TextTooLong(f"a message has 1 to {MAX_TEXT_BYTES} bytes, and not {size}")
