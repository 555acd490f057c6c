"""Sessions on a port: their table, their timer, and what a socket and a flood do to them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from sockserv.errors import NoRoom, SessionOver
from sockserv.limits import DatagramLimits
from sockserv.net.datagram import Carrier, DatagramSessions
from sockserv.testing import DatagramLink, DatagramNetwork, MemoryDatagramPort
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.drops import DropReason
from sockserv.wire.datagrams.events import (
    AddressChanged,
    Event,
    FailureReason,
    MessageAcknowledged,
    MessageReceived,
    MessageUndelivered,
    SessionEnded,
    SessionOpened,
)
from sockserv.wire.datagrams.sealing import SessionKeys

SERVER = ("127.0.0.1", 7700)


class House:
    """A server's port, and clients with ports of their own."""

    def __init__(self, limits: DatagramLimits | None = None) -> None:
        self.datagrams = DatagramNetwork()
        self.network = self.datagrams.network
        self.clock: Clock = self.network.clock
        self.limits = limits
        self.server = DatagramSessions(self.clock, limits=limits, random=Random(0))
        self.server_port = self.datagrams.bind(self.server, SERVER)
        self.events: list[Event] = []
        self.clients: list[Carrier] = []
        self.ports: list[MemoryDatagramPort] = []
        self.client_events: list[Event] = []

    def join(self, link: DatagramLink | None = None) -> tuple[Carrier, Carrier]:
        """A client's end of a new session, and the server's."""
        keys = SessionKeys.make()
        at_server = self.server.open(Role.SERVER, keys, self.events.extend)
        sessions = DatagramSessions(self.clock, limits=self.limits, random=Random(len(self.ports)))
        self.ports.append(self.datagrams.bind(sessions, link=link))
        at_client = sessions.open(Role.CLIENT, keys, self.client_events.extend, address=SERVER)
        self.clients.append(at_client)
        self.network.advance(0.2)
        return at_client, at_server

    def bodies(self) -> list[bytes]:
        return [event.body for event in self.events if isinstance(event, MessageReceived)]


def test_messages_go_both_ways() -> None:
    house = House()
    at_client, at_server = house.join()
    assert house.events == [SessionOpened(house.ports[0].address)]
    assert house.client_events == [SessionOpened(SERVER)]
    message = at_client.send(1, b"to the server")
    at_server.send(7, b"to the client")
    house.network.advance(0.1)
    assert house.bodies() == [b"to the server"]
    assert MessageReceived(7, 1, b"to the client") in house.client_events
    assert MessageAcknowledged(message) in house.client_events


def test_what_is_sent_in_one_turn_shares_a_datagram() -> None:
    house = House()
    link = DatagramLink()
    at_client, _ = house.join(link)
    before = link.to_network.sent
    for number in range(10):
        at_client.send(1, b"%d" % number)
    house.network.flush()
    assert link.to_network.sent == before + 1
    assert house.bodies() == [b"%d" % number for number in range(10)]


def test_what_is_sent_in_answer_goes_with_the_acknowledgement() -> None:
    house = House()
    link = DatagramLink()
    at_client, at_server = house.join(link)
    at_server.on_events = lambda events: at_server.send(1, b"answer")
    sent, received = link.to_network.sent, link.from_network.sent
    at_client.send(1, b"question")
    house.network.flush()
    assert link.to_network.sent == sent + 1
    assert link.from_network.sent == received + 1


def test_sessions_of_one_port_do_not_mix() -> None:
    house = House()
    for number in range(5):
        at_client, _ = house.join()
        at_client.send(1, b"%d" % number)
    house.network.advance(0.1)
    assert house.bodies() == [b"0", b"1", b"2", b"3", b"4"]
    assert len(house.server) == 5


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"", DropReason.TOO_SHORT),
        (b"\x51" * 16, DropReason.TOO_SHORT),
        (b"\x51" * 17, DropReason.UNKNOWN_SESSION),
        (b"\x51" * 1201, DropReason.UNKNOWN_SESSION),
        (b"\x51" * 60_000, DropReason.UNKNOWN_SESSION),
    ],
)
def test_garbage_is_counted_and_not_answered(garbage: bytes, reason: DropReason) -> None:
    house = House()
    link = DatagramLink()
    stranger = DatagramSessions(house.clock)
    port = house.datagrams.bind(stranger, link=link)
    port.write(garbage, SERVER)
    house.network.flush()
    assert house.server.drops == {reason: 1}
    assert link.from_network.sent == 0
    assert not house.clock.calls


def test_there_is_room_for_so_many_sessions() -> None:
    house = House(DatagramLimits(max_sessions=2))
    _, first = house.join()
    house.join()
    with pytest.raises(NoRoom, match="2 sessions"):
        house.server.open(Role.SERVER, SessionKeys.make(), print)
    first.close()
    house.network.flush()
    house.server.open(Role.SERVER, SessionKeys.make(), print)


def test_an_id_is_used_once() -> None:
    house = House()
    keys = SessionKeys.make()
    house.server.open(Role.SERVER, keys, print)
    with pytest.raises(ValueError, match="open on this port already"):
        house.server.open(Role.SERVER, keys, print)


def test_a_closed_session_is_forgotten() -> None:
    house = House()
    at_client, at_server = house.join()
    message = at_server.send(1, b"x")
    at_server.close()
    assert house.events[-2:] == [
        MessageUndelivered(message, FailureReason.CLOSED),
        SessionEnded(FailureReason.CLOSED),
    ]
    house.network.flush()
    assert len(house.server) == 0
    at_client.send(1, b"to nobody")
    house.network.advance(1.0)
    assert house.server.drops[DropReason.UNKNOWN_SESSION] > 0
    with pytest.raises(SessionOver):
        at_server.send(1, b"x")
    at_server.close()


def test_a_path_that_is_lost_is_told_and_leaves_nothing() -> None:
    house = House()
    link = DatagramLink()
    house.join(link)
    link.partition()
    house.network.advance(200.0)
    assert house.events[-1] == SessionEnded(FailureReason.PATH_LOST)
    assert house.client_events[-1] == SessionEnded(FailureReason.PATH_LOST)
    assert not house.clock.calls


def test_a_client_that_moves() -> None:
    house = House()
    at_client, at_server = house.join()
    house.datagrams.move(house.ports[0])
    at_client.send(1, b"from elsewhere")
    house.network.advance(0.5)
    assert AddressChanged(house.ports[0].address) in house.events
    at_server.send(1, b"to elsewhere")
    house.network.advance(0.5)
    assert MessageReceived(1, 1, b"to elsewhere") in house.client_events


@pytest.mark.parametrize(
    "number", [errno.ENOBUFS, errno.EAGAIN, errno.ECONNREFUSED, errno.ENETUNREACH, 12_345]
)
def test_what_the_system_does_not_take_is_sent_again(number: int) -> None:
    house = House()
    at_client, _ = house.join()
    house.ports[0].raises = OSError(number, "no")
    at_client.send(1, b"in the end")
    house.network.advance(1.0)
    assert house.bodies() == []
    sessions: Any = house.ports[0].protocol
    assert sessions.write_errors[errno.errorcode.get(number, "unknown")] > 1
    house.ports[0].raises = None
    house.network.advance(4.0)
    assert house.bodies() == [b"in the end"]


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """What the log says has failed."""
    seen: list[str] = []

    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            seen.append(str(event["log_failure"].value))

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]  # any callable will do
    yield seen
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


def test_one_who_fails_does_not_harm_the_others(failures: list[str]) -> None:
    house = House()
    at_client, at_server = house.join()
    other_client, _ = house.join()

    def fail(events: list[Event]) -> None:
        raise RuntimeError("a mistake in what uses the session")

    at_server.on_events = fail
    at_client.send(1, b"x")
    other_client.send(1, b"y")
    house.network.advance(0.1)
    assert house.bodies() == [b"y"]
    assert failures == ["a mistake in what uses the session"]


def test_a_handler_may_close_its_session_and_open_another() -> None:
    house = House()
    at_client, at_server = house.join()

    def replace(events: list[Event]) -> None:
        if isinstance(events[0], MessageReceived):
            at_server.close()
            house.server.open(Role.SERVER, SessionKeys.make(), print)

    at_server.on_events = replace
    at_client.send(1, b"x")
    house.network.advance(0.1)
    assert len(house.server) == 1


def test_what_was_sent_before_the_port_was_open_goes_out_then() -> None:
    house = House()
    keys = SessionKeys.make()
    house.server.open(Role.SERVER, keys, house.events.extend)
    sessions = DatagramSessions(house.clock)
    carrier = sessions.open(Role.CLIENT, keys, print, address=SERVER)
    carrier.on_events = lambda events: None
    carrier.send(1, b"early")
    house.network.flush()
    house.datagrams.bind(sessions)
    house.network.advance(0.5)
    assert house.bodies() == [b"early"]


def test_a_port_that_is_closed_ends_its_sessions() -> None:
    house = House()
    house.join()
    house.server_port.stopListening()
    assert house.events[-1] == SessionEnded(FailureReason.CLOSED)
    assert len(house.server) == 0
    house.ports[0].stopListening()
    assert not house.clock.calls


def test_idle_sessions_cost_one_timer_and_few_datagrams() -> None:
    house = House()
    links = []
    for _ in range(25):
        links.append(DatagramLink())
        house.join(links[-1])
    house.network.advance(60.0)
    before = sum(link.to_network.sent + link.from_network.sent for link in links)
    house.network.advance(100.0)
    sent = sum(link.to_network.sent + link.from_network.sent for link in links) - before
    assert sent <= 0.1 * 100.0 * len(links)
    assert len(house.clock.calls) == 1 + len(links), "the server's timer, and one of each client"
    assert len(house.server._heap) <= 4 * len(links)
    assert all(carrier.session.ended_by is None for carrier in house.clients)


def test_entries_of_the_timer_do_not_pile_up() -> None:
    house = House()
    at_client, at_server = house.join(DatagramLink(delay_seconds=0.02))
    for _ in range(100):
        at_client.send(1, b"x")
        at_server.send(1, b"y")
        house.network.advance(0.1)
    assert len(house.server._heap) <= 5


def test_sessions_that_have_ended_do_not_stay_for_the_timer() -> None:
    """Who joins and leaves again and again would fill the memory until their time would have come."""
    house = House()
    _, stays = house.join()
    for _ in range(300):
        carrier = house.server.open(Role.SERVER, SessionKeys.make(), house.events.extend)
        house.network.advance(0.001)
        carrier.close()
        house.network.advance(0.001)
    assert len(house.server._heap) <= 8
    many = [
        house.server.open(Role.SERVER, SessionKeys.make(), house.events.extend) for _ in range(300)
    ]
    house.network.advance(0.1)
    for carrier in many:
        carrier.close()
    house.network.advance(0.1)
    assert len(house.server._heap) <= 8
    house.client_events.clear()
    stays.send(0, b"still here")
    house.network.advance(200.0)
    assert MessageReceived(0, 1, b"still here") in house.client_events
    assert stays.session.ended_by is None


def test_a_process_that_stood_still_reads_before_it_gives_up() -> None:
    house = House()
    link = DatagramLink()
    at_client, _ = house.join(link)
    link.from_network.delay_seconds = 40.0
    message = at_client.send(1, b"x")
    house.network.advance(0.05)
    house.clock.rightNow += 40.0
    house.network.flush()
    assert MessageAcknowledged(message) in house.client_events
    assert at_client.session.ended_by is None


def test_a_network_that_does_everything_at_once() -> None:
    house = House()
    link = DatagramLink(
        seed=3,
        loss=0.2,
        duplication=0.1,
        reordering=0.2,
        truncation=0.05,
        corruption=0.05,
        delay_seconds=0.05,
    )
    at_client, at_server = house.join(link)
    house.network.advance(5.0)
    for number in range(200):
        at_client.send(1, b"%d" % number)
        at_server.send(1, b"%d" % number)
        house.network.advance(0.02)
    house.network.advance(20.0)
    expected = [b"%d" % number for number in range(200)]
    assert house.bodies() == expected
    assert [e.body for e in house.client_events if isinstance(e, MessageReceived)] == expected
    assert not at_client.session.waiting_messages
    assert {DropReason.FORGED, DropReason.REPLAYED} <= house.server.drops.keys()
