"""Protocols and producers that write down what happens to them."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


class Recorder(Protocol):
    """Keeps each delivery, and how it ended."""

    def __init__(self) -> None:
        self.deliveries: list[bytes] = []
        self.ends: list[str] = []

    @property
    def received(self) -> bytes:
        return b"".join(self.deliveries)

    @property
    def link(self) -> Any:
        """The transport, with all that it has."""
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        self.deliveries.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ends.append(type(reason.value).__name__)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Goes on when one direction has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.half_ends: list[str] = []

    def readConnectionLost(self) -> None:
        self.half_ends.append("read")

    def writeConnectionLost(self) -> None:
        self.half_ends.append("write")


@implementer(IPushProducer)
class Pusher:
    """A push producer that writes only when the test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@implementer(IPullProducer)
class Puller:
    """A pull producer that gives one piece each time, until it has none left."""

    def __init__(self, transport: Any, pieces: list[bytes]) -> None:
        self.transport = transport
        self.pieces = pieces
        self.is_stopped = False
        self.asked = 0

    def resumeProducing(self) -> None:
        self.asked += 1
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        else:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.is_stopped = True
