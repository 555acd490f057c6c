"""Serve a Twisted factory on a free loopback port; the Twisted peers share it."""

from __future__ import annotations

from typing import cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorCore, IReactorTCP
from twisted.internet.protocol import Protocol, ServerFactory

from benchmarks.peers.announce import BACKLOG, announce


class PlainFactory(ServerFactory):
    """Builds one kind of protocol and logs nothing about it."""

    noisy = False

    def __init__(self, kind: type[Protocol]) -> None:
        self._kind = kind

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._kind()


def serve(kind: type[Protocol]) -> None:
    """Serve `kind` until the runner goes away."""
    port: IListeningPort = cast(IReactorTCP, reactor).listenTCP(
        0, PlainFactory(kind), backlog=BACKLOG, interface="127.0.0.1"
    )
    announce(cast(IPv4Address, port.getHost()).port)
    cast(IReactorCore, reactor).run()
