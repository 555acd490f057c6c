"""What a `DatagramSession` tells about the datagrams that it was given, and about the time that has passed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct

from sockserv.wire.datagrams.layout import MESSAGE_HEADER_BYTES

__all__ = [
    "AddressChanged",
    "DeliveryState",
    "Event",
    "FailureReason",
    "MessageAcknowledged",
    "MessageReceived",
    "MessageUndelivered",
    "OutgoingMessage",
    "SessionEnded",
    "SessionOpened",
]


class DeliveryState(StrEnum):
    """How far a message of ours has come."""

    QUEUED = "queued"
    """It has not been sent: the peer cannot have it."""
    SENT = "sent"
    """It was sent, and nobody has said that it came."""
    ACKNOWLEDGED = "acknowledged"
    """The peer has it."""
    UNDELIVERED = "undelivered"
    """It is not sent any more."""


class FailureReason(StrEnum):
    """Why a session ended, or a message was not delivered."""

    EXPIRED = "expired"
    """The message waited too long for its turn; it was never sent, and the session goes on."""
    UNREACHABLE = "unreachable"
    """Nothing ever came from the peer: the network does not let datagrams through."""
    PATH_LOST = "path-lost"
    """The peer has been silent for too long."""
    WORN_OUT = "worn-out"
    """The session's key has sealed as much as it may: begin another session."""
    CLOSED = "closed"
    """This side has ended the session."""


class OutgoingMessage(Struct, eq=False):
    """A message of ours, and what has become of it.

    `number` counts the messages of its stream from 1 on, in the order in which they are sent; 0 means that this one
    was not sent. `was_sent` says for an undelivered one whether the peer may have it all the same.
    """

    stream: int
    body: bytes
    queued_at: float
    number: int = 0
    state: DeliveryState = DeliveryState.QUEUED
    copies: int = 0
    """In how many datagrams it is on its way."""
    sent_at: float = 0.0
    """When it was sent for the first time."""
    position: int = 0
    """Its place among all messages of the session that were sent."""

    @property
    def size_bytes(self) -> int:
        """How much of a datagram it takes."""
        return MESSAGE_HEADER_BYTES + len(self.body)

    @property
    def was_sent(self) -> bool:
        """Whether it has ever been sent."""
        return self.number > 0


class MessageReceived(Struct, frozen=True, gc=False):
    """The next message of a stream of the peer; each comes once, in the order of their numbers."""

    stream: int
    number: int
    body: bytes


class MessageAcknowledged(Struct, frozen=True):
    """The peer has this message, and has handed it on or will do so when those before it have come."""

    message: OutgoingMessage


class MessageUndelivered(Struct, frozen=True):
    """This message is given up. If `message.was_sent`, the peer may have it all the same."""

    message: OutgoingMessage
    reason: FailureReason


class SessionOpened(Struct, frozen=True):
    """Datagrams go through both ways; for a server: the client is where they come from."""

    address: Any


class AddressChanged(Struct, frozen=True):
    """The client has proved that it is at another address now."""

    address: Any


class SessionEnded(Struct, frozen=True, gc=False):
    """No more comes, and nothing more is sent. All messages that were waiting have been told of before."""

    reason: FailureReason


Event: TypeAlias = (
    MessageReceived
    | MessageAcknowledged
    | MessageUndelivered
    | SessionOpened
    | AddressChanged
    | SessionEnded
)
