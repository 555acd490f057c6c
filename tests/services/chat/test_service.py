"""What can be asked of a chat without having joined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from sockserv.chat.arguments import MAX_HISTORY_COUNT, MAX_TEXT_BYTES
from sockserv.chat.errors import BadName, MemberNotFound, NoSuchRoom, TextTooLong, TooFast
from sockserv.client import Client
from sockserv.errors import InvalidArgument, PermissionDenied, Unavailable
from sockserv.trust import Identity
from tests.services.chat.talking import HubInMemory, somebody


@pytest.fixture
def hub() -> Iterator[HubInMemory]:
    with HubInMemory() as hub:
        yield hub


def connect(hub: HubInMemory, name: str, *rooms: str) -> Client:
    return hub.memory.connect(somebody(name, *rooms))


def ask(hub: HubInMemory, client: Client, op: str, **arguments: Any) -> list[dict[str, Any]]:
    """The lines of an answer."""
    reply = hub.memory.run(client.call(f"chat.{op}", arguments))
    return [json.loads(line) for line in reply.body.splitlines()]


def send(
    hub: HubInMemory, client: Client, number: int, text: str = "hello", to: str = "lobby"
) -> int:
    arguments = {"device": "d", "number": number, "to": to, "text": text}
    reply = hub.memory.run(client.call("chat.send", arguments))
    return int(reply.result["id"])


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [message["text"] for message in messages]


class TestSending:
    def test_a_message(self, hub: HubInMemory) -> None:
        bob = hub.join("bob", "lobby")
        alice = connect(hub, "alice")
        assert [send(hub, alice, 1, "one"), send(hub, alice, 2, "two")] == [1, 2]
        assert bob.texts() == ["one", "two"]

    def test_again(self, hub: HubInMemory) -> None:
        bob = hub.join("bob", "lobby")
        alice = connect(hub, "alice")
        assert [send(hub, alice, 1), send(hub, alice, 1)] == [1, 1]
        assert bob.texts() == ["hello"]

    @pytest.mark.parametrize(
        ("to", "text", "error"),
        [
            ("secret", "x", NoSuchRoom),
            ("@nobody", "x", MemberNotFound),
            ("no room", "x", BadName),
            ("lobby", "", TextTooLong),
            ("", "x", InvalidArgument),
        ],
    )
    def test_what_is_refused(
        self, hub: HubInMemory, to: str, text: str, error: type[Exception]
    ) -> None:
        alice = connect(hub, "alice", "lobby")
        with pytest.raises(error):
            send(hub, alice, 1, text, to)
        assert send(hub, alice, 1) == 1

    def test_too_fast(self) -> None:
        with HubInMemory(messages_per_second=1.0, messages_at_once=2) as hub:
            alice = connect(hub, "alice")
            send(hub, alice, 1)
            send(hub, alice, 2)
            with pytest.raises(TooFast) as raised:
                send(hub, alice, 3)
            assert raised.value.details == {"seconds": 1.0}

    def test_who_asks_too_often_is_not_kept_out_by_that(self) -> None:
        with HubInMemory(messages_per_second=1.0, messages_at_once=1) as hub:
            alice = connect(hub, "alice")
            send(hub, alice, 1)
            for _ in range(100):
                with pytest.raises(TooFast):
                    send(hub, alice, 2)
            hub.memory.advance(1.0)
            assert send(hub, alice, 2) == 2

    def test_away_and_back_all_the_time(self) -> None:
        with HubInMemory(messages_at_once=5) as hub:
            alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
            alice.take()
            for text in ("a", "b", "c", "d"):
                hub.memory.run(bob.client.call("chat.away", {"text": text}))
            with pytest.raises(TooFast):
                hub.memory.run(bob.client.call("chat.away", {"text": "e"}))
            assert len(alice.take()) == 4

    def test_the_sender_goes_while_it_is_stored(self, hub: HubInMemory) -> None:
        bob = hub.join("bob", "lobby")
        alice = connect(hub, "alice")
        hub.thread_seconds = 1.0
        arguments = {"device": "d", "number": 1, "to": "lobby", "text": "x"}
        call = hub.memory.run(alice.open("chat.send", arguments, end=True))
        hub.memory.flush()
        call.cancel()
        hub.memory.advance(2.0)
        hub.thread_seconds = 0.0
        assert bob.texts() == ["x"]

    def test_without_the_permission(self, hub: HubInMemory) -> None:
        with pytest.raises(PermissionDenied):
            send(hub, hub.memory.connect(Identity("eve", frozenset({"echo"}))), 1)


class TestLookingBack:
    def test_history(self, hub: HubInMemory) -> None:
        alice = connect(hub, "alice")
        for number in range(1, 6):
            send(hub, alice, number, str(number))
        assert texts(ask(hub, alice, "history", to="Lobby", count=2)) == ["4", "5"]
        assert texts(ask(hub, alice, "history", to="lobby", count=2, before=4)) == ["2", "3"]
        assert texts(ask(hub, alice, "history", to="lobby", after=3)) == ["4", "5"]

    @pytest.mark.parametrize(("count", "is_taken"), [(0, False), (1, True), (500, True)])
    def test_how_much(self, hub: HubInMemory, count: int, is_taken: bool) -> None:
        alice = connect(hub, "alice")
        send(hub, alice, 1)
        if is_taken:
            assert len(ask(hub, alice, "history", to="lobby", count=count)) == 1
        for wrong in (0, MAX_HISTORY_COUNT + 1):
            with pytest.raises(InvalidArgument):
                ask(hub, alice, "history", to="lobby", count=wrong)

    def test_large_messages(self, hub: HubInMemory) -> None:
        alice = connect(hub, "alice")
        said = [str(number) * 60_000 for number in range(1, 10)]
        for number, text in enumerate(said, 1):
            send(hub, alice, number, text)
        assert texts(ask(hub, alice, "history", to="lobby")) == said

    def test_what_two_have_said(self, hub: HubInMemory) -> None:
        alice, bob = connect(hub, "alice"), connect(hub, "bob")
        send(hub, alice, 1, "hi", to="@bob")
        send(hub, bob, 1, "ho", to="@alice")
        (first, second) = ask(hub, alice, "history", to="@bob")
        assert (first["to"], second["to"], second["sender"]) == ("@bob", "@bob", "bob")
        assert texts(ask(hub, bob, "history", to="@alice")) == ["hi", "ho"]
        assert ask(hub, connect(hub, "carol"), "history", to="@alice") == []

    def test_a_room_of_others(self, hub: HubInMemory) -> None:
        send(hub, connect(hub, "alice"), 1, to="secret")
        bob = connect(hub, "bob", "lobby")
        for op in ("history", "search", "read", "who"):
            arguments: dict[str, Any] = {"room" if op == "who" else "to": "secret"}
            arguments |= {"text": "hello"} if op == "search" else {}
            arguments |= {"id": 1} if op == "read" else {}
            with pytest.raises(NoSuchRoom):
                ask(hub, bob, op, **arguments)

    def test_search(self, hub: HubInMemory) -> None:
        alice = connect(hub, "alice")
        send(hub, alice, 1, "the boiler is hot")
        send(hub, alice, 2, "boiler, again", to="@bob")
        send(hub, alice, 3, "another boiler", to="secret")
        bob = connect(hub, "bob", "lobby")
        assert texts(ask(hub, bob, "search", text="boiler")) == [
            "the boiler is hot",
            "boiler, again",
        ]
        assert texts(ask(hub, bob, "search", text="boiler", to="@alice")) == ["boiler, again"]
        assert texts(ask(hub, bob, "search", text="boiler hot", to="lobby")) == [
            "the boiler is hot"
        ]
        assert ask(hub, connect(hub, "carol", "other"), "search", text="boiler") == []


class TestWhatThereIs:
    def test_one_search_after_the_other(self, hub: HubInMemory) -> None:
        alice, bob = connect(hub, "alice"), connect(hub, "bob")
        send(hub, alice, 1)
        hub.thread_seconds = 1.0
        first = hub.memory.run(alice.open("chat.search", {"text": "hello"}, end=True))
        hub.memory.flush()
        first.cancel()
        with pytest.raises(TooFast):
            hub.memory.run(alice.call("chat.search", {"text": "hello"}))
        hub.memory.advance(1.0)
        hub.thread_seconds = 0.0
        assert texts(ask(hub, alice, "search", text="hello")) == ["hello"]
        assert texts(ask(hub, bob, "search", text="hello")) == ["hello"]

    def test_rooms(self, hub: HubInMemory) -> None:
        alice = connect(hub, "alice")
        send(hub, alice, 1)
        send(hub, alice, 2, to="secret")
        hub.join("carol", "empty")
        bob = connect(hub, "bob", "lobby", "empty")
        empty, lobby = ask(hub, bob, "rooms")
        assert (lobby["name"], lobby["last_id"], lobby["unread"]) == ("lobby", 1, 1)
        assert (empty["name"], empty["members"], empty["last_id"]) == ("empty", ["carol"], 0)
        ask(hub, bob, "read", to="lobby", id=1)
        assert [room["unread"] for room in ask(hub, bob, "rooms")] == [0, 0]

    def test_who(self, hub: HubInMemory) -> None:
        hub.join("alice", "lobby")
        bob = hub.join("bob")
        bob.hang_up()
        carol = connect(hub, "carol")
        found = {one["name"]: one["state"] for one in ask(hub, carol, "who")}
        assert found == {"alice": "online", "bob": "gone"}
        assert [one["name"] for one in ask(hub, carol, "who", room="lobby")] == ["alice"]


@pytest.mark.parametrize(
    ("body", "is_taken"),
    [
        (b"hello", True),
        (b"\n" * MAX_TEXT_BYTES, True),
        (b"x" * (MAX_TEXT_BYTES + 1), False),
        (b"x" * 10_000_000, False),
        (b"\xff", False),
        (b"", False),
    ],
    ids=["short", "longest", "one-more", "much-more", "no-text", "empty"],
)
def test_a_text_that_is_the_body(hub: HubInMemory, body: bytes, is_taken: bool) -> None:
    alice = hub.memory.connect(somebody("alice"))
    arguments = {"device": "d", "number": 1, "to": "lobby"}
    sending = alice.call("chat.send", arguments, body=body)
    if is_taken:
        assert hub.memory.run(sending).result["id"] == 1
        assert [one.text.encode() for one in hub.memory.run(alice.chat.history("lobby"))] == [body]
    else:
        with pytest.raises(TextTooLong):
            hub.memory.run(sending)


def test_a_server_that_stops_waits_for_nobody(hub: HubInMemory) -> None:
    alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
    alice.say(1, "said last")
    hub.chat.end_sessions()
    hub.memory.flush()
    for one in (alice, bob):
        with pytest.raises(Unavailable):
            hub.memory.run(one.call.result())
    assert [one["text"] for one in ask(hub, alice.client, "history", to="lobby")] == ["said last"]
    hub.chat.end_sessions()
