"""Messages as the hub has them: Structs, as some are made for each message, and take a third of the time."""

from __future__ import annotations

import msgspec

from sockserv.chat.facts import Message

__all__ = ["NewMessage", "StoredMessage", "message_for"]


class NewMessage(msgspec.Struct, frozen=True):
    """A message to store. `members` are the two of a direct one, nobody for a room's."""

    conversation: str
    sender: str
    device: str
    number: int
    text: str
    at: float
    members: tuple[str, ...] = ()


class StoredMessage(msgspec.Struct, frozen=True):
    """A message as it is stored; `at` is in seconds since 1970."""

    id: int
    conversation: str
    sender: str
    device: str
    number: int
    text: str
    at: float


def message_for(message: StoredMessage, reader: str) -> Message:
    """A message as it is for one who reads it."""
    place = message.conversation[1:]
    if not message.conversation.startswith("#"):
        first, second = place.split(" ")
        place = f"@{second if first == reader else first}"
    return Message(
        id=message.id,
        to=place,
        sender=message.sender,
        device=message.device,
        number=message.number,
        text=message.text,
        at=message.at,
    )
