"""What is said about messages, members and rooms, in results and in events."""

from __future__ import annotations

from enum import StrEnum

import attrs

__all__ = ["DatagramSession", "Message", "Presence", "PresenceState", "Room", "Sent"]


class PresenceState(StrEnum):
    """Whether somebody is there."""

    ONLINE = "online"
    AWAY = "away"
    """There, and says not to be."""
    GONE = "gone"


@attrs.frozen(kw_only=True)
class Message:
    """Something that was said. `to` is the place as the reader would write it; `at` is in seconds since 1970."""

    id: int
    to: str
    sender: str
    device: str
    number: int
    text: str
    at: float


@attrs.frozen(kw_only=True)
class Presence:
    """Whether somebody is there, what they say about it, and since when, in seconds since 1970."""

    name: str
    state: PresenceState
    since: float
    text: str | None = None


@attrs.frozen(kw_only=True)
class Room:
    """A room: who is in it, the id of its newest message, and how many of them the identity has not read."""

    name: str
    members: tuple[str, ...] = ()
    last_id: int = 0
    unread: int = 0


@attrs.frozen(kw_only=True)
class Sent:
    """A message that is stored; `delivered_to` are the members who have it by now."""

    id: int
    delivered_to: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class DatagramSession:
    """Where a session may go on over UDP, and what seals it: hexadecimal digits, one key for each direction."""

    host: str | None
    port: int
    session: str
    to_hub_key: str
    to_device_key: str
