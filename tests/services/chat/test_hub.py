"""The hub: who gets what, once and in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sockserv.chat.arguments import MAX_TEXT_BYTES
from sockserv.chat.errors import TooManyMembers, TooManyRooms
from sockserv.chat.facts import PresenceState
from sockserv.chat.lines import (
    Accepted,
    Command,
    Enter,
    Entered,
    Joined,
    Leave,
    Left,
    MessageEvent,
    PresenceEvent,
    Received,
    Refused,
    Say,
    Slowed,
    Undelivered,
)
from sockserv.errors import InvalidArgument, Unavailable
from sockserv.services.chat.carrier import MAX_LINE_BYTES
from sockserv.testing import Link
from tests.services.chat.talking import HubInMemory, Talker, somebody


@pytest.fixture
def hub() -> Iterator[HubInMemory]:
    with HubInMemory() as hub:
        yield hub


def failure(hub: HubInMemory, talker: Talker) -> Exception:
    """What a session has ended with."""
    try:
        hub.memory.run(talker.call.result())
    except Exception as error:
        return error
    raise AssertionError("the session has ended well")


class TestRooms:
    def test_everybody_in_it_gets_what_is_said(self, hub: HubInMemory) -> None:
        alice, bob = hub.join("alice", "lobby"), hub.join("bob", "Lobby")
        carol = hub.join("carol")
        alice.say(1, "one")
        alice.say(2, "two")
        (first, second) = bob.messages()
        assert (first.text, first.sender, first.to, first.number) == ("one", "alice", "lobby", 1)
        assert (second.text, second.id) == ("two", first.id + 1)
        assert alice.accepted() == [(1, first.id), (2, second.id)]
        assert carol.take() == []

    def test_all_devices_but_the_one_that_says_it(self, hub: HubInMemory) -> None:
        phone = hub.join("alice", "lobby")
        desk = hub.join("alice", "lobby", device="desk")
        phone.say(1)
        assert desk.texts() == ["hello"]
        assert phone.texts() == []

    def test_coming_and_going(self, hub: HubInMemory) -> None:
        alice = hub.join("alice", "lobby")
        bob = hub.join("bob", "lobby")
        assert alice.take() == [Entered("lobby", "bob")]
        bob.do(Enter("Other"), Leave("lobby"))
        assert bob.take() == [Entered("other", "bob", ("bob",)), Left("lobby", "bob")]
        assert alice.take() == [Left("lobby", "bob")]
        bob.do(Enter("lobby"))
        bob.hang_up()
        assert alice.take() == [Entered("lobby", "bob"), Left("lobby", "bob")]

    def test_a_second_device_is_no_second_member(self, hub: HubInMemory) -> None:
        alice = hub.join("alice", "lobby")
        hub.join("bob", "lobby")
        desk = hub.join("bob", "lobby", device="desk")
        alice.take()
        desk.hang_up()
        assert alice.take() == []

    def test_who_enters_later_gets_what_is_new(self, hub: HubInMemory) -> None:
        alice, bob = hub.join("alice", "lobby"), hub.join("bob")
        alice.say(1, "before")
        bob.do(Enter("lobby"))
        alice.say(2, "after")
        assert bob.texts() == ["after"]

    def test_what_one_may_not_enter(self, hub: HubInMemory) -> None:
        bob = hub.join("bob", identity=somebody("bob", "lobby"))
        bob.do(Enter("secret"), Enter("lobby"))
        refused, entered = bob.take()
        assert isinstance(refused, Refused)
        assert refused.code == "chat.no-room"
        assert entered == Entered("lobby", "bob", ("bob",))

    def test_what_one_has_not_entered(self, hub: HubInMemory) -> None:
        alice = hub.join("alice")
        alice.say(1)
        (refused,) = alice.take_only(Refused)
        assert (refused.code, refused.number) == ("chat.not-in-room", 1)

    def test_the_first_event(self, hub: HubInMemory) -> None:
        alice = hub.join("alice", "lobby")
        alice.say(5)
        bob = hub.start_joining("bob", "lobby", "lobby")
        (joined, *_) = bob.take()
        assert isinstance(joined, Joined)
        assert (joined.identity, joined.next_number, joined.last_id) == ("bob", 1, 1)
        (room,) = joined.rooms
        assert (room.name, room.members, room.unread) == ("lobby", ("alice", "bob"), 1)
        again = hub.start_joining("alice", device="phone")
        (joined, *_) = again.take()
        assert isinstance(joined, Joined)
        assert joined.next_number == 6


class TestDirectMessages:
    def test_both_sides(self, hub: HubInMemory) -> None:
        alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
        desk = hub.join("alice", device="desk")
        carol = hub.join("carol", "lobby")
        alice.say(1, "psst", to="@bob")
        (got,) = bob.messages()
        assert (got.text, got.to, got.sender) == ("psst", "@alice", "alice")
        (copy,) = desk.messages()
        assert (copy.text, copy.to, copy.sender) == ("psst", "@bob", "alice")
        assert carol.texts() == []
        assert alice.texts() == []

    def test_to_nobody(self, hub: HubInMemory) -> None:
        alice = hub.join("alice")
        alice.say(1, to="@nobody")
        (refused,) = alice.take_only(Refused)
        assert (refused.code, refused.number) == ("chat.no-member", 1)

    def test_mail_for_who_is_away(self, hub: HubInMemory) -> None:
        alice = hub.join("alice", "lobby")
        alice.say(1, "first", to="@bob")
        alice.say(2, "for all")
        alice.say(3, "second", to="@bob")
        assert alice.delivered() == []
        bob = hub.join("bob", "lobby")
        hub.memory.flush()
        assert [message.text for message in _messages(bob)] == ["first", "second"]
        assert alice.delivered() == [(1, ("bob",)), (3, ("bob",))]

    def test_mail_is_delivered_once(self, hub: HubInMemory) -> None:
        alice, bob = hub.join("alice"), hub.join("bob")
        alice.say(1, to="@bob")
        assert bob.texts() == ["hello"]
        hub.memory.advance(0.1)
        bob.hang_up()
        desk = hub.join("bob", device="desk")
        assert _messages(desk) == []

    def test_mail_that_was_not_acknowledged_comes_again(self, hub: HubInMemory) -> None:
        alice, bob = hub.join("alice"), hub.join("bob")
        alice.say(1, to="@bob")
        assert len(bob.take_only(MessageEvent)) == 1
        bob.hang_up()
        assert len(_messages(hub.join("bob"))) == 1


def _messages(talker: Talker) -> list[Any]:
    """All messages that have come, those of the beginning included; they are acknowledged."""
    talker.take()
    found = [event.message for event in talker.events if isinstance(event, MessageEvent)]
    if found:
        talker.do(Received(found[-1].id))
    return found


class TestOnce:
    def test_a_message_that_is_sent_again(self, hub: HubInMemory) -> None:
        alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
        alice.say(1, "one")
        alice.hang_up()
        alice = hub.join("alice", "lobby")
        alice.say(1, "one")
        alice.say(2, "two")
        assert bob.texts() == ["one", "two"]
        assert alice.accepted() == [(1, 1), (2, 2)]

    def test_a_device_that_comes_back(self, hub: HubInMemory) -> None:
        alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
        alice.say(1, "one")
        (one,) = bob.messages()
        bob.hang_up()
        alice.say(2, "two")
        alice.say(3, "three", to="@bob")
        bob = hub.join("bob", "lobby", after=one.id)
        alice.say(4, "four")
        assert [message.text for message in _messages(bob)] == ["two", "three", "four"]

    def test_the_same_device_twice(self, hub: HubInMemory) -> None:
        first = hub.join("alice", "lobby")
        second = hub.join("alice", "lobby")
        error = failure(hub, first)
        assert isinstance(error, Unavailable)
        assert "joined from elsewhere" in str(error)
        bob = hub.join("bob", "lobby")
        bob.say(1)
        assert second.texts() == ["hello"]


class TestDelivery:
    def test_who_has_it(self, hub: HubInMemory) -> None:
        alice, bob, carol = (hub.join(name, "lobby") for name in ("alice", "bob", "carol"))
        alice.say(1)
        assert alice.delivered() == []
        bob.messages()
        carol.messages()
        assert alice.delivered() == [(1, ("bob", "carol"))]
        assert alice.delivered() == []

    def test_a_device_that_lies(self, hub: HubInMemory) -> None:
        alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
        bob.do(Received(2**53 - 1))
        alice.say(1)
        assert alice.delivered() == []
        bob.messages()
        assert alice.delivered() == [(1, ("bob",))]

    def test_what_nobody_fetches(self) -> None:
        with HubInMemory(history_seconds=1000.0) as hub:
            alice = hub.join("alice")
            alice.say(1, to="@bob")
            hub.memory.advance(1700.0)
            (undelivered,) = alice.take_only(Undelivered)
            assert (undelivered.id, undelivered.to) == (1, ("bob",))


class TestSlowDevices:
    def test_what_does_not_fit_waits_in_the_store(self) -> None:
        with HubInMemory(max_unreceived=10, messages_at_once=1000) as hub:
            alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
            for number in range(1, 301):
                alice.say(number, str(number))
            texts: list[str] = []
            while got := bob.messages():
                assert len(got) <= 10
                texts += [message.text for message in got]
            assert texts == [str(number) for number in range(1, 301)]
            alice.say(301, "301")
            assert bob.texts() == ["301"]

    def test_large_messages(self) -> None:
        with HubInMemory(messages_at_once=1000) as hub:
            alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
            said = [f"{number} {'x' * 60_000}" for number in range(1, 51)]
            for number, text in enumerate(said, 1):
                alice.say(number, text)
            texts: list[str] = []
            while got := bob.messages():
                assert len(got) < 20
                texts += [message.text for message in got]
            assert texts == said

    def test_who_acknowledges_what_it_does_not_take_is_sent_no_more(self) -> None:
        with HubInMemory(max_unreceived=10, messages_at_once=10_000) as hub:
            link = Link()
            bob = hub.join("bob", "lobby", link=link)
            link.to_client.stall()
            alice = hub.join("alice", "lobby")
            member = hub.hub.members.get("bob")
            assert member is not None
            for number in range(1, 400):
                alice.say(number, "x" * 20_000)
                alice.take()
                bob.do(Received(2**53 - 1))
                assert member.devices["phone"].carrier.waiting <= 20
            link.to_client.resume()
            hub.memory.flush()
            numbers: list[int] = []
            while got := bob.messages():
                numbers += [message.number for message in got]
            assert numbers == list(range(1, 400))

    def test_who_takes_nothing_has_to_join_again(self) -> None:
        with HubInMemory(max_notices=20, messages_at_once=1_000_000) as hub:
            link = Link()
            bob = hub.join("bob", "lobby", link=link)
            link.to_client.stall()
            alice = hub.join("alice")
            names = hub.hub.members.names_in
            # The windows on the way take many; what waits in the hub has a bound.
            back_and_forth: list[Command] = [Enter("lobby"), Leave("lobby")]
            while "bob" in names("lobby"):
                alice.do(*back_and_forth * 100)
                alice.take()
            link.to_client.resume()
            hub.memory.flush()
            bob.take()
            assert isinstance(failure(hub, bob), Unavailable)

    def test_too_fast(self) -> None:
        with HubInMemory(messages_per_second=10.0, messages_at_once=6) as hub:
            alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
            for number in range(1, 10):
                alice.say(number)
            assert len(bob.messages()) == 5
            assert alice.take_only(Slowed) == [Slowed(0.1)]
            hub.memory.advance(0.4)
            assert len(bob.messages()) == 4

    def test_joining_all_the_time(self) -> None:
        with HubInMemory(messages_per_second=1.0, messages_at_once=2) as hub:
            hub.join("alice", "lobby")
            bob = hub.join("bob", *["lobby"] * 64, device="a")
            hub.join("bob", device="b")
            third = hub.start_joining("bob", "lobby", device="c")
            assert third.take() == []
            hub.memory.advance(1.0)
            assert isinstance(third.take()[0], Joined)
            assert bob.take() == []

    def test_coming_and_going_all_the_time_throws_nobody_else_out(self) -> None:
        with HubInMemory(max_notices=20, messages_at_once=11) as hub:
            alice, bob = hub.join("alice", "lobby"), hub.join("bob")
            back_and_forth: list[Command] = [Enter("lobby"), Leave("lobby")]
            bob.do(*back_and_forth * 3000)
            assert len(alice.take()) == 10
            assert len(bob.take_only(Slowed)) == 1
            hub.memory.advance(10.0)
            assert hub.hub.members.is_there("alice")


class TestAnotherInThePlaceOfADevice:
    def test_in_fewer_rooms(self, hub: HubInMemory) -> None:
        alice = hub.join("alice", "lobby", "ops", "den")
        hub.join("bob", "den", device="desk")
        hub.join("bob", "lobby", "ops", "den")
        alice.take()
        hub.join("bob", "lobby", "pub")
        assert alice.take() == [Left("ops", "bob")]

    def test_that_is_refused(self) -> None:
        with HubInMemory(max_rooms_of_device=1) as hub:
            alice, _ = hub.join("alice", "lobby"), hub.join("bob", "lobby")
            alice.take()
            again = hub.start_joining("bob", "lobby", "ops")
            assert isinstance(failure(hub, again), TooManyRooms)
            assert alice.take() == [Left("lobby", "bob")]


class TestCommandsThatWait:
    """What a device says after one of them waits, too."""

    def test_for_their_turn(self) -> None:
        with HubInMemory(messages_per_second=10.0, messages_at_once=2) as hub:
            alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
            alice.do(
                Say(1, "lobby", "in it"), Leave("lobby"), Say(2, "lobby", "out"), Enter("lobby")
            )
            alice.do(Say(3, "lobby", "in it again"))
            hub.memory.advance(2.0)
            assert [event.number for event in alice.take_only(Refused)] == [2]
            assert bob.texts() == ["in it", "in it again"]

    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_for_the_disk(self, count: int) -> None:
        with HubInMemory(max_unstored=2) as hub:
            alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
            hub.thread_seconds = 1.0
            alice.do(*[Say(number, "lobby", str(number)) for number in range(1, count + 1)])
            hub.memory.advance(0.5)
            assert bob.texts() == []
            hub.memory.advance(10.0)
            assert bob.texts() == [str(number) for number in range(1, count + 1)]
            assert [number for number, _ in alice.accepted()] == [*range(1, count + 1)]
            hub.thread_seconds = 0.0

    def test_who_goes_meanwhile(self) -> None:
        with HubInMemory(messages_per_second=1.0, messages_at_once=2) as hub:
            alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
            for number in range(1, 4):
                alice.say(number, str(number))
            alice.hang_up()
            hub.memory.advance(10.0)
            assert bob.texts() == ["1"]


class TestPresence:
    def test_away_and_back(self, hub: HubInMemory) -> None:
        alice, bob, carol = hub.join("alice", "lobby"), hub.join("bob", "lobby"), hub.join("carol")
        hub.memory.run(bob.client.call("chat.away", {"text": "lunch"}))
        (event,) = alice.take_only(PresenceEvent)
        assert (event.presence.name, event.presence.state) == ("bob", PresenceState.AWAY)
        assert event.presence.text == "lunch"
        hub.memory.run(bob.client.call("chat.away"))
        (event,) = alice.take_only(PresenceEvent)
        assert event.presence.state is PresenceState.ONLINE
        assert (bob.take_only(PresenceEvent), carol.take_only(PresenceEvent)) == ([], [])


class TestGuests:
    def test_nothing_is_left_of_one_who_has_gone(self, hub: HubInMemory) -> None:
        alice = hub.join("alice", "lobby")
        guest = hub.join("127.0.0.1:5000", "lobby")
        guest.hang_up()
        assert alice.take()[-1] == Left("lobby", "127.0.0.1:5000")
        assert [member.name for member in hub.hub.members] == ["alice"]
        hub.join("127.0.0.1:5000", "lobby")
        assert hub.hub.members.is_there("127.0.0.1:5000")


class TestLimits:
    def test_devices_of_one(self) -> None:
        with HubInMemory(max_devices_of_identity=2) as hub:
            hub.join("alice", device="a")
            hub.join("alice", device="b")
            assert isinstance(failure(hub, hub.start_joining("alice", device="c")), TooManyMembers)
            hub.join("alice", device="b")
            hub.join("bob")

    def test_devices(self) -> None:
        with HubInMemory(max_devices=2) as hub:
            alice = hub.join("alice")
            hub.join("bob")
            assert isinstance(failure(hub, hub.start_joining("carol")), TooManyMembers)
            alice.hang_up()
            hub.join("carol")

    def test_rooms_of_a_device(self) -> None:
        with HubInMemory(max_rooms_of_device=2) as hub:
            alice = hub.join("alice", "a", "b")
            alice.do(Enter("c"))
            (refused,) = alice.take_only(Refused)
            assert refused.code == TooManyRooms.code
            alice.do(Leave("a"), Enter("c"))
            assert alice.take_only(Refused) == []
            assert isinstance(failure(hub, hub.start_joining("bob", "a", "b", "c")), TooManyRooms)
            assert alice.take_only(Entered) == []

    def test_rooms(self) -> None:
        with HubInMemory(max_rooms=1) as hub:
            alice = hub.join("alice", "a")
            alice.do(Enter("b"))
            assert [refused.code for refused in alice.take_only(Refused)] == [TooManyRooms.code]
            alice.do(Leave("a"), Enter("b"))
            assert alice.take_only(Refused) == []

    @pytest.mark.parametrize(
        ("text", "is_taken"),
        [
            ("", False),
            ("x", True),
            ("x" * MAX_TEXT_BYTES, True),
            ("\x00" * MAX_TEXT_BYTES, True),
            ("x" * (MAX_TEXT_BYTES + 1), False),
            ("中" * (MAX_TEXT_BYTES // 3), True),
            ("中" * (MAX_TEXT_BYTES // 3 + 1), False),
        ],
        ids=lambda value: str(len(value)) if isinstance(value, str) else value,
    )
    def test_texts(self, hub: HubInMemory, text: str, is_taken: bool) -> None:
        alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
        alice.say(1, text)
        events = alice.take()
        assert [type(event) for event in events] in (
            [Entered, Accepted],
            [Accepted],
        ) or not is_taken
        assert bob.texts() == ([text] if is_taken else [])
        if not is_taken:
            assert [event.code for event in events if isinstance(event, Refused)] == [
                "chat.bad-text"
            ]


class TestWhatIsNoCommand:
    @pytest.mark.parametrize("line", [b"nonsense\n", b"{}\n", b'{"type":"joined"}\n', b"\xff\n"])
    def test_it_ends_the_session(self, hub: HubInMemory, line: bytes) -> None:
        alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
        alice.send_raw(line)
        assert isinstance(failure(hub, alice), InvalidArgument)
        assert bob.take() == [Left("lobby", "alice")]

    def test_in_any_pieces(self, hub: HubInMemory) -> None:
        alice = hub.join("alice", "lobby")
        for byte in b'\n\n{"type":"say","number":1,"to":"lobby","text":"x"}\n':
            alice.send_raw(bytes([byte]))
        assert alice.accepted() == [(1, 1)]

    def test_without_an_end(self, hub: HubInMemory) -> None:
        alice = hub.join("alice")
        alice.send_raw(b" " * MAX_LINE_BYTES)
        assert alice.take() == []
        alice.send_raw(b" ")
        assert isinstance(failure(hub, alice), InvalidArgument)

    def test_leaving(self, hub: HubInMemory) -> None:
        alice = hub.join("alice", "lobby")
        alice.call.end()
        hub.memory.run(alice.call.result())
