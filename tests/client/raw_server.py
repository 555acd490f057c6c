"""A server in a test's own hands, for clients to meet."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from sockserv.client import Client, connect_endpoint
from sockserv.testing import Link, MemoryEndpoint, MemoryNetwork, RawPeer


class RawServer:
    """Accepts connections; `peer` is the server's end of the last one."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.peer = RawPeer()
        self._endpoint = MemoryEndpoint(self.network)
        self.network.run(self._endpoint.listen(Factory.forProtocol(self._next)))

    def _next(self) -> RawPeer:
        self.peer = RawPeer()
        return self.peer

    def start_connecting(self, *, link: Link | None = None, **options: Any) -> Deferred[Client]:
        """Connect, and send the hello of a client; nothing has been answered yet."""
        connecting = connect_endpoint(
            self.network.clock, self._endpoint.client(link), name="raw", **options
        )
        self.network.flush()
        return connecting

    def connect(self) -> Client:
        """A client that needed no login."""
        connecting = self.start_connecting()
        self.peer.send({"type": "hello", "version": 1, "limits": {"max_calls": 10}})
        client = self.network.run(connecting)
        self.peer.take_frames()
        return client

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send a frame, and let it arrive."""
        self.peer.send(header, body)
        self.network.flush()

    def run(self, awaitable: Any) -> Any:
        """Let things happen until a result is there."""
        return self.network.run(awaitable)
