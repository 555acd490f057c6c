"""UDP in memory: ports, and links that lose, repeat, reorder, delay, cut and damage what they carry.

Invariants:

1. Nothing is delivered from inside a call of a transport, only from the turns of the `MemoryNetwork`.
2. What happens to the datagrams of one direction depends on its seed, on their order and on the clock, and on nothing
   else: to turn one knob does not change what the others do.
3. A datagram arrives whole, unless it is cut or damaged on purpose; none is made up.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any, Final, TypeAlias

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from sockserv.testing.network import MemoryNetwork

__all__ = ["DatagramChannel", "DatagramLink", "DatagramNetwork", "MemoryDatagramPort"]

Address: TypeAlias = tuple[str, int]

SERVER_ADDRESS: Final[Address] = ("127.0.0.1", 7700)

_MAX_UDP_BYTES: Final = 65_507
_FIRST_FREE_PORT: Final = 49_152


class DatagramChannel:
    """One direction of a link; a test turns its knobs, at any time.

    `loss`, `duplication`, `reordering`, `truncation` and `corruption` are how likely each of these happens to a
    datagram, from 0 to 1. `delay_seconds` is how long each travels; one that is reordered, and the second of one that
    is repeated, travels up to `reordering_seconds` longer. One that is truncated loses part of its end, one that is
    corrupted has a bit flipped. `is_partitioned` loses them all. `sent`, `lost` and `delivered` count datagrams.
    """

    def __init__(self, seed: str) -> None:
        self.loss = 0.0
        self.duplication = 0.0
        self.reordering = 0.0
        self.truncation = 0.0
        self.corruption = 0.0
        self.delay_seconds = 0.0
        self.reordering_seconds = 0.1
        self.is_partitioned = False
        self.sent = 0
        self.lost = 0
        self.delivered = 0
        self._random = Random(seed)

    def __repr__(self) -> str:
        return f"<{self.sent} datagrams sent, {self.lost} lost, {self.delivered} delivered>"

    def travels(self, data: bytes) -> list[tuple[float, bytes]]:
        """What becomes of a datagram that is sent now: what arrives, each after how many seconds."""
        draw = self._random.random
        chances = [draw() for _ in range(5)]
        amounts = [draw() for _ in range(4)]
        self.sent += 1
        if self.is_partitioned or chances[0] < self.loss:
            self.lost += 1
            return []
        if chances[1] < self.truncation:
            data = data[: int(amounts[0] * len(data))]
        if chances[2] < self.corruption and data:
            place, bit = divmod(int(amounts[1] * len(data) * 8), 8)
            data = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        is_late = chances[3] < self.reordering
        late_seconds = amounts[2] * self.reordering_seconds if is_late else 0.0
        travels = [(self.delay_seconds + late_seconds, data)]
        if chances[4] < self.duplication:
            travels.append((self.delay_seconds + amounts[3] * self.reordering_seconds, data))
        return travels


class DatagramLink:
    """The line on which one port is joined to the network: give it to `DatagramNetwork.bind`.

    The keyword arguments are the knobs of `DatagramChannel`, for both directions; the attributes `to_network` (what
    the port sends) and `from_network` (what it gets) are the directions, each to be tuned by itself. Links with the
    same `seed` do the same.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        loss: float = 0.0,
        duplication: float = 0.0,
        reordering: float = 0.0,
        truncation: float = 0.0,
        corruption: float = 0.0,
        delay_seconds: float = 0.0,
        reordering_seconds: float = 0.1,
    ) -> None:
        self.to_network = DatagramChannel(f"to the network {seed}")
        self.from_network = DatagramChannel(f"from the network {seed}")
        for channel in (self.to_network, self.from_network):
            channel.loss = loss
            channel.duplication = duplication
            channel.reordering = reordering
            channel.truncation = truncation
            channel.corruption = corruption
            channel.delay_seconds = delay_seconds
            channel.reordering_seconds = reordering_seconds

    def __repr__(self) -> str:
        return f"<datagram link to network {self.to_network!r}, from network {self.from_network!r}>"

    def partition(self) -> None:
        """Lose everything, both ways, until `heal`."""
        self.to_network.is_partitioned = self.from_network.is_partitioned = True

    def heal(self) -> None:
        """Let datagrams through again."""
        self.to_network.is_partitioned = self.from_network.is_partitioned = False


class DatagramNetwork:
    """Ports that send each other datagrams, on the clock and in the turns of a `MemoryNetwork`.

    `network` may be that of a `MemoryServer` (its attribute `network`): then connections and datagrams share their
    time.
    """

    def __init__(self, network: MemoryNetwork | None = None) -> None:
        self.network = network or MemoryNetwork()
        self._ports: dict[Address, MemoryDatagramPort] = {}
        self._next_port = _FIRST_FREE_PORT

    def bind(
        self,
        protocol: DatagramProtocol,
        address: Address | None = None,
        *,
        link: DatagramLink | None = None,
    ) -> MemoryDatagramPort:
        """Give a protocol a port at `address` (None: any that is free), joined to the network by `link` (None: without
        faults).

        Raises `twisted.internet.error.CannotListenError` when the address is in use.
        """
        address = address or self._free_address()
        if address in self._ports:
            raise CannotListenError(*address, OSError("the address is in use"))
        port = self._ports[address] = MemoryDatagramPort(self, protocol, address, link)
        protocol.makeConnection(port)
        return port

    def _free_address(self) -> Address:
        self._next_port += 1
        return ("127.0.0.1", self._next_port)

    def move(self, port: MemoryDatagramPort, address: Address | None = None) -> None:
        """A port is at another address from now on, as behind a router that forgot it; what is sent to the old one is
        lost.
        """
        del self._ports[port.address]
        port.address = address or self._free_address()
        self._ports[port.address] = port

    def send(self, sender: MemoryDatagramPort, data: bytes, to: Address) -> None:
        """Let a datagram travel; it comes from where its sender is now."""
        channel = None if sender.link is None else sender.link.to_network
        for seconds, arrived in [(0.0, data)] if channel is None else channel.travels(data):
            self._after(seconds, partial(self._arrive, arrived, sender.address, to, channel))

    def _arrive(
        self, data: bytes, sender: Address, to: Address, sent_by: DatagramChannel | None
    ) -> None:
        if sent_by is not None:
            sent_by.delivered += 1
        port = self._ports.get(to)
        if port is None:
            return
        if port.link is None:
            port.deliver(data, sender)
            return
        channel = port.link.from_network
        for seconds, arrived in channel.travels(data):
            self._after(seconds, partial(self._deliver, arrived, sender, to, channel))

    def _deliver(self, data: bytes, sender: Address, to: Address, channel: DatagramChannel) -> None:
        port = self._ports.get(to)
        if port is not None:
            channel.delivered += 1
            port.deliver(data, sender)

    def _after(self, seconds: float, function: Any) -> None:
        if seconds:
            self.network.clock.callLater(seconds, function)
        else:
            self.network.call_soon(function)

    def forget(self, port: MemoryDatagramPort) -> None:
        """A port is closed."""
        self._ports.pop(port.address, None)


@implementer(IListeningPort, IUDPTransport)
class MemoryDatagramPort:
    """A port as its protocol sees it: it behaves like Twisted's.

    `link` is how it is joined to the network, `address` where it is. `raises`, when it is set, is what the next writes
    raise in place of sending: an `OSError`, as a socket that has no buffers.
    """

    def __init__(
        self,
        network: DatagramNetwork,
        protocol: DatagramProtocol,
        address: Address,
        link: DatagramLink | None,
    ) -> None:
        self.protocol = protocol
        self.address = address
        self.link = link
        self.raises: OSError | None = None
        self._network = network
        self._is_open = True
        self._peer: Address | None = None

    def write(self, packet: bytes, addr: Address | None = None) -> None:
        """Send a datagram; raises `MessageLengthError` for one that UDP cannot carry."""
        to = addr or self._peer
        if to is None:
            raise TypeError("there is no address to send to: give one, or connect()")
        if self.raises is not None:
            raise self.raises
        if len(packet) > _MAX_UDP_BYTES:
            raise MessageLengthError("message too long")
        if self._is_open:
            self._network.send(self, bytes(packet), to)

    def connect(self, host: str, port: int) -> None:
        """Send to this address when none is given."""
        self._peer = (host, port)

    def deliver(self, data: bytes, sender: Address) -> None:
        """A datagram has come."""
        if self._is_open:
            self.protocol.datagramReceived(data, sender)

    def getHost(self) -> IPv4Address:
        """Where this port is."""
        return IPv4Address("UDP", *self.address)

    def startListening(self) -> None:
        """It does from the start."""

    def stopListening(self) -> Deferred[None]:
        """Close the port."""
        if self._is_open:
            self._is_open = False
            self._network.forget(self)
            self.protocol.doStop()
        return succeed(None)

    def getBroadcastAllowed(self) -> bool:
        """It is not."""
        return False

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """Has no effect here."""
