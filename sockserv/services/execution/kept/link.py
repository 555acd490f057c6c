"""The daemon's end of its connection to the supervisor of a kept job."""

from __future__ import annotations

import socket
from typing import Any, Final, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.keeping.folder import JobFolder
from sockserv.keeping.messages import (
    BadMessage,
    Decoder,
    Message,
    Order,
    encode,
)

__all__ = ["Link", "Listener", "SocketLink", "Supervisors"]

_READ_BYTES: Final = 64 * 1024


class Listener(Protocol):
    """Who is told what comes over a link."""

    def on_message(self, message: Message) -> None:
        """The supervisor has said something."""

    def on_lost(self) -> None:
        """The connection is gone; nothing more will come. Called once."""


class Link(Protocol):
    """A connection to a supervisor."""

    def send(self, message: Message) -> None:
        """Say something; what is said when the connection is gone is lost."""

    def close(self) -> None:
        """Let go of the connection once what was said has gone; `on_lost` follows."""


class Supervisors(Protocol):
    """Who starts supervisors, and finds those that there are."""

    def start(self, order: Order, lock: int, listener: Listener) -> Deferred[Link]:
        """Start one, and give it its order; it holds the lock of the folder, whose descriptor is closed here.

        Fails with `OSError`.
        """

    def reach(self, folder: JobFolder, listener: Listener) -> Link:
        """Connect to the one of a folder; raises `OSError` when that is not there, or does not accept."""


class SocketLink(FileDescriptor):
    """A link by a connected socket, which it closes in the end."""

    _log = Logger()

    def __init__(self, reactor: Any, connection: socket.socket, listener: Listener) -> None:
        super().__init__(reactor)
        connection.setblocking(False)
        self._connection = connection
        self._listener = listener
        self._decoder = Decoder()
        self.connected = 1
        self.startReading()  # type: ignore[no-untyped-call]

    def send(self, message: Message) -> None:
        """Say something; what is said when the connection is gone is lost."""
        self.write(encode(message))

    def close(self) -> None:
        """Let go of the connection once what was said has gone; `on_lost` follows."""
        self.loseConnection()  # type: ignore[no-untyped-call]

    # For the reactor

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._connection.fileno()

    def doRead(self) -> Exception | None:
        """Take what has come."""
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        try:
            for message in self._decoder.feed(data):
                self._listener.on_message(message)
        except BadMessage as error:
            self._log.error(
                "what comes from the supervisor of a kept job is no message: {why}",
                why=error,
            )
            return CONNECTION_LOST
        return None

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Send what the socket takes."""
        try:
            return self._connection.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return CONNECTION_LOST

    def connectionLost(self, reason: Failure) -> None:
        """It has gone, or was let go of."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self._connection.close()
        self._listener.on_lost()
