"""Streams to `peers/discard.py` with `transport.write`: as fast as Twisted moves bytes from memory."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IPushProducer,
    IReactorCore,
    IReactorSSL,
    IReactorTCP,
)
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from benchmarks.clients.streams import PIECE_BYTES, Stopwatch, StreamPlan, read_plan
from benchmarks.wires import LENGTH


@implementer(IPushProducer)
class Push(Protocol):
    """Writes pieces until the transport has enough, and goes on when it asks for more."""

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        self._left = plan.total_bytes
        self._piece = bytes(PIECE_BYTES)
        self._is_paused = False
        self._answer = b""

    def connectionMade(self) -> None:
        self._consumer = cast(IConsumer, self.transport)
        self._stopwatch = Stopwatch(self._plan)
        self._consumer.write(LENGTH.pack(self._left))
        self._consumer.registerProducer(self, streaming=True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._is_paused = False
        while self._left and not self._is_paused:
            self._left -= PIECE_BYTES
            self._consumer.write(self._piece)
        if not self._left:
            self._consumer.unregisterProducer()

    def pauseProducing(self) -> None:
        self._is_paused = True

    def stopProducing(self) -> None:
        self._is_paused = True

    def dataReceived(self, data: bytes) -> None:
        self._answer += data
        if len(self._answer) == LENGTH.size:
            self._stopwatch.report(LENGTH.unpack(self._answer)[0])
            cast(IReactorCore, reactor).stop()


class PushFactory(ClientFactory):
    """Makes the one connection."""

    noisy = False

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return Push(self._plan)


if __name__ == "__main__":
    plan = read_plan()
    if plan.pin:
        # Whoever the server is: only the stream is measured.
        anybody: Any = CertificateOptions()
        cast(IReactorSSL, reactor).connectSSL(
            "127.0.0.1", plan.port, PushFactory(plan), anybody, 10, None
        )
    else:
        cast(IReactorTCP, reactor).connectTCP("127.0.0.1", plan.port, PushFactory(plan))
    cast(IReactorCore, reactor).run()
