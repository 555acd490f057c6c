"""A chat in pipes: `--send`, `--follow`, `--history`, `--search`; and `sockserv who`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from sockserv.chat.arguments import MAX_TEXT_BYTES
from sockserv.chat.errors import MemberNotFound, TextTooLong
from sockserv.client import Client
from sockserv.errors import AuthenticationFailed, ConnectError, ConnectionEnded
from sockserv.testing import Link
from tests.cli.fakes import FakeTerminal, Pieces, Written, session_with, work_of
from tests.services.chat.talking import HubInMemory, somebody


@pytest.fixture
def hub() -> Iterator[HubInMemory]:
    with HubInMemory(messages_at_once=300, messages_per_second=10.0) as hub:
        yield hub


class Piped:
    """A command line of alice's that runs."""

    def __init__(self, hub: HubInMemory, *arguments: str, pieces: Pieces | None = None) -> None:
        self.hub = hub
        self.output, self.errors = Written(), Written()
        self.links: list[Link] = []
        self.failure: Exception | None = None
        options, work = work_of(["chat", *arguments])
        session = session_with(
            hub.memory,
            pieces=pieces,
            output=self.output,
            errors=self.errors,
            connect=self._connect,
            json=options.json,
        )
        self.running = Deferred.fromCoroutine(work(session))
        hub.memory.flush()

    def _connect(self) -> Deferred[Client]:
        if self.failure is not None:
            return fail(self.failure)
        self.links.append(Link())
        return self.hub.memory.start_connecting(somebody("alice"), link=self.links[-1])

    def end(self) -> list[str]:
        """What it has written when it has ended."""
        self.hub.memory.run(self.running, max_seconds=600.0)
        return self.lines()

    def lines(self) -> list[str]:
        return self.output.content.decode().splitlines()

    def stop(self) -> None:
        self.running.addErrback(lambda failure: None)
        self.running.cancel()
        self.hub.memory.advance(0.1)


def history(hub: HubInMemory, place: str = "lobby") -> list[str]:
    client = hub.memory.connect(somebody("carol"))
    return [message.text for message in hub.memory.run(client.chat.history(place, count=500))]


class TestSending:
    def test_all_of_standard_input(self, hub: HubInMemory) -> None:
        pieces = Pieces([b"one\ntw", b"o\n  three\n"])
        assert Piped(hub, "--send", "lobby", pieces=pieces).end() == []
        assert history(hub) == ["one\ntwo\n  three"]

    def test_each_line(self, hub: HubInMemory) -> None:
        pieces = Pieces([b"one\r\ntw", b"o\n\n", b"caf\xc3", b"\xa9"])
        Piped(hub, "--send", "--lines", "lobby", pieces=pieces).end()
        assert history(hub) == ["one", "two", "café"]

    def test_words(self, hub: HubInMemory) -> None:
        Piped(hub, "--send", "Lobby", "the backup", "is done").end()
        assert history(hub) == ["the backup is done"]

    def test_for_programs(self, hub: HubInMemory) -> None:
        (line,) = Piped(hub, "--json", "--send", "@bob", "hello").end()
        assert json.loads(line) == {"id": 1, "to": "@bob"}

    def test_more_at_once_than_the_hub_takes(self, hub: HubInMemory) -> None:
        pieces = Pieces([b"%d\n" % number for number in range(350)])
        Piped(hub, "--send", "--lines", "lobby", pieces=pieces).end()
        assert history(hub) == [str(number) for number in range(350)]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "1 to 65536 bytes, and not 0"),
            (b"\n", "1 to 65536 bytes, and not 0"),
            (b"x" * (MAX_TEXT_BYTES + 1), "65536 bytes"),
            (b"x" * 10_000_000, "at most 65536 bytes"),
            (b"\xff", "UTF-8"),
        ],
        ids=["empty", "line-feed", "one-more", "much-more", "no-text"],
    )
    def test_what_cannot_be_said(self, hub: HubInMemory, content: bytes, words: str) -> None:
        piped = Piped(hub, "--send", "lobby", pieces=Pieces([content]))
        with pytest.raises(TextTooLong, match=words):
            piped.end()
        assert history(hub) == []

    def test_the_longest(self, hub: HubInMemory) -> None:
        Piped(hub, "--send", "lobby", pieces=Pieces([b"x" * MAX_TEXT_BYTES + b"\r\n"])).end()
        assert history(hub) == ["x" * MAX_TEXT_BYTES]

    def test_to_nobody(self, hub: HubInMemory) -> None:
        with pytest.raises(MemberNotFound):
            Piped(hub, "--send", "@nobody", "hello").end()

    @pytest.mark.parametrize("cut_after", range(0, 60, 3))
    def test_a_lost_connection_loses_nothing_and_says_nothing_twice(
        self, hub: HubInMemory, cut_after: int
    ) -> None:
        pieces = Pieces([b"%d\n" % number for number in range(10)], end=b"")
        slow = _Slow(pieces, cut_after)
        piped = slow.piped = Piped(hub, "--send", "--lines", "lobby", pieces=slow)  # type: ignore[arg-type]
        slow.begun.callback(None)
        piped.end()
        assert history(hub) == [str(number) for number in range(10)]

    def test_a_daemon_that_does_not_come_back(self, hub: HubInMemory) -> None:
        piped = Piped(hub, "--send", "--lines", "lobby", pieces=Pieces([b"one\n"], end=None))
        piped.failure = ConnectError("nobody listens")
        piped.links[-1].cut()
        piped.stop()
        assert history(hub) == ["one"]


class TestFollowing:
    def test_what_is_said_there_and_to_oneself(self, hub: HubInMemory) -> None:
        piped = Piped(hub, "--follow", "lobby", "--json")
        bob = hub.memory.connect(somebody("bob"))
        for place in ("lobby", "@alice", "ops"):
            hub.memory.run(bob.chat.send(place, f"at {place}"))
        hub.memory.flush()
        said: list[dict[str, Any]] = [json.loads(line) for line in piped.lines()]
        assert [(one["to"], one["text"]) for one in said] == [
            ("lobby", "at lobby"),
            ("@bob", "at @alice"),
        ]
        assert said[0].keys() == {"id", "to", "sender", "device", "number", "text", "at"}
        piped.stop()

    def test_what_was_said_before_then_what_comes(self, hub: HubInMemory) -> None:
        bob = hub.memory.connect(somebody("bob"))
        for number in range(5):
            hub.memory.run(bob.chat.send("lobby", str(number)))
        piped = Piped(hub, "--follow", "--history", "3", "lobby")
        hub.memory.run(bob.chat.send("lobby", "new"))
        hub.memory.flush()
        assert [line.split(": ")[1] for line in piped.lines()] == ["2", "3", "4", "new"]
        piped.stop()

    def test_over_a_lost_connection(self, hub: HubInMemory) -> None:
        piped = Piped(hub, "--follow", "lobby")
        bob = hub.memory.connect(somebody("bob"))
        piped.links[-1].cut()
        hub.memory.flush()
        hub.memory.run(bob.chat.send("lobby", "missed"))
        hub.memory.advance(2.0)
        assert [line.split(": ")[1] for line in piped.lines()] == ["missed"]
        lost, back = piped.errors.content.decode().splitlines()
        assert lost.startswith("sockserv: no connection (")
        assert back == "sockserv: the connection is back"
        piped.stop()

    def test_whose_login_ends(self, hub: HubInMemory) -> None:
        piped = Piped(hub, "--follow", "lobby")
        piped.failure = AuthenticationFailed("revoked")
        piped.links[-1].cut()
        hub.memory.advance(2.0)
        with pytest.raises(AuthenticationFailed):
            piped.end()

    def test_whoever_reads_goes_away(self, hub: HubInMemory) -> None:
        piped = Piped(hub, "--follow", "lobby")
        piped.output._failure = ConnectionEnded("who reads has gone")
        bob = hub.memory.connect(somebody("bob"))
        hub.memory.run(bob.chat.send("lobby", "hello"))
        with pytest.raises(ConnectionEnded, match="who reads has gone"):
            piped.end()


class TestLookingBack:
    def test_more_than_a_page(self, hub: HubInMemory) -> None:
        pieces = Pieces([b"%d\n" % number for number in range(1200)])
        Piped(hub, "--send", "--lines", "lobby", pieces=pieces).end()
        lines = Piped(hub, "--history", "1100", "lobby").end()
        assert [line.split(": ")[1] for line in lines] == [str(n) for n in range(100, 1200)]
        assert len(Piped(hub, "--history", "2000", "lobby", "--json").end()) == 1200

    def test_searching(self, hub: HubInMemory) -> None:
        for place, text in (("lobby", "red fish"), ("ops", "blue fish"), ("ops", "a bird")):
            Piped(hub, "--send", place, text).end()
        found = Piped(hub, "--search", "fish").end()
        assert [line.split(" ", 2)[2] for line in found] == [
            "lobby alice: red fish",
            "ops alice: blue fish",
        ]
        assert len(Piped(hub, "--search", "fish", "lobby").end()) == 1
        assert Piped(hub, "--search", "whale").end() == []


class _Slow:
    """An input that cuts the connection in the middle, once."""

    piped: Piped

    def __init__(self, pieces: Pieces, after_turns: int) -> None:
        self._pieces = pieces
        self._turns = after_turns
        self.begun: Deferred[None] = Deferred()

    async def read(self) -> bytes:
        if not self.begun.called:
            await self.begun
        piece = await self._pieces.read()
        if piece == b"5\n":
            self._countdown()
        return piece

    def _countdown(self) -> None:
        if self._turns == 0:
            self.piped.links[-1].cut()
        else:
            self._turns -= 1
            self.piped.hub.memory.network.call_soon(self._countdown)


def test_who(hub: HubInMemory) -> None:
    bob = hub.memory.connect(somebody("bob"))
    hub.memory.run(bob.chat.join("lobby"))
    hub.memory.run(bob.chat.away("lunch\x1b[2J"))
    output, errors = Written(), Written()
    for arguments in (["who"], ["who", "Lobby"], ["who", "ops"], ["who", "--json"]):
        options, work = work_of(arguments)
        connect = lambda: hub.memory.start_connecting(somebody("alice"))  # noqa: E731
        session = session_with(
            hub.memory,
            output=output,
            errors=errors,
            connect=connect,
            json=options.json,
            terminal=FakeTerminal({2}),
        )
        hub.memory.run(Deferred.fromCoroutine(work(session)))
    assert errors.content == b"Nobody is there.\n"
    first, second, *rest = output.content.decode().split("\n")
    assert first.split() == ["NAME", "STATE", "SINCE", "WHY"]
    assert second.startswith("bob   away   ")
    assert second.endswith("lunch\\x1b[2J")
    assert rest[:2] == [first, second]
    assert json.loads(rest[2]) == {
        "name": "bob",
        "state": "away",
        "since": 0.0,
        "text": "lunch\x1b[2J",
    }
