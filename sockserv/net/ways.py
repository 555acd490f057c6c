"""A session of datagrams as a way for records: in order, and with word of each whether it has arrived."""

from __future__ import annotations

from typing import Any, Final, Protocol

from sockserv.errors import MessageTooLarge, NoRoom, SessionOver
from sockserv.net.datagram import Carrier, DatagramSessions
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.events import (
    Event,
    MessageAcknowledged,
    MessageReceived,
    MessageUndelivered,
    SessionEnded,
    SessionOpened,
)
from sockserv.wire.datagrams.layout import MAX_MESSAGE_BYTES
from sockserv.wire.datagrams.sealing import SessionKeys

__all__ = ["DatagramListener", "RecordWay"]

_STREAM: Final = 0


class DatagramListener(Protocol):
    """Whoever is told what comes, and what becomes of what was sent."""

    def opened(self) -> None:
        """Datagrams get through both ways."""

    def received(self, record: bytes) -> None:
        """The next record of the other end."""

    def acknowledged(self, record: bytes) -> None:
        """A record of ours has arrived."""

    def undelivered(self, record: bytes) -> None:
        """A record of ours is given up; it may have arrived."""

    def ended(self, why: str) -> None:
        """Nothing more comes or goes; all that was waiting was told of before."""


class RecordWay:
    """A session on a port, begun at once.

    `address` is where the server is, for a client alone. Raises what `DatagramSessions.open` raises.
    """

    __slots__ = ("_carrier", "_listener")

    def __init__(
        self,
        sessions: DatagramSessions,
        role: Role,
        keys: SessionKeys,
        listener: DatagramListener,
        *,
        address: Any = None,
    ) -> None:
        self._listener = listener
        self._carrier: Carrier = sessions.open(role, keys, self._on_events, address=address)

    @property
    def max_bytes(self) -> int:
        """The longest record."""
        return MAX_MESSAGE_BYTES

    def send(self, record: bytes) -> bool:
        """Send a record; False if none is taken now."""
        try:
            self._carrier.send(_STREAM, record)
        except (MessageTooLarge, NoRoom, SessionOver):
            return False
        return True

    def close(self) -> None:
        """End the session."""
        self._carrier.close()

    def _on_events(self, events: list[Event]) -> None:
        listener = self._listener
        for event in events:
            match event:
                case MessageReceived():
                    listener.received(event.body)
                case MessageAcknowledged():
                    listener.acknowledged(event.message.body)
                case MessageUndelivered():
                    listener.undelivered(event.message.body)
                case SessionOpened():
                    listener.opened()
                case SessionEnded():
                    listener.ended(event.reason.value)
