"""A bare DatagramProtocol echo: what Twisted costs for a datagram before there is a session in it."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore, IReactorUDP
from twisted.internet.protocol import DatagramProtocol

from benchmarks.peers.announce import announce


class Echo(DatagramProtocol):
    """Sends every datagram back."""

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self.transport.write(datagram, addr)


if __name__ == "__main__":
    listening: Any = cast(IReactorUDP, reactor).listenUDP(0, Echo(), "127.0.0.1", 8192)
    announce(listening.getHost().port)
    cast(IReactorCore, reactor).run()
