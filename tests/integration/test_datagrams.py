"""Sessions over real UDP sockets: what the system does to datagrams, and what it says of them."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTime

from sockserv.limits import DatagramLimits
from sockserv.net.datagram import MAX_BATCH_DATAGRAMS, DatagramSessions, listen_datagrams
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.drops import DropReason
from sockserv.wire.datagrams.events import (
    AddressChanged,
    Event,
    FailureReason,
    MessageReceived,
    SessionEnded,
)
from sockserv.wire.datagrams.layout import MAX_MESSAGE_BYTES
from sockserv.wire.datagrams.sealing import SessionKeys
from tests.integration.waiting import until_so

CLOCK = cast(IReactorTime, reactor)
LOOPBACKS = ["127.0.0.1", "::1"]


class Ends:
    """A port with a server's sessions, one with a client's, and what has come at either."""

    def __init__(self, interface: str, limits: DatagramLimits | None = None) -> None:
        self.interface = interface
        self.server = DatagramSessions(CLOCK, limits=limits)
        self.client = DatagramSessions(CLOCK, limits=limits)
        self.server_events: list[Event] = []
        self.client_events: list[Event] = []
        self.ports: list[Any] = []

    def listen(self, sessions: DatagramSessions) -> Any:
        self.ports.append(listen_datagrams(reactor, sessions, interface=self.interface))
        return self.ports[-1]

    def join(self, address: Any, keys: SessionKeys | None = None) -> tuple[Any, Any]:
        keys = keys or SessionKeys.make()
        at_server = self.server.open(Role.SERVER, keys, self.server_events.extend)
        at_client = self.client.open(Role.CLIENT, keys, self.client_events.extend, address=address)
        return at_client, at_server

    def bodies(self) -> list[bytes]:
        return [event.body for event in self.server_events if isinstance(event, MessageReceived)]


@asynccontextmanager
async def ends(interface: str, limits: DatagramLimits | None = None) -> AsyncIterator[Ends]:
    both = Ends(interface, limits)
    both.listen(both.server)
    both.listen(both.client)
    try:
        yield both
    finally:
        for port in both.ports:
            await port.stopListening()
        assert both.client_events == [] or isinstance(both.client_events[-1], SessionEnded)


def address_of(port: Any) -> Any:
    host = port.getHost()
    return (host.host, host.port)


@pytest.mark.parametrize("interface", LOOPBACKS)
@pytest.mark.parametrize("sealed", [True, False])
@pytest_twisted.ensureDeferred
async def test_messages_of_every_size(interface: str, *, sealed: bool) -> None:
    async with ends(interface) as both:
        keys = SessionKeys.make(sealed=sealed)
        at_client, at_server = both.join(address_of(both.ports[0]), keys)
        sent = [bytes([n % 256]) * (n * 7 % (MAX_MESSAGE_BYTES + 1)) for n in range(200)]
        for body in sent:
            at_client.send(1, body)
        await until_so(lambda: len(both.bodies()) == len(sent))
        assert both.bodies() == sent
        await until_so(lambda: not at_client.session.waiting_messages)
        at_server.send(1, b"back")
        await until_so(lambda: MessageReceived(1, 1, b"back") in both.client_events)
        assert not both.server.drops
        assert not both.server.write_errors


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_on_from_another_port() -> None:
    async with ends("127.0.0.1") as both:
        at_client, _ = both.join(address_of(both.ports[0]))
        at_client.send(1, b"before")
        await until_so(both.bodies)
        elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with elsewhere:
            elsewhere.bind(("127.0.0.1", 0))
            old = both.ports[1].socket
            both.ports[1].stopReading()
            both.ports[1].socket = elsewhere
            elsewhere.setblocking(False)
            both.ports[1].fileno = elsewhere.fileno
            both.ports[1].startReading()
            at_client.send(1, b"after")
            await until_so(
                lambda: any(isinstance(event, AddressChanged) for event in both.server_events)
            )
            await until_so(lambda: both.bodies() == [b"before", b"after"])
            both.ports[1].stopReading()
            both.ports[1].socket = old
            both.ports[1].fileno = old.fileno


@pytest_twisted.ensureDeferred
async def test_nobody_there() -> None:
    """A closed port answers with an error of ICMP, which ends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()
    async with ends("127.0.0.1", DatagramLimits(probe_timeout_seconds=1.5)) as both:
        both.join(nobody)
        await until_so(lambda: both.client_events)
        assert both.client_events == [SessionEnded(FailureReason.UNREACHABLE)]
        at_client, _ = both.join(address_of(both.ports[0]))
        at_client.send(1, b"the port lives")
        await until_so(both.bodies)


@pytest_twisted.ensureDeferred
async def test_where_nothing_can_be_sent() -> None:
    """The system refuses: a broadcast address without leave, and a port that cannot be."""
    async with ends("127.0.0.1", DatagramLimits(probe_timeout_seconds=0.3)) as both:
        both.join(("255.255.255.255", 9))
        both.join(("127.0.0.1", 70_000))
        await until_so(lambda: len(both.client_events) == 2)
        assert sum(both.client.write_errors.values()) >= 2


@pytest_twisted.ensureDeferred
async def test_garbage_of_every_size_beside_a_talk() -> None:
    async with ends("127.0.0.1") as both:
        address = address_of(both.ports[0])
        at_client, _ = both.join(address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for size in (0, 1, 17, 1200, 1201, 8192, 8193, 65_507):
                stranger.sendto(b"\x51" * size, address)
            at_client.send(1, b"in between")
            await until_so(both.bodies)
            await until_so(lambda: sum(both.server.drops.values()) == 8)
            assert both.server.drops == {
                DropReason.TOO_SHORT: 2,
                DropReason.UNKNOWN_SESSION: 6,
            }
            stranger.setblocking(False)
            with pytest.raises(BlockingIOError):
                stranger.recv(1)


@pytest_twisted.ensureDeferred
async def test_a_flood_of_nothing_lets_others_in() -> None:
    """Twisted's own port would read empty datagrams for as long as they come."""
    async with ends("127.0.0.1") as both:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(2 * MAX_BATCH_DATAGRAMS):
                stranger.sendto(b"", address_of(both.ports[0]))
        both.ports[0].doRead()
        assert 0 < both.server.drops[DropReason.TOO_SHORT] <= MAX_BATCH_DATAGRAMS


@pytest_twisted.ensureDeferred
async def test_a_thousand_sessions_on_one_port() -> None:
    async with ends("127.0.0.1") as both:
        address = address_of(both.ports[0])
        for number in range(1000):
            at_client, _ = both.join(address)
            at_client.send(1, b"%d" % number)
        await until_so(lambda: len(both.bodies()) == 1000)
        assert sorted(map(int, both.bodies())) == list(range(1000))


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken() -> None:
    async with ends("127.0.0.1") as both:
        taken = address_of(both.ports[0])[1]
        with pytest.raises(CannotListenError):
            listen_datagrams(reactor, both.client, port=taken, interface="127.0.0.1")
