"""Getting bytes onto a transport, and learning when it takes more.

Twisted's `transport.write` waits for the next turn of the reactor before it sends. A call that is
answered at once need not wait, so for plain TCP and Unix sockets `SocketOutlet` sends on the
descriptor and only leaves to the reactor to tell when the socket is writable again. A transport of our own (TLS)
brings its outlet. Every other one (a wrapper, a link in memory) gets the plain `TransportOutlet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IConsumer,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
    ITransport,
)
from twisted.internet.tcp import Connection as TCPConnection
from zope.interface import implementer

from sockserv.net.bulk import bytes_of, send_mixed
from sockserv.net.slots import SlotQueue
from sockserv.wire.calls import FileSpan
from sockserv.wire.connection import Connection
from sockserv.wire.outbox import TURN_BYTES, Buffer

__all__ = ["Outlet", "OutletSource", "SocketOutlet", "TransportOutlet", "outlet_for", "pump"]

_JOIN_BELOW_BYTES = 32 * 1024
_FAST_RECEIVE_BYTES = 512 * 1024
"""How much a socket is asked for while it gives as much as it is asked for."""

_RECEIVE_BYTES = 120 * 1024
"""How much a socket is asked for at once: a fast stream comes with fewer turns of the reactor.

Below 128 KiB, from where on glibc may map fresh memory for every delivery, however small that turns out: 14 µs each
(measured).
"""

_MAX_BUFFERS = 512  # far below any system's IOV_MAX


class Outlet(Protocol):
    """Where a peer's bytes go."""

    is_blocked: bool
    """Whether nothing should be written until `refill` is called."""

    takes_spans: bool
    """Whether bytes may be written that lie in a file."""

    def write(self, buffers: Sequence[Buffer], size: int) -> None:
        """Send `size` bytes; what cannot go out at once is kept, and `is_blocked` becomes true."""

    def on_received(self, size: int) -> None:
        """A delivery of `size` bytes has come in on the same transport."""

    def yield_turn(self) -> None:
        """Let others have the reactor, and call `refill` when the transport takes more."""

    def close(self) -> None:
        """Nothing more will be written: close the connection, or our half of it."""


class OutletSource:
    """A transport that has an outlet of its own kind.

    It is inherited from, and not looked for as a method: a wrapper around a transport passes on its methods, but must
    see the bytes.
    """

    def make_outlet(self, refill: Callable[[], None]) -> Outlet:
        """The outlet; `refill` is called when it takes more bytes."""
        raise NotImplementedError


@implementer(IPullProducer)
class SocketOutlet:
    """Sends directly on a socket.

    Invariant: the transport's own buffer stays empty, so that `resumeProducing` always means that
    the socket is writable.
    """

    takes_spans = True

    __slots__ = ("_refill", "_send", "_sendmsg", "_transport", "_unsent", "is_blocked")

    def __init__(self, transport: TCPConnection, refill: Callable[[], None]) -> None:
        self._transport = transport
        self._refill = refill
        handle = transport.getHandle()
        self._send = handle.send
        self._sendmsg = handle.sendmsg
        self._unsent: list[Buffer] = []
        # Registering asks for data at once, which is passed over.
        self.is_blocked = False
        transport.registerProducer(self, False)

    def write(self, buffers: Sequence[Buffer], size: int) -> None:
        """Send; what the socket does not take is kept until it is writable."""
        try:
            if size <= _JOIN_BELOW_BYTES or len(buffers) > _MAX_BUFFERS:
                # All of it at once, however small the pieces: what is left for the next turn, though the
                # socket would take it, piles up when each turn brings more requests.
                data = b"".join(cast("Sequence[bytes]", buffers))
                buffers = [data]
                sent = self._send(data)
            else:
                sent = self._sendmsg(buffers)  # type: ignore[arg-type]  # see TypeError
        except BlockingIOError:
            sent = 0
        except TypeError:
            # To look first whether something lies in a file would slow everything else down.
            sent = self._write_mixed(buffers)
        except OSError:
            sent = self._meet_error(buffers)
        if sent < size:
            self._unsent = _rest(buffers, sent)
            self.yield_turn()

    def _write_mixed(self, buffers: Sequence[Buffer]) -> int:
        """Send what lies in memory and in files; returns how much the socket took."""
        try:
            return send_mixed(self._transport.getHandle(), buffers)
        except BlockingIOError:
            return 0
        except OSError:
            return self._meet_error(buffers)

    def _meet_error(self, buffers: Sequence[Buffer]) -> int:
        """The transport will find the same error, and knows what to do with it; nothing is left for us."""
        data = b"".join(map(bytes_of, buffers))
        self._transport.write(data)
        self.is_blocked = True
        return len(data)

    def on_received(self, size: int) -> None:
        """Ask for more at once while there is as much, and for less when there is not."""
        transport = self._transport
        if size >= transport.bufferSize:
            transport.bufferSize = _FAST_RECEIVE_BYTES
        elif transport.bufferSize != _RECEIVE_BYTES and size < _RECEIVE_BYTES:
            transport.bufferSize = _RECEIVE_BYTES

    def yield_turn(self) -> None:
        """Wait until the reactor finds the socket writable."""
        self.is_blocked = True
        self._transport.startWriting()

    def close(self) -> None:
        """Close our half: closing it all would take away from the peer what it has not read."""
        self.is_blocked = True
        self._transport.unregisterProducer()
        self._transport.loseWriteConnection()

    def resumeProducing(self) -> None:
        """The socket is writable, and the transport has nothing of its own to write."""
        if not self.is_blocked or not self._transport.connected:
            return
        self.is_blocked = False
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            self.write(unsent, sum(map(len, unsent)))
        if not self.is_blocked:
            self._refill()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.is_blocked = True
        self._unsent = []


@implementer(IPushProducer)
class TransportOutlet:
    """Writes to any transport, and stops when the transport says that its buffer is full."""

    takes_spans = False

    __slots__ = ("_is_paused", "_refill", "_transport", "is_blocked")

    def __init__(self, transport: ITransport, refill: Callable[[], None]) -> None:
        self._transport = transport
        self._refill = refill
        self.is_blocked = False
        IConsumer(transport).registerProducer(self, True)

    def write(self, buffers: Sequence[Buffer], size: int) -> None:
        """Write; the transport pauses us when that was enough."""
        self._transport.write(b"".join(cast("Sequence[bytes]", buffers)))

    def on_received(self, size: int) -> None:
        """How much such a transport reads at once is its own affair."""

    def yield_turn(self) -> None:
        """Go on: these transports buffer, and tell when it is too much."""

    def close(self) -> None:
        """Close the connection, once the transport has sent what it has."""
        self.is_blocked = True
        IConsumer(self._transport).unregisterProducer()
        self._transport.loseConnection()

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self.is_blocked = True

    def resumeProducing(self) -> None:
        """The transport takes more."""
        self.is_blocked = False
        self._refill()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.is_blocked = True


def outlet_for(transport: ITransport, refill: Callable[[], None]) -> Outlet:
    """The fastest outlet that `transport` allows; `refill` is called when it takes more bytes."""
    if isinstance(transport, OutletSource):
        return transport.make_outlet(refill)
    tcp = ITCPTransport(transport, None)
    # Unix sockets say of themselves that they are TCP, too.
    if tcp is not None and isinstance(transport.getHost(), IPv4Address | IPv6Address):
        # Otherwise the last bytes of a burst, and the credit that the peer waits for, wait for the peer's
        # delayed acknowledgement: 40 ms and more.
        tcp.setTcpNoDelay(True)
    # A wrapper around a transport passes its attributes on, but must see the bytes: only the
    # real thing will do.
    if isinstance(transport, TCPConnection) and not transport.TLS:
        transport.bufferSize = _RECEIVE_BYTES
        return SocketOutlet(transport, refill)
    return TransportOutlet(transport, refill)


def pump(connection: Connection, outlet: Outlet, slots: SlotQueue | None) -> None:
    """Move what the connection has to send to the outlet, until that is blocked or had its turn.

    The calls whose bytes have gone are told, so that their senders may add more at once; and calls
    in `slots`, which may have waited for what was in front of them, are opened.
    """
    until = connection.taken_bytes + TURN_BYTES
    while True:
        # Calls are dropped while nothing can be written, too, and must not be held for that.
        for call in connection.take_drained():
            call.on_drained()  # type: ignore[attr-defined]  # the classes of net.calls have it
        if slots:
            slots.let_in(connection.can_open)
        if outlet.is_blocked:
            break
        before = connection.taken_bytes
        buffers = connection.data_to_send()
        if not buffers:
            break
        outlet.write(buffers, connection.taken_bytes - before)
        if connection.taken_bytes >= until and connection.has_data_to_send:
            outlet.yield_turn()


def _rest(buffers: Sequence[Buffer], sent: int) -> list[Buffer]:
    """What is left of the buffers after the first `sent` bytes."""
    for index, buffer in enumerate(buffers):
        if sent < len(buffer):
            rest = buffer if isinstance(buffer, FileSpan) else memoryview(buffer)
            return [rest[sent:], *buffers[index + 1 :]]
        sent -= len(buffer)
    return []
