"""Talks that go over UDP, in any weather, and over the connection where they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from sockserv.chat.facts import DatagramSession
from sockserv.chat.ways import DatagramWay, TwoWays
from sockserv.client import Client
from sockserv.client.chat import RoomSession, SentMessage, Session, Talk
from sockserv.client.chat.datagrams import Datagrams
from sockserv.limits import DatagramLimits
from sockserv.net.datagram import DatagramSessions
from sockserv.server.chat_datagrams import ChatDatagrams
from sockserv.testing import DatagramLink, DatagramNetwork, Link, MemoryDatagramPort
from sockserv.testing.datagrams import SERVER_ADDRESS
from tests.services.chat.talking import HubInMemory, somebody

T = TypeVar("T")

LONG = "long " * 2000


class HubWithDatagrams(HubInMemory):
    """A hub with a UDP port. `link` is what that is on."""

    def __init__(self, *, max_sessions: int = 100) -> None:
        super().__init__(datagrams=self, messages_per_second=1e6, messages_at_once=10**6)
        self.link = DatagramLink()
        self.udp = DatagramNetwork(self.memory.network)
        limits = DatagramLimits(max_sessions=max_sessions)
        self.sessions = DatagramSessions(self.memory.clock, limits=limits, random=Random(1))
        self.udp.bind(self.sessions, SERVER_ADDRESS, link=self.link)
        self._datagrams = ChatDatagrams(self.sessions, lambda: SERVER_ADDRESS[1])

    def open(self, listener: TwoWays) -> tuple[DatagramWay, DatagramSession]:
        return self._datagrams.open(listener)


@pytest.fixture
def hub() -> Iterator[HubWithDatagrams]:
    hub = HubWithDatagrams()
    with hub:
        yield hub


class Somebody:
    """A device with a UDP port on a link of its own, and connections that a test cuts."""

    def __init__(self, hub: HubWithDatagrams, name: str, link: DatagramLink | None = None) -> None:
        self.hub = hub
        self.link = link or DatagramLink()
        self.ports: list[MemoryDatagramPort] = []
        self.connections: list[Link] = []
        self.ways: list[bool] = []
        self.heard: list[str] = []
        self.session = Session(
            device="phone",
            datagrams=Datagrams(hub.memory.clock, listen=self._listen),
            on_way=lambda by_datagrams, why: self.ways.append(by_datagrams),
        )
        self._identity = somebody(name)
        talk = Talk(hub.memory.clock, self.session, self._connect, jitter=lambda: 1.0)
        self.running = talk.run()
        self.running.addErrback(lambda failure: failure.trap(CancelledError))
        entering = self.session.enter("lobby")
        hub.memory.advance(1.0)
        self.room: RoomSession = hub.memory.run(entering)
        self._reading = Deferred.fromCoroutine(self._read())

    def _listen(self, sessions: DatagramSessions, interface: str) -> IListeningPort:
        self.ports.append(self.hub.udp.bind(sessions, link=self.link))
        return self.ports[-1]

    def _connect(self) -> Deferred[Client]:
        self.connections.append(Link())
        return self.hub.memory.start_connecting(self._identity, link=self.connections[-1])

    async def _read(self) -> None:
        async for message in self.room.messages():
            self.heard.append(message.text)

    def say(self, text: str) -> SentMessage:
        return self.hub.memory.run(self.room.say(text))

    def cut(self) -> None:
        self.connections[-1].cut()
        self.hub.memory.flush()

    def move(self) -> None:
        """Be at another address, if there is a port now."""
        if self.ports[-1]._is_open:
            self.hub.udp.move(self.ports[-1])

    def leave(self) -> None:
        self.running.cancel()
        self.hub.memory.flush()


@pytest.fixture
def alice(hub: HubWithDatagrams) -> Iterator[Somebody]:
    somebody = Somebody(hub, "alice")
    yield somebody
    somebody.leave()


@pytest.fixture
def bob(hub: HubWithDatagrams) -> Iterator[Somebody]:
    somebody = Somebody(hub, "bob")
    yield somebody
    somebody.leave()


def bytes_of(somebody: Somebody) -> int:
    """How much has gone over the connection of somebody."""
    link = somebody.connections[-1]
    return link.to_server.delivered_bytes + link.to_client.delivered_bytes


class TestOverUdp:
    def test_a_talk(self, hub: HubWithDatagrams, alice: Somebody, bob: Somebody) -> None:
        assert alice.session.goes_by_datagrams
        before = bytes_of(alice), bytes_of(bob)
        sent = [alice.room.say(str(number)) for number in range(20)]
        hub.memory.advance(0.2)
        assert bob.heard == [str(number) for number in range(20)]
        assert [hub.memory.run(one).state for one in sent] == ["delivered to bob"] * 20
        assert (bytes_of(alice), bytes_of(bob)) == before
        assert alice.ways == [True]

    def test_what_is_too_long(self, hub: HubWithDatagrams, alice: Somebody, bob: Somebody) -> None:
        said = ["before", LONG, "after", "and more"]
        for text in said:
            alice.room.say(text)
        hub.memory.advance(0.2)
        assert bob.heard == said

    def test_nothing_goes_when_nobody_says_anything(
        self, hub: HubWithDatagrams, alice: Somebody
    ) -> None:
        hub.memory.advance(30.0)
        before = alice.link.to_network.sent + alice.link.from_network.sent
        hub.memory.advance(600.0)
        sent = alice.link.to_network.sent + alice.link.from_network.sent - before
        assert sent / 600 <= 0.1

    def test_another_address(self, hub: HubWithDatagrams, alice: Somebody, bob: Somebody) -> None:
        alice.say("here")
        alice.move()
        alice.say("there")
        bob.say("where?")
        hub.memory.advance(1.0)
        assert (bob.heard, alice.heard) == (["here", "there"], ["where?"])
        assert alice.session.goes_by_datagrams

    def test_leaving_ends_both_ends(self, hub: HubWithDatagrams, alice: Somebody) -> None:
        assert len(hub.sessions) == 1
        port = alice.ports[-1]
        alice.leave()
        hub.memory.advance(0.1)
        assert (len(hub.sessions), port._is_open) == (0, False)
        assert not alice.session.goes_by_datagrams

    @pytest.mark.parametrize("seed", range(6))
    def test_bad_weather(self, hub: HubWithDatagrams, seed: int) -> None:
        people = []
        for index, name in enumerate(("alice", "bob", "carol")):
            link = DatagramLink(
                seed=100 * seed + index,
                loss=0.2,
                duplication=0.1,
                reordering=0.2,
                corruption=0.05,
                truncation=0.05,
                delay_seconds=0.025,
            )
            people.append(Somebody(hub, name, link))
        random = Random(seed)
        said: list[list[str]] = [[], [], []]
        for number in range(120):
            who = random.randrange(3)
            said[who].append(f"{who} {number} {LONG if random.random() < 0.1 else ''}")
            people[who].room.say(said[who][-1])
            hub.memory.advance(random.choice((0.0, 0.01, 0.2)))
            if random.random() < 0.03:
                people[random.randrange(3)].cut()
            if random.random() < 0.03:
                people[random.randrange(3)].move()
        hub.memory.advance(20.0)
        for reader in range(3):
            for writer in range(3):
                if reader != writer:
                    heard = [t for t in people[reader].heard if t.startswith(f"{writer} ")]
                    assert heard == said[writer]
        for one in people:
            one.leave()
        hub.memory.advance(1.0)


class TestWithoutUdp:
    def test_it_never_gets_through(self, hub: HubWithDatagrams, bob: Somebody) -> None:
        link = DatagramLink(loss=1.0)
        alice = Somebody(hub, "alice", link)
        assert not alice.session.goes_by_datagrams
        assert alice.say("one").id == 1
        hub.memory.advance(10.0)
        assert alice.say("two").id == 2
        bob.say("three")
        assert (bob.heard, alice.heard) == (["one", "two"], ["three"])
        assert alice.ways == []
        alice.leave()

    def test_only_one_direction(self, hub: HubWithDatagrams, bob: Somebody) -> None:
        link = DatagramLink()
        link.from_network.is_partitioned = True
        alice = Somebody(hub, "alice", link)
        alice.say("one")
        bob.say("two")
        assert (bob.heard, alice.heard) == (["one"], ["two"])
        alice.leave()

    def test_it_dies_in_the_middle(
        self, hub: HubWithDatagrams, alice: Somebody, bob: Somebody
    ) -> None:
        alice.say("one")
        alice.link.partition()
        said = [alice.room.say("two"), bob.room.say("three")]
        hub.memory.advance(1.1)
        assert [hub.memory.run(one).number for one in said] == [2, 1]
        assert (bob.heard, alice.heard) == (["one", "two"], ["three"])
        assert alice.ways == [True, False]
        hub.memory.advance(100.0)
        alice.say("four")
        bob.say("five")
        hub.memory.flush()
        assert (bob.heard, alice.heard) == (["one", "two", "four"], ["three", "five"])
        assert alice.ways == [True, False]

    def test_it_comes_back(self, hub: HubWithDatagrams, alice: Somebody, bob: Somebody) -> None:
        alice.link.partition()
        alice.room.say("one")
        hub.memory.advance(5.0)
        assert bob.heard == ["one"]
        alice.link.heal()
        hub.memory.advance(5.0)
        alice.say("two")
        hub.memory.flush()
        assert bob.heard == ["one", "two"]
        assert alice.ways == [True, False, True]

    def test_a_new_connection_has_new_keys(
        self, hub: HubWithDatagrams, alice: Somebody, bob: Somebody
    ) -> None:
        alice.link.partition()
        alice.room.say("one")
        hub.memory.advance(100.0)
        alice.link.heal()
        alice.cut()
        hub.memory.advance(1.0)
        assert alice.session.goes_by_datagrams
        alice.say("two")
        hub.memory.flush()
        assert bob.heard == ["one", "two"]
        assert len(hub.sessions) == 2

    def test_no_session_is_left(self) -> None:
        hub = HubWithDatagrams(max_sessions=1)
        with hub:
            first, second = Somebody(hub, "alice"), Somebody(hub, "bob")
            second.say("one")
            first.say("two")
            assert (first.heard, second.heard) == (["one"], ["two"])
            assert second.ports == []
            first.leave()
            second.leave()

    def test_who_does_not_ask_for_datagrams(self, hub: HubWithDatagrams, alice: Somebody) -> None:
        talker = hub.join("bob", "lobby")
        talker.say(1, "plain")
        alice.say("sealed")
        hub.memory.flush()
        assert alice.heard == ["plain"]
        assert talker.texts() == ["sealed"]


OFFERED = DatagramSession(
    host=None, port=7700, session="ab" * 8, to_hub_key="01" * 32, to_device_key="02" * 32
)


class TestWhatIsOffered:
    @pytest.mark.parametrize(
        ("host", "port", "session", "key"),
        [
            (None, 7700, "ab" * 8, "01" * 32),
            ("example.org", 7700, "ab" * 8, "01" * 32),
            ("127.0.0.1", 0, "ab" * 8, "01" * 32),
            ("127.0.0.1", 65_536, "ab" * 8, "01" * 32),
            ("127.0.0.1", 7700, "ab" * 7, "01" * 32),
            ("127.0.0.1", 7700, "ab" * 8, "no key" * 8),
            ("127.0.0.1", 7700, "ab" * 8, "02" * 32),
        ],
    )
    def test_what_cannot_be_used(
        self, hub: HubWithDatagrams, host: str | None, port: int, session: str, key: str
    ) -> None:
        offered = DatagramSession(
            host=host, port=port, session=session, to_hub_key=key, to_device_key="02" * 32
        )
        datagrams = Datagrams(hub.memory.clock, listen=_no_port)
        assert datagrams.open(offered, None, _nobody(hub)) is None

    def test_no_port_is_free(self, hub: HubWithDatagrams) -> None:
        datagrams = Datagrams(hub.memory.clock, listen=_no_port)
        assert datagrams.open(OFFERED, "127.0.0.1", _nobody(hub)) is None

    @pytest.mark.parametrize(("host", "interface"), [("192.0.2.1", "0.0.0.0"), ("::1", "::")])
    def test_which_family(self, hub: HubWithDatagrams, host: str, interface: str) -> None:
        asked = []

        def listen(sessions: DatagramSessions, interface: str) -> IListeningPort:
            asked.append(interface)
            return hub.udp.bind(sessions)

        way = Datagrams(hub.memory.clock, listen=listen).open(OFFERED, host, _nobody(hub))
        assert way is not None
        way.close()
        assert asked == [interface]


def _no_port(sessions: DatagramSessions, interface: str) -> IListeningPort:
    raise CannotListenError(interface, 0, OSError("all are taken"))


def _nobody(hub: HubWithDatagrams) -> TwoWays:
    return TwoWays(hub.memory.clock, to_connection=lambda record: None, wake=lambda: None)
