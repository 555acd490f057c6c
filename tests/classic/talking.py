"""A classic client in memory, in the hands of a test."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from sockserv.classic.serving import MAX_CONNECTIONS, ClassicFactory, Conduct
from sockserv.services import Service
from sockserv.testing import OWNER, Link, MemoryServer
from sockserv.trust import Identity

__all__ = ["OldClient", "Talk"]


class OldClient(Protocol):
    """Keeps what it receives."""

    received = b""
    is_over = False

    def connectionMade(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_over = True


class Talk:
    """A server with services, a dialect in front of it, and old clients that speak it."""

    def __init__(
        self,
        conduct: Conduct,
        services: Iterable[Service],
        *,
        identity: Identity = OWNER,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.memory = MemoryServer(services)
        self.factory = ClassicFactory(
            self.memory.clock,
            conduct,
            lambda conversation: self.memory.start_connecting(identity),
            max_connections=max_connections,
        )

    def __enter__(self) -> Talk:
        self.memory.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.factory.close()
        self.memory.flush()
        self.memory.__exit__(kind, error, traceback)

    def connect(self, link: Link | None = None) -> OldClient:
        """One more client."""
        client = OldClient()
        conversation = self.factory.buildProtocol(None)
        assert conversation is not None
        self.memory.network.join(client, conversation, link)
        self.memory.flush()
        return client

    def say(self, client: OldClient, *pieces: bytes) -> None:
        """Send pieces, and let each arrive by itself."""
        for piece in pieces:
            transport: Any = client.transport
            transport.write(piece)
            self.memory.flush()

    def ask(self, client: OldClient, *pieces: bytes) -> bytes:
        """What comes for them."""
        before = len(client.received)
        self.say(client, *pieces)
        return client.received[before:]

    def end(self, client: OldClient) -> None:
        """Send no more."""
        transport: Any = client.transport
        transport.loseWriteConnection()
        self.memory.flush()

    def hang_up(self, client: OldClient) -> None:
        transport: Any = client.transport
        transport.abortConnection()
        self.memory.flush()
