"""A link in memory: two transports, joined by two channels.

Invariants:

1. Nothing is delivered from inside a call of a transport, only from the turns of the `MemoryNetwork`.
2. A transport behaves to its protocol and its producer like Twisted's TCP transport: a push producer
   is paused above `buffer_bytes` and resumed when all has gone, a pull producer is asked when all has
   gone, `loseConnection` and `loseWriteConnection` come after what was written before them.
3. What happens depends on the calls made and on the clock, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import count
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from sockserv.testing.channel import BUFFER_BYTES, Channel, Turns
from sockserv.trust import Origin

__all__ = ["Link", "MemoryTransport"]

_ports = count(1024)


class Link:
    """Two directions between a client and a server; give it to whatever connects.

    `fragments` are the sizes of the deliveries in bytes, in their order, each way; when they are used
    up, and without them, as much is delivered at once as there is. `delay_seconds` is how long the
    bytes travel, `buffer_bytes` how many may wait before a producer is paused. `origin` is where the
    client comes from, as the server sees it: an account on a Unix socket (`Origin(uid=1000)`), another
    address, a certificate. Without one it is a free port of 127.0.0.1.

    The attributes `to_server` and `to_client` are the directions, each to be tuned by itself.
    """

    def __init__(
        self,
        *,
        fragments: Iterable[int] | None = None,
        delay_seconds: float = 0.0,
        buffer_bytes: int = BUFFER_BYTES,
        origin: Origin | None = None,
    ) -> None:
        self.origin = origin or Origin("127.0.0.1", next(_ports))
        self.to_server = Channel(fragments, delay_seconds, buffer_bytes)
        self.to_client = Channel(fragments, delay_seconds, buffer_bytes)
        self._ends: tuple[MemoryTransport, ...] = ()

    def __repr__(self) -> str:
        if not self._ends:
            return "<link, not joined>"
        return f"<link to server {self.to_server!r}, to client {self.to_client!r}>"

    @property
    def is_open(self) -> bool:
        """Whether either end believes to be connected."""
        return any(end.connected for end in self._ends)

    @property
    def client_address(self) -> IAddress:
        """What the server is told of where the connection comes from."""
        return _address(self.origin)

    def stall(self) -> None:
        """Deliver nothing more either way until `resume`."""
        self.to_server.stall()
        self.to_client.stall()

    def resume(self) -> None:
        """Deliver again, both ways."""
        self.to_server.resume()
        self.to_client.resume()

    def cut(self) -> None:
        """Break the connection: what is on its way is lost, and both ends get `ConnectionLost`."""
        for end in self._ends:
            end.cut()

    def join(self, turns: Turns, client: IProtocol, server: IProtocol) -> None:
        """Connect the protocols: each is given its transport, the server first."""
        if self._ends:
            raise RuntimeError("this link joins two protocols already: one link, one connection")
        client_address = self.client_address
        server_address = IPv4Address("TCP", "127.0.0.1", 7700)
        client_end = MemoryTransport(
            turns, client, self.to_server, self.to_client, client_address, server_address
        )
        server_end = MemoryTransport(
            turns, server, self.to_client, self.to_server, server_address, client_address
        )
        server_end.origin = self.origin
        self.to_server.join(turns, client_end, server_end)
        self.to_client.join(turns, server_end, client_end)
        self._ends = (client_end, server_end)
        server.makeConnection(server_end)
        client.makeConnection(client_end)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a link, as its protocol sees it.

    `connected` and `disconnecting` mean what they do on Twisted's transports. `origin` is where the
    other end comes from, if that was the one to connect.
    """

    origin: Origin | None = None

    def __init__(
        self,
        turns: Turns,
        protocol: IProtocol,
        outgoing: Channel,
        incoming: Channel,
        host: IAddress,
        peer: IAddress,
    ) -> None:
        self.protocol = protocol
        self.connected = True
        self.disconnecting = False
        self.producer: IProducer | None = None
        self._turns = turns
        self._outgoing = outgoing
        self._incoming = incoming
        self._host = host
        self._peer = peer
        self._is_streaming = False
        self._has_paused = False
        self._is_reading = True
        self._is_aborting = False
        self._is_ending_writes = False
        self._has_ended_writes = False
        self._options = {"no delay": False, "keep alive": False}

    # ITransport, ITCPTransport

    def write(self, data: bytes) -> None:
        """Send bytes after those written before."""
        if not isinstance(data, bytes):
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        if not data or not self.connected or self._has_ended_writes or self._is_aborting:
            return
        outgoing = self._outgoing
        outgoing.push(data)
        if (
            self._is_streaming
            and self.producer is not None
            and outgoing.waiting_bytes > outgoing.buffer_bytes
        ):
            self._has_paused = True
            cast(IPushProducer, self.producer).pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close once all that was written is delivered, and the producer has unregistered."""
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            if self._has_ended_writes:
                self._lost(ConnectionDone())
            else:
                self._outgoing.wake()
                # What comes in from now on is not read any more, but it must not hold up its sender.
                self._incoming.wake()

    def loseWriteConnection(self) -> None:
        """Tell the other side, after all that was written, that no more comes."""
        self._is_ending_writes = True
        self._outgoing.wake()

    def abortConnection(self) -> None:
        """Close now; what is not delivered is lost."""
        if self.connected and not self._is_aborting:
            self._abandon(ConnectionAborted())
            self._outgoing.break_off()

    def getHost(self) -> Any:
        """The address of this end."""
        return self._host

    def getPeer(self) -> Any:
        """The address of the other end."""
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """What was set."""
        return self._options["no delay"]

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Has no effect here."""
        self._options["no delay"] = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """What was set."""
        return self._options["keep alive"]

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Has no effect here."""
        self._options["keep alive"] = bool(enabled)

    # IConsumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Be fed by a producer: a push producer if `streaming`, else a pull producer."""
        if self.producer is not None:
            raise RuntimeError(
                f"cannot register the producer {producer}: {self.producer} was not unregistered"
            )
        if not self.connected:
            producer.stopProducing()
            return
        self.producer = producer
        self._is_streaming = streaming
        self._has_paused = False
        if not streaming:
            cast(IPullProducer, producer).resumeProducing()

    def unregisterProducer(self) -> None:
        """The producer has nothing more."""
        self.producer = None
        if self.connected and self.disconnecting:
            self._outgoing.wake()

    # IPushProducer: reading can be paused

    def pauseProducing(self) -> None:
        """Deliver nothing more to the protocol until `resumeProducing`."""
        self._is_reading = False

    def resumeProducing(self) -> None:
        """Deliver again."""
        if self.connected and not self.disconnecting:
            self._is_reading = True
            self._incoming.wake()

    def stopProducing(self) -> None:
        """Close the connection."""
        self.loseConnection()

    # For the link

    @property
    def is_reading(self) -> bool:
        """Whether the protocol may be given bytes."""
        return self._is_reading and self.connected

    @property
    def is_discarding(self) -> bool:
        """Whether bytes that arrive go nowhere."""
        return self.disconnecting or not self.connected

    def on_sent(self) -> None:
        """All that was written has been delivered."""
        producer = self.producer
        if producer is not None and (self._has_paused or not self._is_streaming):
            self._has_paused = False
            cast(IPullProducer, producer).resumeProducing()
        elif not self.connected or self._is_aborting or producer is not None:
            return
        elif self.disconnecting:
            self._lost(ConnectionDone())
        elif self._is_ending_writes and not self._has_ended_writes:
            self._has_ended_writes = True
            self._outgoing.end()
            half_closeable = IHalfCloseableProtocol(self.protocol, None)
            if half_closeable is not None:
                half_closeable.writeConnectionLost()

    def on_end(self) -> None:
        """The other side has written its last byte, and that has been delivered."""
        if not self.connected or self._is_aborting:
            return
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is None or self.disconnecting:
            self._lost(ConnectionDone())
        elif self._is_reading:
            self._is_reading = False
            half_closeable.readConnectionLost()

    def cut(self) -> None:
        """The connection has broken off."""
        if self.connected and not self._is_aborting:
            self._abandon(ConnectionLost())

    def _abandon(self, reason: Exception) -> None:
        self._is_aborting = True
        self._is_reading = False
        self._outgoing.drop()
        self._incoming.drop()
        self._turns.call_soon(partial(self._lost, reason))

    def _lost(self, reason: Exception) -> None:
        self.connected = False
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))
        if not self._is_aborting:
            # What was written before is still delivered: the system's buffer has it.
            self._outgoing.end()


def _address(origin: Origin) -> IAddress:
    """What `getPeer` says of somebody who comes from there."""
    if origin.address is None:
        return UNIXAddress(None)
    kind = IPv6Address if ":" in origin.address else IPv4Address
    return kind("TCP", origin.address, origin.port or 0)
