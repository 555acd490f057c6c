"""What a device says and hears, whatever becomes of its connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.chat.arguments import MAX_TEXT_BYTES
from sockserv.chat.errors import BadName, MemberNotFound, NoSuchRoom, TextTooLong
from sockserv.chat.lines import Event
from sockserv.client import Client
from sockserv.client.chat import MailNotTaken, RoomSession, SentMessage, Session, Talk
from sockserv.client.chat.waiting import MAX_UNREAD, Waiting
from sockserv.errors import AuthenticationFailed, ConnectError, ConnectionEnded
from sockserv.testing import Link, RandomSizes
from tests.services.chat.talking import HubInMemory, somebody

T = TypeVar("T")


@pytest.fixture
def hub() -> Iterator[HubInMemory]:
    with HubInMemory(messages_at_once=10_000) as hub:
        yield hub


def result(hub: HubInMemory, deferred: Deferred[T]) -> T:
    return hub.memory.run(deferred)


def texts(hub: HubInMemory, place: RoomSession) -> list[str]:
    """What has been said at a place, and was not read."""
    found: list[str] = []

    async def read() -> None:
        async for message in place.messages():
            found.append(message.text)

    reading = Deferred.fromCoroutine(read())
    reading.addErrback(lambda failure: failure.trap(CancelledError))
    hub.memory.flush()
    reading.cancel()
    return found


def join(hub: HubInMemory, name: str, place: str = "lobby", *rooms: str) -> RoomSession:
    client = hub.memory.connect(somebody(name, *rooms))
    room = result(hub, client.chat.join(place))
    room.messages()
    return room


class TestOneConnection:
    def test_a_room(self, hub: HubInMemory) -> None:
        alice, bob = join(hub, "alice"), join(hub, "bob")
        sent = result(hub, alice.say("hello"))
        assert (sent.id, sent.state) == (1, "sent")
        assert texts(hub, bob) == ["hello"]
        hub.memory.advance(0.1)
        assert sent.state == "delivered to bob"
        assert bob.members == {"alice", "bob"}

    def test_a_member(self, hub: HubInMemory) -> None:
        alice, bob = join(hub, "alice", "@bob"), join(hub, "bob", "@alice")
        result(hub, alice.say("psst"))
        result(hub, bob.say("yes?"))
        assert (texts(hub, alice), texts(hub, bob)) == (["yes?"], ["psst"])

    def test_the_same_room_twice(self, hub: HubInMemory) -> None:
        client = hub.memory.connect(somebody("alice"))
        first, second = client.chat.join("Lobby"), client.chat.join("lobby")
        assert result(hub, first) is result(hub, second) is result(hub, client.chat.join("lobby"))

    def test_a_room_that_is_closed_to_us(self, hub: HubInMemory) -> None:
        room = join(hub, "alice", "lobby", "lobby")
        client = room._session
        with pytest.raises(NoSuchRoom):
            result(hub, client.enter("secret"))
        result(hub, room.say("still here"))

    def test_nobody(self, hub: HubInMemory) -> None:
        place = join(hub, "alice", "@nobody")
        with pytest.raises(MemberNotFound):
            result(hub, place.say("hello?"))
        result(hub, place._session.say("@bob", "hello"))

    @pytest.mark.parametrize(
        ("to", "text", "error"),
        [
            ("lobby", "", TextTooLong),
            ("lobby", "x" * (MAX_TEXT_BYTES + 1), TextTooLong),
            ("lobby", "x" * 1_000_000, TextTooLong),
            ("lobby", "\udc80", TextTooLong),
            ("x" * 10_000, "hello", BadName),
            ("@" + "x" * 10_000, "hello", BadName),
        ],
        ids=["empty", "too-long", "much-too-long", "no-text", "room", "member"],
    )
    def test_what_no_hub_takes_does_not_end_the_session(
        self, hub: HubInMemory, to: str, text: str, error: type[Exception]
    ) -> None:
        room = join(hub, "alice")
        with pytest.raises(error):
            result(hub, room._session.say(to, text))
        assert result(hub, room.say("x" * MAX_TEXT_BYTES)).id == 1

    def test_mail(self, hub: HubInMemory) -> None:
        alice = join(hub, "alice", "@bob")
        result(hub, alice.say("one"))
        result(hub, alice.say("two"))
        session = hub.memory.connect(somebody("bob")).chat.session()
        place = session.place("@alice")
        place.messages()
        assert texts(hub, place) == ["one", "two"]
        result(hub, alice.say("three"))
        assert texts(hub, place) == ["three"]
        assert session.last_id == 3

    def test_who_is_only_in_rooms_leaves_the_mail(self, hub: HubInMemory) -> None:
        alice = join(hub, "alice", "@bob")
        result(hub, alice.say("before"))
        room = join(hub, "bob", "lobby")
        result(hub, alice.say("meanwhile"))
        result(hub, alice._session.enter("lobby"))
        result(hub, alice._session.say("lobby", "hello"))
        assert texts(hub, room) == ["hello"]
        hub.memory.advance(1.0)
        with pytest.raises(MailNotTaken, match="what @alice says is mail"):
            result(hub, room._session.enter("@alice"))
        session = hub.memory.connect(somebody("bob")).chat.session()
        place = session.place("@alice")
        place.messages()
        assert texts(hub, place) == ["before", "meanwhile"]

    def test_the_mail_of_who_falls_behind_in_a_room_stays(self, hub: HubInMemory) -> None:
        alice = join(hub, "alice", "lobby")
        room = join(hub, "bob", "lobby")
        count = 3 * MAX_UNREAD
        for number in range(count):
            result(hub, alice.say(str(number)))
            result(hub, alice._session.say("@bob", str(number)))
        assert texts(hub, room) == [*map(str, range(count))]
        hub.memory.advance(1.0)
        session = hub.memory.connect(somebody("bob")).chat.session()
        place = session.place("@alice")
        place.messages()
        assert texts(hub, place) == [*map(str, range(count))]

    def test_a_connection_that_breaks_in_the_middle_of_the_mail(self, hub: HubInMemory) -> None:
        alice = join(hub, "alice")
        count = 2 * MAX_UNREAD
        for number in range(count):
            result(hub, alice._session.say("@bob", str(number)))
            result(hub, alice.say("before his time"))
        session = Session()
        heard: list[str] = []
        place, room = session.place("@alice"), session.place("lobby")
        place.messages()
        room.messages()
        entered, link = session.enter("lobby"), Link()
        for _ in range(2):
            client = hub.memory.connect(somebody("bob"), link=link)
            running = Deferred.fromCoroutine(session.run(client))
            running.addErrback(lambda failure: None)
            hub.memory.flush()
            if not heard:
                result(hub, entered)
                result(hub, alice.say("in his time"))
                link.cut()
                link = Link()
            heard += texts(hub, place)
        assert heard == [str(number) for number in range(count)]
        assert texts(hub, room) == ["in his time"]
        assert session.last_id == 2 * count + 1
        running.cancel()

    def test_a_connection_that_breaks_before_the_mail(self, hub: HubInMemory) -> None:
        alice = join(hub, "alice", "@bob")
        result(hub, alice.say("mail"))
        session = Session()
        place = session.place("@alice")
        place.messages()
        broken = Link(fragments=RandomSizes(1, max_bytes=8))
        session.joined().addCallback(lambda _: broken.cut())
        for link in (broken, Link()):
            client = hub.memory.connect(somebody("bob"), link=link)
            running = Deferred.fromCoroutine(session.run(client))
            running.addErrback(lambda failure: None)
            hub.memory.flush()
        result(hub, alice.say("more"))
        assert texts(hub, place) == ["mail", "more"]
        running.cancel()

    def test_a_hub_that_has_forgotten_everything(self, hub: HubInMemory) -> None:
        session = Session()
        room = session.place("lobby")
        room.messages()
        entered = session.enter("lobby")
        heard: list[list[str]] = []
        with HubInMemory() as other:
            for each, count in ((hub, 5), (other, 2)):
                alice = join(each, "alice")
                result(each, alice.say("before"))
                client = each.memory.connect(somebody("bob"))
                running = Deferred.fromCoroutine(session.run(client))
                running.addErrback(lambda failure: None)
                each.memory.flush()
                for number in range(count):
                    result(each, alice.say(str(number)))
                heard.append(texts(each, room))
                running.cancel()
        result(hub, entered)
        assert heard == [["0", "1", "2", "3", "4"], ["0", "1"]]

    def test_leaving(self, hub: HubInMemory) -> None:
        alice, bob = join(hub, "alice"), join(hub, "bob")
        bob.leave()
        hub.memory.flush()
        assert alice.members == {"alice"}
        result(hub, alice.say("gone?"))
        assert texts(hub, bob) == []

    def test_the_connection_ends(self, hub: HubInMemory) -> None:
        client = hub.memory.connect(somebody("alice"))
        room = result(hub, client.chat.join("lobby"))
        messages = room.messages()
        said = room.say("never heard")
        result(hub, client.close())
        hub.memory.flush()
        with pytest.raises(ConnectionEnded):
            result(hub, said)
        assert texts(hub, room) == []
        assert messages is room.messages()

    def test_who_does_not_read_keeps_nobody_else_waiting(self, hub: HubInMemory) -> None:
        alice, bob, carol = join(hub, "alice"), join(hub, "bob"), join(hub, "carol")
        count = 4 * MAX_UNREAD
        for number in range(count):
            result(hub, alice.say(str(number)))
            if number % 200 == 0:
                texts(hub, carol)
        everything = [str(number) for number in range(count)]
        assert hub.hub.members._members["bob"].received < count - MAX_UNREAD
        assert texts(hub, bob) == everything

    def test_waiting_for_a_delivery(self, hub: HubInMemory) -> None:
        alice = join(hub, "alice", "@bob")
        sent: SentMessage = result(hub, alice.say("hello"))
        delivery = Deferred.fromCoroutine(sent.delivery())
        join(hub, "bob", "@alice")
        hub.memory.flush()
        hub.memory.advance(0.1)
        result(hub, delivery)
        assert sent.delivered_to == {"bob"}


class Net:
    """Makes connections for somebody, and breaks them."""

    def __init__(self, hub: HubInMemory, name: str) -> None:
        self.hub = hub
        self.identity = somebody(name)
        self.links: list[Link] = []
        self.error: Exception | None = None
        self.lost: list[tuple[str, float]] = []
        self.session = Session(device="phone")
        self.talk = Talk(
            hub.memory.clock,
            self.session,
            self.connect,
            on_lost=lambda why, seconds: self.lost.append((type(why).__name__, seconds)),
            jitter=lambda: 1.0,
        )
        self.running = self.talk.run()
        self.running.addErrback(lambda failure: failure.trap(CancelledError, AuthenticationFailed))

    def connect(self) -> Deferred[Client]:
        if self.error is not None:
            done: Deferred[Client] = Deferred()
            done.errback(self.error)
            return done
        self.links.append(Link())
        return self.hub.memory.start_connecting(self.identity, link=self.links[-1])

    def enter(self, room: str = "lobby") -> RoomSession:
        place = result(self.hub, self.session.enter(room))
        place.messages()
        return place

    def cut(self) -> None:
        self.links[-1].cut()
        self.hub.memory.flush()


class TestManyConnections:
    def test_what_was_said_while_there_was_none(self, hub: HubInMemory) -> None:
        alice, bob = Net(hub, "alice"), join(hub, "bob")
        room = alice.enter()
        result(hub, room.say("one"))
        alice.cut()
        waiting = [room.say("two"), room.say("three")]
        hub.memory.advance(1.0)
        assert [result(hub, one).id for one in waiting] == [2, 3]
        assert texts(hub, bob) == ["one", "two", "three"]
        alice.running.cancel()

    def test_what_others_said_meanwhile(self, hub: HubInMemory) -> None:
        alice, bob = Net(hub, "alice"), join(hub, "bob")
        room = alice.enter()
        result(hub, bob.say("one"))
        alice.cut()
        result(hub, bob.say("two"))
        hub.memory.advance(1.0)
        result(hub, bob.say("three"))
        assert texts(hub, room) == ["one", "two", "three"]
        alice.running.cancel()

    @pytest.mark.parametrize("cut_after", range(0, 1200, 37))
    def test_cut_at_any_byte(self, hub: HubInMemory, cut_after: int) -> None:
        alice, bob = Net(hub, "alice"), Net(hub, "bob")
        room, heard = alice.enter(), bob.enter()
        for channel in (alice.links[-1].to_server, bob.links[-1].to_client):
            channel.cut_after(channel.delivered_bytes + cut_after)
        said = [room.say(str(number)) for number in range(8)]
        hub.memory.advance(2.0)
        assert [result(hub, one).number for one in said] == list(range(1, 9))
        hub.memory.advance(2.0)
        assert texts(hub, heard) == [str(number) for number in range(8)]
        alice.running.cancel()
        bob.running.cancel()

    def test_how_long_it_waits(self, hub: HubInMemory) -> None:
        alice = Net(hub, "alice")
        alice.enter()
        alice.error = ConnectError("nobody answers")
        alice.cut()
        hub.memory.advance(100.0)
        assert [seconds for _, seconds in alice.lost] == [
            0.5,
            1.0,
            2.0,
            4.0,
            8.0,
            16.0,
            30.0,
            30.0,
            30.0,
        ]
        alice.error = None
        hub.memory.advance(30.0)
        assert alice.session.is_joined
        alice.cut()
        assert alice.lost[-1] == ("ConnectionEnded", 0.5)
        alice.running.cancel()

    def test_what_no_other_try_would_change(self, hub: HubInMemory) -> None:
        alice = Net(hub, "alice")
        room = alice.enter()
        alice.error = AuthenticationFailed("the token was revoked")
        alice.cut()
        waiting = room.say("never")
        hub.memory.advance(1.0)
        with pytest.raises(AuthenticationFailed):
            result(hub, waiting)

    def test_all_events(self, hub: HubInMemory) -> None:
        alice = Net(hub, "alice")
        events: Waiting[Event] = alice.session.watch()
        alice.enter()
        join(hub, "bob").say("hi")
        hub.memory.flush()
        kinds: list[Any] = []

        async def read() -> None:
            async for event in events:
                kinds.append(type(event).__name__)

        Deferred.fromCoroutine(read())
        hub.memory.flush()
        assert kinds == ["Joined", "Entered", "MessageEvent"]
        alice.running.cancel()
        hub.memory.flush()
