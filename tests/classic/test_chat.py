"""The tutorial's chat: guests who talk by bare datagrams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from sockserv.classic.chat import MAX_DATAGRAM_BYTES, MAX_WAITING, Guests, name_of
from sockserv.client import Client
from sockserv.trust import Identity
from tests.services.chat.talking import HubInMemory, Talker, somebody

GUEST = ("127.0.0.1", 54321)


class Wire:
    """A UDP port that remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self.error: OSError | None = None

    def write(self, data: bytes, address: Any) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append((data, address))


class Port:
    """Guests at a hub in memory."""

    def __init__(self, hub: HubInMemory, **limits: Any) -> None:
        self.hub = hub
        self.connected: list[str] = []
        self.guests = Guests(hub.memory.clock, "lobby", self._connect, **limits)
        self.wire = Wire()
        self.guests.transport = self.wire  # type: ignore[assignment]  # what is used of one

    def _connect(self, name: str, address: tuple[str, int]) -> Deferred[Client]:
        self.connected.append(name)
        identity = Identity(name, frozenset({"chat"}), chat=("lobby",))
        return self.hub.memory.start_connecting(identity)

    def receive(self, datagram: bytes, address: tuple[str, int] = GUEST) -> None:
        self.guests.datagramReceived(datagram, address)
        self.hub.memory.flush()


@pytest.fixture
def hub() -> Iterator[HubInMemory]:
    with HubInMemory() as hub:
        yield hub


@pytest.fixture
def port(hub: HubInMemory) -> Iterator[Port]:
    port = Port(hub)
    yield port
    port.guests.close()
    hub.memory.flush()


def lines(talker: Talker) -> list[tuple[str, str]]:
    return [(message.sender, message.text) for message in talker.messages()]


def test_a_guest_is_heard_in_the_room(hub: HubInMemory, port: Port) -> None:
    alice = hub.join("alice", "lobby")
    port.receive("你好".encode())
    port.receive(b"anybody?")
    assert lines(alice) == [("127.0.0.1:54321", "你好"), ("127.0.0.1:54321", "anybody?")]
    assert hub.hub.members.names_in("lobby") == ("127.0.0.1:54321", "alice")
    assert port.wire.sent == []


def test_an_answer_is_one_bare_datagram(hub: HubInMemory, port: Port) -> None:
    alice = hub.join("alice", "lobby")
    port.receive(b"hello")
    alice.say(1, "for all")
    alice.say(2, "for you: 你", to="@127.0.0.1:54321")
    assert port.wire.sent == [("for you: 你".encode(), GUEST)]


def test_two_guests(hub: HubInMemory, port: Port) -> None:
    alice = hub.join("alice", "lobby")
    other = ("::1", 9, 0, 0)
    port.receive(b"one")
    port.guests.datagramReceived(b"two", other)  # type: ignore[arg-type]  # IPv6 has more to say
    hub.memory.flush()
    assert lines(alice) == [("127.0.0.1:54321", "one"), ("[::1]:9", "two")]
    alice.say(1, "answer", to="@[::1]:9")
    assert port.wire.sent == [(b"answer", ("::1", 9))]


def test_who_is_silent_is_forgotten(hub: HubInMemory) -> None:
    port = Port(hub, silence_seconds=10.0)
    port.receive(b"one")
    hub.memory.advance(9.0)
    port.receive(b"two")
    hub.memory.advance(9.0)
    assert port.guests.count == 1
    hub.memory.advance(2.0)
    assert port.guests.count == 0
    assert hub.hub.members.names_in("lobby") == ()
    port.receive(b"again")
    assert port.connected == ["127.0.0.1:54321"] * 2
    port.guests.close()
    hub.memory.flush()


def test_too_many(hub: HubInMemory) -> None:
    port = Port(hub, max_guests=2)
    for number in (1, 2, 3):
        port.receive(b"hello", ("127.0.0.1", number))
    assert port.connected == ["127.0.0.1:1", "127.0.0.1:2"]
    port.guests.close()
    hub.memory.flush()


@pytest.mark.parametrize("datagram", [b"\xff\xfe", "你".encode("gbk"), b""])
def test_what_is_no_text(hub: HubInMemory, port: Port, datagram: bytes) -> None:
    alice = hub.join("alice", "lobby")
    port.receive(datagram)
    assert port.connected == []
    port.receive(b"text")
    assert lines(alice) == [("127.0.0.1:54321", "text")]


def test_a_flood() -> None:
    with HubInMemory(messages_per_second=10.0, messages_at_once=5) as hub:
        port = Port(hub)
        alice = hub.join("alice", "lobby")
        for number in range(3 * MAX_WAITING):
            port.receive(str(number).encode())
        hub.memory.advance(60.0)
        texts = [text for _, text in lines(alice)]
        assert texts == [str(number) for number in range(len(texts))]
        assert MAX_WAITING <= len(texts) <= MAX_WAITING + 10
        port.guests.close()
        hub.memory.flush()


def test_an_answer_that_is_too_long(hub: HubInMemory, port: Port) -> None:
    alice = hub.join("alice", "lobby")
    port.receive(b"hello")
    alice.say(1, "中" * 21_840, to="@127.0.0.1:54321")
    ((data, _),) = port.wire.sent
    assert MAX_DATAGRAM_BYTES - 3 < len(data) <= MAX_DATAGRAM_BYTES
    assert set(data.decode()) == {"中"}


def test_an_answer_that_cannot_be_sent(hub: HubInMemory, port: Port) -> None:
    alice = hub.join("alice", "lobby")
    port.receive(b"hello")
    port.wire.error = OSError(111, "Connection refused")
    alice.say(1, "one", to="@127.0.0.1:54321")
    port.wire.error = None
    alice.say(2, "two", to="@127.0.0.1:54321")
    assert port.wire.sent == [(b"two", GUEST)]


def test_names() -> None:
    assert name_of(("127.0.0.1", 7)) == "127.0.0.1:7"
    assert name_of(("fe80::1", 7)) == "[fe80::1]:7"


def test_who_is_let_go_by_the_hub_may_come_again(hub: HubInMemory, port: Port) -> None:
    port.receive(b"hello")
    hub.memory.server.reconsider(lambda identity: None)
    hub.memory.advance(0.1)
    assert port.guests.count == 0
    alice = hub.join("alice", "lobby", identity=somebody("alice"))
    port.receive(b"back")
    assert lines(alice)[-1:] == [("127.0.0.1:54321", "back")]
