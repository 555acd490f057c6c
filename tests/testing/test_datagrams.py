"""UDP in memory: what a link does to datagrams, and what it does not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface.verify import verifyObject

from sockserv.testing import DatagramLink, DatagramNetwork

SERVER = ("127.0.0.1", 7700)


class Inbox(DatagramProtocol):
    """Keeps what comes, with the time at which it came."""

    noisy = False

    def __init__(self, network: DatagramNetwork) -> None:
        self._clock = network.network.clock
        self.got: list[tuple[float, bytes]] = []
        self.senders: list[Any] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.got.append((self._clock.seconds(), datagram))
        self.senders.append(addr)

    @property
    def bodies(self) -> list[bytes]:
        return [data for _, data in self.got]


class Room:
    def __init__(self, link: DatagramLink | None = None) -> None:
        self.datagrams = DatagramNetwork()
        self.network = self.datagrams.network
        self.server = Inbox(self.datagrams)
        self.client = Inbox(self.datagrams)
        self.server_port = self.datagrams.bind(self.server, SERVER)
        self.client_port = self.datagrams.bind(self.client, link=link)

    def send(self, *bodies: bytes) -> None:
        for body in bodies:
            self.client_port.write(body, SERVER)


MANY = [b"%d" % number for number in range(1000)]


def test_a_link_without_faults() -> None:
    room = Room()
    room.send(*MANY)
    assert room.server.got == []
    room.network.flush()
    assert room.server.bodies == MANY
    assert set(room.server.senders) == {room.client_port.address}
    room.server_port.write(b"back", room.client_port.address)
    room.network.flush()
    assert room.client.bodies == [b"back"]


def test_loss() -> None:
    link = DatagramLink(loss=0.2)
    room = Room(link)
    room.send(*MANY)
    room.network.flush()
    assert 700 < len(room.server.got) < 900
    assert link.to_network.lost == 1000 - len(room.server.got)
    assert link.to_network.delivered == len(room.server.got)


def test_the_same_seed_does_the_same() -> None:
    def outcome(seed: int, loss: float = 0.3) -> list[bytes]:
        room = Room(DatagramLink(seed=seed, loss=loss, duplication=0.2, reordering=0.2))
        room.send(*MANY)
        room.network.advance(1.0)
        return room.server.bodies

    assert outcome(1) == outcome(1)
    assert outcome(1) != outcome(2)
    fewer, more = Counter(outcome(1, loss=0.5)), Counter(outcome(1))
    assert fewer <= more, "what gets through does so with fewer losses too, as often"


def test_delay_and_both_ways() -> None:
    room = Room(DatagramLink(delay_seconds=0.05))
    room.send(b"x")
    room.server_port.write(b"y", room.client_port.address)
    room.network.advance(1.0)
    assert room.server.got == [(0.05, b"x")]
    assert room.client.got == [(0.05, b"y")]


def test_duplication() -> None:
    room = Room(DatagramLink(duplication=1.0))
    room.send(b"x")
    room.network.advance(1.0)
    assert room.server.bodies == [b"x", b"x"]


def test_reordering() -> None:
    room = Room(DatagramLink(reordering=0.5, reordering_seconds=1.0))
    room.send(*MANY)
    room.network.advance(1.0)
    assert room.server.bodies != MANY
    assert sorted(room.server.bodies) == sorted(MANY)


def test_truncation_and_corruption() -> None:
    room = Room(DatagramLink(truncation=1.0))
    room.send(b"abcdefgh")
    room.network.flush()
    assert b"abcdefgh".startswith(room.server.bodies[0])
    assert len(room.server.bodies[0]) < 8
    room = Room(DatagramLink(corruption=1.0))
    room.send(b"abcdefgh", b"")
    room.network.flush()
    damaged, empty = room.server.bodies
    flipped = int.from_bytes(damaged, "big") ^ int.from_bytes(b"abcdefgh", "big")
    assert flipped.bit_count() == 1
    assert empty == b""


def test_a_partition_heals() -> None:
    link = DatagramLink()
    room = Room(link)
    link.partition()
    room.send(b"lost")
    room.server_port.write(b"lost", room.client_port.address)
    room.network.flush()
    link.heal()
    room.send(b"x")
    room.network.flush()
    assert room.server.bodies == [b"x"]
    assert room.client.bodies == []


def test_one_direction_by_itself() -> None:
    link = DatagramLink()
    link.to_network.loss = 1.0
    room = Room(link)
    room.send(b"lost")
    room.server_port.write(b"x", room.client_port.address)
    room.network.flush()
    assert room.server.got == []
    assert room.client.bodies == [b"x"]


def test_a_port_that_moves() -> None:
    room = Room(DatagramLink(delay_seconds=0.1))
    old = room.client_port.address
    room.send(b"before")
    room.server_port.write(b"on its way", old)
    room.datagrams.move(room.client_port)
    room.send(b"after")
    room.network.advance(1.0)
    assert room.server.senders == [old, room.client_port.address]
    assert room.client.got == []
    room.datagrams.move(room.client_port, old)
    assert room.client_port.getHost().port == old[1]


def test_two_links_on_one_way() -> None:
    datagrams = DatagramNetwork()
    there = Inbox(datagrams)
    a = datagrams.bind(Inbox(datagrams), link=DatagramLink(delay_seconds=0.1))
    b = datagrams.bind(there, link=DatagramLink(delay_seconds=0.2))
    a.write(b"x", b.address)
    datagrams.network.advance(1.0)
    assert [data for _, data in there.got] == [b"x"]
    assert there.got[0][0] == pytest.approx(0.3)


def test_a_port_behaves_like_one() -> None:
    room = Room()
    verifyObject(IUDPTransport, room.client_port)
    verifyObject(IListeningPort, room.client_port)
    with pytest.raises(CannotListenError):
        room.datagrams.bind(Inbox(room.datagrams), SERVER)
    with pytest.raises(MessageLengthError):
        room.send(bytes(65_508))
    room.send(bytes(65_507))
    with pytest.raises(TypeError, match="no address"):
        room.client_port.write(b"x")
    room.client_port.connect(*SERVER)
    room.client_port.write(b"connected")
    room.client_port.startListening()
    room.client_port.setBroadcastAllowed(True)
    assert not room.client_port.getBroadcastAllowed()
    room.client_port.raises = OSError("no buffers")
    with pytest.raises(OSError, match="no buffers"):
        room.client_port.write(b"x")
    room.network.flush()
    assert [len(data) for data in room.server.bodies] == [65_507, 9]


def test_a_closed_port() -> None:
    room = Room()
    room.send(b"before")
    room.server_port.stopListening()
    room.server_port.stopListening()
    room.network.flush()
    assert room.server.got == []
    assert room.server.transport is None
    room.server_port.write(b"from nowhere", room.client_port.address)
    room.network.flush()
    assert room.client.got == []


def test_what_it_shows() -> None:
    link = DatagramLink(loss=1.0)
    Room(link).send(b"x")
    assert "to network <1 datagrams sent, 1 lost, 0 delivered>" in repr(link)
