"""A bare DatagramProtocol that sends each datagram on to all who have said anything, but for its sender: a hub without
any guarantee.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore, IReactorUDP
from twisted.internet.protocol import DatagramProtocol

from benchmarks.peers.announce import announce


class Fanout(DatagramProtocol):
    """Knows its members by their addresses."""

    noisy = False

    def __init__(self) -> None:
        self._members: dict[Any, None] = {}

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self._members[addr] = None
        for member in self._members:
            if member != addr:
                self.transport.write(datagram, member)


if __name__ == "__main__":
    listening: Any = cast(IReactorUDP, reactor).listenUDP(0, Fanout(), "127.0.0.1", 8192)
    announce(listening.getHost().port)
    cast(IReactorCore, reactor).run()
