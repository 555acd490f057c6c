"""What a chat at a terminal knows, and what it shows."""

from __future__ import annotations

import pytest

from sockserv.chat.facts import Message, Presence, PresenceState, Room
from sockserv.chat.lines import (
    Accepted,
    Entered,
    Joined,
    Left,
    MessageEvent,
    PresenceEvent,
    Slowed,
    Undelivered,
)
from sockserv.cli.talking.showing import Kind, Line
from sockserv.cli.talking.state import State
from sockserv.client.chat import SentMessage


def said(number: int, text: str = "hello", *, to: str = "lobby", by: str = "bob") -> Message:
    return Message(id=number, to=to, sender=by, device="d", number=1, text=text, at=0.0)


def heard(number: int, text: str = "hello", *, to: str = "lobby", by: str = "bob") -> MessageEvent:
    return MessageEvent(said(number, text, to=to, by=by))


def joined(*rooms: Room) -> Joined:
    return Joined("alice", next_number=1, last_id=0, rooms=rooms)


def unread(state: State) -> dict[str, int]:
    return dict(state.view.unread)


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


@pytest.fixture
def state() -> State:
    """Alice, in the lobby with bob."""
    state = State()
    state.take(joined(Room(name="lobby", members=("alice", "bob"))))
    assert state.go("lobby")
    state.arrive()
    return state


def sent(text: str = "hello", *, number: int = 7) -> SentMessage:
    message = SentMessage(1, "lobby", text)
    message.id = number
    return message


class TestMessages:
    def test_where_one_is(self, state: State) -> None:
        (line,) = state.take(heard(1, "hi"))
        assert (line.kind, line.text, line.sender, line.to) == (Kind.MESSAGE, "hi", "bob", "")
        assert not line.is_own
        assert unread(state) == {}

    def test_in_another_room(self, state: State) -> None:
        assert state.take(heard(1, to="ops")) == []
        assert state.take(heard(2, to="ops")) == []
        assert unread(state) == {"ops": 2}
        state.go("ops")
        assert texts(state.arrive([said(1, "one"), said(2, "two")])) == ["one", "two"]
        assert unread(state) == {}

    def test_to_oneself_is_shown_anywhere(self, state: State) -> None:
        (line,) = state.take(heard(1, to="@bob"))
        assert (line.sender, line.to) == ("bob", "you")
        state.go("@bob")
        state.arrive([said(1, to="@bob")])
        (line,) = state.take(heard(2, to="@bob"))
        assert line.to == ""

    def test_of_another_device_of_ours(self, state: State) -> None:
        (line,) = state.take(heard(1, by="alice"))
        assert line.is_own
        (line,) = state.take(heard(2, by="alice", to="@bob"))
        assert line.is_own
        assert line.to == "@bob"
        assert state.take(heard(3, by="alice", to="ops")) == []
        assert unread(state) == {}

    def test_while_the_history_is_on_its_way_none_is_shown_twice(self, state: State) -> None:
        assert state.go("ops")
        assert state.take(heard(5, "five", to="ops")) == []
        assert state.take(heard(6, "six", to="ops")) == []
        history = [said(number, str(number), to="ops") for number in (3, 4, 5)]
        assert texts(state.arrive(history)) == ["3", "4", "5", "six"]
        assert texts(state.take(heard(7, "seven", to="ops"))) == ["seven"]

    def test_what_was_missed_since(self, state: State) -> None:
        state.go("ops")
        state.arrive()
        state.take(heard(1, "one", to="lobby"))
        assert not state.go("lobby")
        assert texts(state.arrive()) == ["one"]

    def test_more_was_missed_than_is_kept(self, state: State) -> None:
        state.go("ops")
        state.arrive()
        for number in range(1, 1001):
            state.take(heard(number, str(number)))
        assert unread(state) == {"lobby": 1000}
        state.go("lobby")
        first, *rest = texts(state.arrive())
        assert first == "800 more before that: /history"
        assert rest == [str(number) for number in range(801, 1001)]

    def test_what_has_been_read(self, state: State) -> None:
        state.take(heard(1))
        state.take(heard(2))
        state.take(heard(3, to="ops"))
        assert state.to_note() == [("lobby", 2)]
        assert state.to_note() == []
        state.take(heard(4))
        assert state.to_note() == [("lobby", 4)]


class TestOnesOwn:
    def test_on_the_way_then_stored_then_delivered(self, state: State) -> None:
        (line,) = state.said("lobby", "hello", at=0.0)
        assert (line.sender, line.is_own, line.to) == ("alice", True, "")
        assert state.view.outlook == "1 on the way"
        assert state.waiting == 1
        message = sent()
        state.stored(message)
        assert state.take(Accepted(1, 7)) == []
        assert (state.view.outlook, state.waiting) == ("sent", 0)
        message.delivered_to |= {"bob"}
        assert state.view.outlook == "delivered to bob"
        message.delivered_to |= {"b", "c", "d", "e"}
        assert state.view.outlook == "delivered to b, bob, c and 2 more"

    def test_undelivered_and_why(self, state: State) -> None:
        state.said("@bob", "a long story", at=0.0)
        message = sent("a long\nstory" + "!" * 100)
        state.stored(message)
        message.undelivered["bob"] = "gone"
        (line,) = state.take(Undelivered(7, ("bob",), "it was not \x1b[2J fetched"))
        assert line.kind is Kind.ERROR
        assert line.text.startswith("not delivered to bob, as it was not \\x1b[2J fetched: “a long")
        assert len(line.text) < 90
        assert state.view.outlook == "undelivered to bob"

    def test_undelivered_of_long_ago(self, state: State) -> None:
        (line,) = state.take(Undelivered(3, ("bob",), "he was away"))
        assert line.text == "not delivered to bob, as he was away"

    def test_refused(self, state: State) -> None:
        state.said("@nobody", "hello", at=0.0)
        (line,) = state.refused("hello", "there is nobody called nobody")
        assert line.text == "not sent, as there is nobody called nobody: “hello”"
        assert state.waiting == 0

    def test_being_slowed_is_said_once(self, state: State) -> None:
        state.said("lobby", "1", at=0.0)
        state.said("lobby", "2", at=0.0)
        assert len(state.take(Slowed(1.25))) == 1
        state.stored(sent())
        assert state.take(Slowed(1.25)) == []
        state.stored(sent())
        state.said("lobby", "3", at=0.0)
        assert len(state.take(Slowed(1.25))) == 1


class TestPeople:
    def test_who_comes_and_goes(self, state: State) -> None:
        assert texts(state.take(Entered("lobby", "carol"))) == ["carol is here"]
        assert state.view.crowd == "with bob, carol"
        assert texts(state.take(Left("lobby", "carol"))) == ["carol has left"]
        assert state.take(Entered("ops", "carol")) == []
        assert state.take(Left("nowhere", "carol")) == []
        assert state.take(Entered("lobby", "alice", ("alice", "bob"))) == []
        state.take(Left("lobby", "bob"))
        assert state.view.crowd == "nobody else here"

    def test_a_crowd_comes_and_goes_in_silence(self, state: State) -> None:
        shown = [state.take(Entered("lobby", f"guest{number}")) for number in range(100)]
        assert [] in shown
        assert sum(map(len, shown)) < 50
        assert state.view.crowd == "with bob, guest0, guest1 and 98 more"

    @pytest.mark.parametrize(
        ("presence", "words"),
        [
            (PresenceState.AWAY, ["bob is away: lunch\\x07"]),
            (PresenceState.ONLINE, ["bob is back"]),
            (PresenceState.GONE, []),
        ],
        ids=["away", "back", "gone"],
    )
    def test_away(self, state: State, presence: PresenceState, words: list[str]) -> None:
        event = PresenceEvent(Presence(name="bob", state=presence, since=0.0, text="lunch\x07"))
        assert texts(state.take(event)) == words

    def test_names_that_can_be_completed(self, state: State) -> None:
        state.know_people(["carol", "alice", "evil\u202e", "two words"])
        state.know_rooms(["ops"])
        assert state.view.names == ("bob", "carol")
        assert state.view.rooms == ("lobby", "ops")

    def test_only_so_many_names_are_known(self, state: State) -> None:
        for number in range(5000):
            state.take(Entered("ops", f"guest{number}"))
        assert len(state.view.names) == 1000
        assert "guest4999" in state.view.names


class TestConnections:
    def test_lost_and_back_are_said_once(self, state: State) -> None:
        assert len(state.lost("it was closed")) == 1
        assert state.lost("nobody listens") == []
        assert [state.view.is_connected] == [False]
        lobby = Room(name="lobby", members=("alice", "carol"))
        assert texts(state.take(joined(lobby))) == ["the connection is back"]
        assert state.view.is_connected
        assert state.view.crowd == "with carol"


class TestLeaving:
    def test_another_place_is_next(self, state: State) -> None:
        state.go("ops")
        state.arrive()
        state.leave("ops")
        here = [state.here]
        state.leave("lobby")
        assert [*here, state.here] == ["lobby", ""]
        assert state.view.crowd == "nowhere: /join ROOM"

    def test_another_one(self, state: State) -> None:
        state.take(heard(1, to="ops"))
        state.leave("ops")
        assert (state.here, unread(state)) == ("lobby", {})
