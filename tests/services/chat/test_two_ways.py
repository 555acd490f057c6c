"""What a hub does with a device that goes two ways, and does not keep to the rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sockserv.chat.facts import DatagramSession
from sockserv.chat.lines import Joined, MessageEvent, Received, decode_event, encode_line
from sockserv.chat.ways import MAX_AHEAD_LINES, DatagramWay, TwoWays
from sockserv.client import Client, OutgoingCall
from sockserv.errors import CallError, InvalidArgument, NoRoom, Unavailable
from sockserv.testing import Link
from tests.services.chat.talking import HubInMemory, somebody

OFFERED = DatagramSession(
    host=None, port=7700, session="ab" * 8, to_hub_key="01" * 32, to_device_key="02" * 32
)


class Way:
    """The hub's end of the datagrams: what it has sent is in the hands of the test."""

    max_bytes = 1156

    def __init__(self, listener: TwoWays) -> None:
        self.listener = listener
        self.sent: list[bytes] = []
        self.is_closed = False

    def send(self, record: bytes) -> bool:
        self.sent.append(record)
        return True

    def close(self) -> None:
        self.is_closed = True


class HubWithWays(HubInMemory):
    def __init__(self) -> None:
        super().__init__(datagrams=self, messages_at_once=10**6)
        self.ways: list[Way] = []
        self.is_full = False

    def open(self, listener: TwoWays) -> tuple[DatagramWay, DatagramSession]:
        if self.is_full:
            raise NoRoom("the port has as many sessions as it may")
        self.ways.append(Way(listener))
        return self.ways[-1], OFFERED


@pytest.fixture
def hub() -> Iterator[HubWithWays]:
    hub = HubWithWays()
    with hub:
        yield hub


class Device:
    """One that writes its records by hand."""

    def __init__(self, hub: HubWithWays, name: str = "bob", *, link: Link | None = None) -> None:
        self.hub = hub
        self.client: Client = hub.memory.connect(somebody(name), link=link)
        arguments = {"device": "phone", "rooms": ["lobby"], "datagrams": True}
        self.call: OutgoingCall = hub.memory.run(self.client.open("chat.join", arguments))
        hub.memory.flush()
        self.way = hub.ways[-1] if hub.ways else None
        joined = decode_event(self.lines()[0])
        assert isinstance(joined, Joined)
        self.joined = joined

    def lines(self) -> list[bytes]:
        return self.hub.memory.read(self.call).splitlines()

    def send(self, *records: bytes) -> None:
        self.hub.memory.run(self.call.send(b"".join(record + b"\n" for record in records)))
        self.hub.memory.flush()

    def ends_with(self, kind: type[CallError]) -> None:
        with pytest.raises(kind):
            self.hub.memory.run(self.call.result())
        assert self.way is not None
        assert self.way.is_closed
        assert not self.hub.hub.members.is_there("bob")


class TestOffering:
    def test_what_is_offered(self, hub: HubWithWays) -> None:
        assert Device(hub).joined.datagrams == OFFERED

    def test_where_there_is_no_room(self, hub: HubWithWays) -> None:
        hub.is_full = True
        assert Device(hub).joined.datagrams is None

    def test_who_may_not_join(self, hub: HubWithWays) -> None:
        client = hub.memory.connect(somebody("bob", "lobby"))
        arguments = {"device": "phone", "rooms": ["secret"], "datagrams": True}
        call = hub.memory.run(client.open("chat.join", arguments))
        with pytest.raises(CallError):
            hub.memory.run(call.result())
        assert hub.ways[0].is_closed

    def test_the_connection_ends(self, hub: HubWithWays) -> None:
        device = Device(hub)
        hub.memory.run(device.client.close())
        hub.memory.flush()
        assert hub.ways[0].is_closed


def say(number: int) -> bytes:
    return b'%d 0 {"type":"say","number":%d,"to":"lobby","text":"hi"}' % (number, number)


BAD: list[bytes] = [
    b"hello",
    b"1 0 ",
    b"1 99 {}",
    b"1 0 {}",
    b"%d 0 x" % (MAX_AHEAD_LINES + 1),
    b'{"type":"say","number":1,"to":"lobby","text":"hi"}',
]


class TestBadDevices:
    @pytest.mark.parametrize("record", BAD)
    def test_over_the_connection(self, hub: HubWithWays, record: bytes) -> None:
        device = Device(hub)
        device.send(record)
        device.ends_with(InvalidArgument)

    @pytest.mark.parametrize("record", [*BAD, b"", b"\n", b"\xff" * 1000])
    def test_by_datagrams(self, hub: HubWithWays, record: bytes) -> None:
        device = Device(hub)
        hub.ways[0].listener.received(record)
        hub.memory.flush()
        device.ends_with(InvalidArgument)

    @pytest.mark.parametrize("record", BAD)
    def test_nothing_is_done_after_that(self, hub: HubWithWays, record: bytes) -> None:
        device, alice = Device(hub), hub.join("alice", "lobby")
        way = hub.ways[0].listener
        for each in (record, say(1), say(2), say(3)):
            way.received(each)
        device.ends_with(InvalidArgument)
        assert alice.messages() == []

    def test_the_same_line_by_both_ways(self, hub: HubWithWays) -> None:
        device, alice = Device(hub), hub.join("alice", "lobby")
        way = hub.ways[0].listener
        way.opened()
        for record in (say(2), say(1), say(2)):
            way.received(record)
        device.send(say(1), say(2), say(3))
        hub.memory.flush()
        assert [message.number for message in alice.messages()] == [1, 2, 3]

    def test_who_lies_about_what_was_taken_and_reads_nothing(self, hub: HubWithWays) -> None:
        """It could have the hub keep more and more for it: there is an end to that."""
        device, alice = Device(hub), hub.join("alice", "lobby")
        way = hub.ways[0].listener
        for number in range(1, 1000):
            alice.say(number, "x" * 60_000)
            hub.memory.flush()
            if not hub.hub.members.is_there("bob"):
                break
            last = number
            command = encode_line(Received(number))
            way.received(b"%d %d %b" % (number, last, command))
            hub.memory.flush()
        assert last < 150
        device.ends_with(Unavailable)

    def test_a_message_is_delivered_when_the_device_says_so(self, hub: HubWithWays) -> None:
        device, alice = Device(hub), hub.join("alice", "lobby")
        way = hub.ways[0]
        way.listener.opened()
        alice.say(1)
        hub.memory.flush()
        record = next(record for record in way.sent if b"hello" in record)
        way.listener.acknowledged(record)
        number, _, line = record.split(b" ", 2)
        event = decode_event(line)
        assert isinstance(event, MessageEvent)
        assert alice.delivered() == []
        device.send(b'1 %b {"type":"received","id":%d}' % (number, event.message.id))
        assert alice.delivered() == [(event.message.id, ("bob",))]
