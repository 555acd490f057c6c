"""What is said in a session, each a JSON object: a line of the call's bodies, or a message in datagrams.

The device says *commands*, the hub *events*. `type` tells them apart.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from sockserv.chat.facts import DatagramSession, Message, Presence, Room

__all__ = [
    "Accepted",
    "Command",
    "Delivered",
    "Enter",
    "Entered",
    "Event",
    "Joined",
    "Leave",
    "Left",
    "MessageEvent",
    "PresenceEvent",
    "Received",
    "Refused",
    "Say",
    "Slowed",
    "Undelivered",
    "decode_command",
    "decode_event",
    "encode_line",
]

_MAX_NUMBER: Final = 2**53 - 1
_Positive = Annotated[int, Meta(ge=1, le=_MAX_NUMBER)]
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class _Line(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower, omit_defaults=True):
    """A command or an event."""


class Say(_Line, frozen=True):
    """Say `text` at a place. `number` is the device's own, one more than that of the message before."""

    number: _Positive
    to: _Name
    text: str


class Received(_Line, frozen=True):
    """All messages up to the `id` have been shown, or kept.

    Nothing else says so: that a datagram has arrived does not.
    """

    id: _Positive


class Enter(_Line, frozen=True):
    """Enter a room."""

    room: _Name


class Leave(_Line, frozen=True):
    """Leave a room."""

    room: _Name


class Joined(_Line, frozen=True):
    """The first event: who one is, the rooms that one is in, the number that the next message needs, and the id of the
    newest.
    """

    identity: str
    next_number: int
    last_id: int
    rooms: tuple[Room, ...] = ()
    datagrams: DatagramSession | None = None


class MessageEvent(_Line, frozen=True, tag="message"):
    """Somebody has said something; it may have been oneself, at another device."""

    message: Message


class Accepted(_Line, frozen=True):
    """The message `number` is stored, on the disk, as `id`."""

    number: int
    id: int


class Refused(_Line, frozen=True):
    """A command was not carried out.

    The `code` is that of an error; `number` is that of the message, `room` as it was written.
    """

    code: str
    message: str
    number: int | None = None
    room: str | None = None
    details: dict[str, Any] = {}


class Delivered(_Line, frozen=True):
    """A device of each of these members has the message `id`."""

    id: int
    to: tuple[str, ...]


class Undelivered(_Line, frozen=True):
    """These members will not get the message `id`."""

    id: int
    to: tuple[str, ...]
    why: str


class PresenceEvent(_Line, frozen=True, tag="presence"):
    """Somebody has come, gone, or is away."""

    presence: Presence


class Entered(_Line, frozen=True):
    """Somebody is in a room now. If it is oneself, `members` are all who are there."""

    room: str
    name: str
    members: tuple[str, ...] = ()


class Left(_Line, frozen=True):
    """Somebody is not in a room any more."""

    room: str
    name: str


class Slowed(_Line, frozen=True):
    """So much was said that the hub takes the next message only after these seconds."""

    seconds: float


Command: TypeAlias = Say | Received | Enter | Leave
Event: TypeAlias = (
    Joined
    | MessageEvent
    | Accepted
    | Refused
    | Delivered
    | Undelivered
    | PresenceEvent
    | Entered
    | Left
    | Slowed
)

_T = TypeVar("_T")

_commands: Final[msgspec.json.Decoder[Command]] = msgspec.json.Decoder(Command)
_events: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)

encode_line: Final = msgspec.json.Encoder().encode
"""A command or an event as bytes, without a line feed in them."""


def decode_command(line: bytes) -> Command:
    """What a device says. Raises `ValueError` that says what is wrong."""
    return _decoded(_commands, line)


def decode_event(line: bytes) -> Event:
    """What the hub says. Raises `ValueError` that says what is wrong."""
    return _decoded(_events, line)


def _decoded(decoder: msgspec.json.Decoder[_T], line: bytes) -> _T:
    try:
        return decoder.decode(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
