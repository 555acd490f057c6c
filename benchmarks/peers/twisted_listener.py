"""Serve a Twisted factory on a free loopback port; the Twisted peers share it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IReactorCore,
    IReactorSSL,
    IReactorTCP,
)
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.ssl import PrivateCertificate

from benchmarks.peers.announce import BACKLOG, announce
from sockserv.tls.own import OWN_CERTIFICATE, OWN_KEY


class PlainFactory(ServerFactory):
    """Builds one kind of protocol and logs nothing about it."""

    noisy = False

    def __init__(self, kind: type[Protocol]) -> None:
        self._kind = kind

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._kind()


def serve(kind: type[Protocol], *, tls: Path | None = None) -> None:
    """Serve `kind` until the runner goes away.

    :param tls: a folder with a certificate and its key; then it is Twisted's own TLS, as it comes.
    """
    factory = PlainFactory(kind)
    port: IListeningPort
    if tls is None:
        port = cast(IReactorTCP, reactor).listenTCP(
            0, factory, backlog=BACKLOG, interface="127.0.0.1"
        )
    else:
        both = (tls / OWN_KEY).read_bytes() + (tls / OWN_CERTIFICATE).read_bytes()
        port = cast(IReactorSSL, reactor).listenSSL(
            0,
            factory,
            PrivateCertificate.loadPEM(both).options(),
            backlog=BACKLOG,
            interface="127.0.0.1",
        )
    announce(cast(IPv4Address, port.getHost()).port)
    cast(IReactorCore, reactor).run()
