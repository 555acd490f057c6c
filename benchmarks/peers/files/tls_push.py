"""Stock Twisted TLS that pushes bytes from memory: as fast as Twisted encrypts. Arguments: certificate, key, bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from twisted.internet import reactor, ssl
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorCore, IReactorSSL
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from benchmarks.peers.announce import announce

PIECE_BYTES = 64 * 1024


@implementer(IPushProducer)
class Push(Protocol):
    """Writes pieces until the transport has enough, and goes on when it asks for more."""

    left = 0

    def dataReceived(self, data: bytes) -> None:
        """Begin."""
        self.left = int(sys.argv[3])
        cast(IConsumer, self.transport).registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._is_paused = False
        consumer = cast(IConsumer, self.transport)
        while self.left and not self._is_paused:
            self.left -= PIECE_BYTES
            consumer.write(PIECE)
        if not self.left:
            assert self.transport is not None
            consumer.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self._is_paused = True

    def stopProducing(self) -> None:
        self._is_paused = True


PIECE = bytes(PIECE_BYTES)


def main() -> None:
    """Serve until the runner goes away."""
    pem = Path(sys.argv[2]).read_bytes() + Path(sys.argv[1]).read_bytes()
    certificate = ssl.PrivateCertificate.loadPEM(pem)
    factory = Factory.forProtocol(Push)
    factory.noisy = False
    port = cast(IReactorSSL, reactor).listenSSL(
        0,
        factory,  # type: ignore[arg-type]  # what it is typed as is newer than what it takes
        certificate.options(),
        interface="127.0.0.1",
    )
    announce(cast(IPv4Address, port.getHost()).port)
    cast(IReactorCore, reactor).run()


if __name__ == "__main__":
    main()
