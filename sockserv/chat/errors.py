"""What can go wrong in a chat."""

from __future__ import annotations

from sockserv.errors import CallError

__all__ = [
    "BadName",
    "ChatError",
    "MemberNotFound",
    "NoSuchRoom",
    "NotInRoom",
    "TextTooLong",
    "TooFast",
    "TooManyMembers",
    "TooManyRooms",
]


class ChatError(CallError):
    """The root of all errors about chats."""


class BadName(ChatError):
    """No room, and no member, may have this name."""

    code = "chat.bad-name"


class MemberNotFound(ChatError):
    """Nobody of this name may chat here."""

    code = "chat.no-member"


class NoSuchRoom(ChatError):
    """There is no such room for the identity, which may not enter it."""

    code = "chat.no-room"


class NotInRoom(ChatError):
    """The device has not entered this room."""

    code = "chat.not-in-room"


class TextTooLong(ChatError):
    """The text has more bytes than a message may have, or none."""

    code = "chat.bad-text"


class TooFast(ChatError):
    """The identity says more than the hub takes; `details["seconds"]` is how long to wait."""

    code = "chat.too-fast"


class TooManyMembers(ChatError):
    """So many devices have joined that no more may."""

    code = "chat.too-many-members"


class TooManyRooms(ChatError):
    """There are so many rooms, or the device is in so many, that no more may be entered."""

    code = "chat.too-many-rooms"
