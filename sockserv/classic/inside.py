"""From a dialect to the daemon's own services: a connection within the process, logged in as somebody."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from sockserv.client import Client, connect_endpoint

__all__ = ["Connect", "connect_inside"]

Connect: TypeAlias = Callable[[], Deferred[Client]]
"""Makes a client that is logged in as the one for whom a dialect speaks."""


def connect_inside(reactor: Any, factory: IProtocolFactory) -> Deferred[Client]:
    """A client of the server whose protocols `factory` makes, and which asks for no login.

    Fails as `connect_endpoint` does.
    """
    return connect_endpoint(reactor, _SocketPair(reactor, factory), name="the daemon itself")


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _SocketPair:
    """Joins a client to a server of this process; the system's buffers between them are what makes either wait."""

    _reactor: Any
    _server: IProtocolFactory

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        near, far = socket.socketpair()
        with near, far:
            for end, factory in ((far, self._server), (near, client := _Made(protocolFactory))):
                end.setblocking(False)
                self._reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, factory)
        assert client.protocol is not None
        return succeed(client.protocol)


class _Made(Factory):
    """Remembers the protocol that another factory has made."""

    noisy = False
    protocol: Any = None

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory

    def buildProtocol(self, addr: IAddress | None) -> Any:
        self.protocol = self._factory.buildProtocol(addr)  # type: ignore[arg-type]  # an address is only shown
        return self.protocol
