"""A chat between a screen and a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import CancelledError, fail

from sockserv.chat.arguments import MAX_TEXT_BYTES
from sockserv.chat.errors import NoSuchRoom
from sockserv.errors import AuthenticationFailed, ConnectError, ConnectionEnded
from tests.cli.talking.fake_screen import Somebody
from tests.services.chat.talking import HubInMemory, somebody


@pytest.fixture
def hub() -> Iterator[HubInMemory]:
    with HubInMemory() as hub:
        yield hub


@pytest.fixture
def alice(hub: HubInMemory) -> Iterator[Somebody]:
    alice = Somebody(hub)
    alice.take()
    yield alice
    alice.leave()


@pytest.fixture
def bob(hub: HubInMemory, alice: Somebody) -> Iterator[Somebody]:
    bob = Somebody(hub, "bob")
    bob.take()
    alice.take()
    yield bob
    bob.leave()


class TestTalking:
    def test_saying_and_hearing(self, alice: Somebody, bob: Somebody) -> None:
        alice.type("hello")
        bob.type("hello, alice")
        assert alice.take() == ["alice: hello", "bob: hello, alice"]
        assert bob.take() == ["alice: hello", "bob: hello, alice"]
        alice.hub.memory.advance(0.1)
        assert alice.screen.view.outlook == "delivered to bob"

    def test_what_was_said_before(self, alice: Somebody, hub: HubInMemory) -> None:
        alice.type("one", "two")
        carol = Somebody(hub, "carol")
        about, *messages = carol.take()
        assert about == "* you are in lobby as carol; /help says what there is"
        assert messages == ["alice: one", "alice: two"]
        carol.type(None)
        hub.memory.advance(1.0)
        hub.memory.run(carol.running)

    def test_to_somebody(self, alice: Somebody, bob: Somebody) -> None:
        alice.type("/msg @bob psst")
        assert alice.take() == ["alice → @bob: psst"]
        assert bob.take() == ["alice → you: psst"]
        bob.type("/join @alice", "yes?")
        assert bob.take() == ["* you talk to @alice", "alice: psst", "bob: yes?"]
        assert alice.take() == ["bob → you: yes?"]

    def test_to_nobody(self, alice: Somebody) -> None:
        alice.type("/msg @nobody psst")
        said, refused = alice.take()
        assert said == "alice → @nobody: psst"
        assert refused.startswith("! not sent, as there is nobody called nobody")

    def test_too_long(self, alice: Somebody) -> None:
        alice.type("x" * (MAX_TEXT_BYTES + 1), "\udc80", "still here")
        long, no_text, said = alice.take()
        assert long.startswith("! a message has 1 to 65536 bytes")
        assert no_text == "! what is said has to be text"
        assert said == "alice: still here"

    def test_mail(self, hub: HubInMemory, alice: Somebody) -> None:
        alice.type("/msg @bob one", "/msg @bob two")
        bob = Somebody(hub, "bob")
        assert sorted(bob.take())[1:] == ["alice → you: one", "alice → you: two"]
        bob.leave()


class TestCommands:
    def test_rooms(self, alice: Somebody, bob: Somebody) -> None:
        alice.type("/join ops", "anybody?")
        bob.type("hello", "/rooms")
        assert alice.take() == [
            "* you are in ops as alice; /help says what there is",
            "alice: anybody?",
        ]
        assert alice.screen.view.unread == (("lobby", 1),)
        assert bob.take()[1:] == ["* lobby: alice, bob", "* ops: alice; 1 unread"]
        alice.type("/leave")
        assert alice.take() == ["* you have left ops", "* lobby, where one is now", "bob: hello"]
        alice.type("/leave", "hello?", "/who", "/history")
        left, *errors = alice.take()
        assert left == "* you have left lobby"
        assert all("/join ROOM" in error for error in errors)
        assert bob.take()[-1] == "* alice has left"

    def test_a_room_that_is_closed_to_us(self, hub: HubInMemory) -> None:
        alice = Somebody(hub, identity=somebody("alice", "lobby"))
        alice.take()
        alice.type("/join secret", "/who secret", "still here")
        closed, who, said = alice.take()
        assert closed == who == "! there is no room secret for alice"
        assert said == "alice: still here"
        alice.leave()

    def test_who(self, alice: Somebody, bob: Somebody) -> None:
        bob.type("/away lunch\x07")
        alice.type("/who", "/who empty", "/who @bob")
        shown = alice.take()
        assert shown[0] == "* bob is away: lunch\\x07"
        assert shown[1].startswith("* alice is here since")
        assert shown[2].startswith("* bob is away since")
        assert shown[3] == "* nobody is in empty"
        assert shown[4] == shown[2]
        bob.type("/away")
        assert bob.take()[-1] == "* you are back"
        assert alice.take() == ["* bob is back"]

    def test_looking_back(self, alice: Somebody) -> None:
        alice.type("one fish", "two fish")
        alice.take()
        alice.type("/history 1", "/search fish two", "/search whale")
        assert alice.take() == [
            "* the last 1 at lobby:",
            "alice: two fish",
            "* that was the history",
            "* 1 found, the newest last:",
            "alice → lobby: two fish",
            "* nothing found",
        ]

    def test_help_and_mistakes(self, alice: Somebody) -> None:
        alice.type("/help", "/dance", "")
        *shown, mistake = alice.take()
        assert any("/join" in line for line in shown)
        assert mistake.startswith("! there is no /dance")

    def test_names_are_known_from_the_start(self, alice: Somebody, hub: HubInMemory) -> None:
        alice.type("/join ops")
        carol = Somebody(hub, "carol")
        assert carol.screen.view.names == ("alice",)
        assert carol.screen.view.rooms == ("lobby", "ops")
        carol.leave()


class TestLeaving:
    @pytest.mark.parametrize("way", ["/quit", None])
    def test_well(self, alice: Somebody, bob: Somebody, way: str | None) -> None:
        alice.type("bye", way)
        alice.hub.memory.run(alice.running)
        assert not alice.screen.is_shown
        assert bob.take() == ["alice: bye", "* alice has left"]

    def test_with_a_terminal_that_takes_nothing(self, alice: Somebody) -> None:
        alice.screen.is_stuck = True
        alice.type(None)
        alice.hub.memory.advance(0.5)
        alice.hub.memory.run(alice.running)

    def test_a_terminal_that_fails(self, alice: Somebody) -> None:
        alice.screen.end(OSError("gone"))
        with pytest.raises(OSError, match="gone"):
            alice.hub.memory.run(alice.running)

    def test_cancelled(self, alice: Somebody) -> None:
        alice.running.cancel()
        with pytest.raises(CancelledError):
            alice.hub.memory.run(alice.running)
        assert not alice.screen.is_shown

    def test_without_a_connection_what_was_not_sent_is_told(self, alice: Somebody) -> None:
        alice.cut_off()
        alice.type("lost", None)
        alice.hub.memory.advance(6.0)
        with pytest.raises(ConnectionEnded, match="1 of your messages"):
            alice.hub.memory.run(alice.running)

    def test_twice_is_at_once(self, alice: Somebody) -> None:
        alice.cut_off()
        alice.type("lost", None, None, None)
        alice.hub.memory.run(alice.running)


class TestConnections:
    def test_lost_and_back(self, alice: Somebody, bob: Somebody) -> None:
        alice.links[-1].cut()
        alice.hub.memory.flush()
        alice.type("said meanwhile", "/join ops", "/who")
        lost, said, join, who = alice.take()
        assert lost.startswith("! no connection (")
        assert said == "alice: said meanwhile"
        assert join == who == "! there is no connection now: try that again later"
        bob.type("missed")
        alice.hub.memory.advance(1.0)
        assert alice.take() == ["* the connection is back", "bob: missed"]
        assert [line for line in bob.take() if "meanwhile" in line] == ["alice: said meanwhile"]

    def test_who_was_away_still_is(self, alice: Somebody, bob: Somebody) -> None:
        alice.type("/away lunch")
        alice.links[-1].cut()
        alice.hub.memory.advance(1.0)
        assert "* alice is away: lunch" in bob.take()[-2:]

    def test_none_at_first(self, hub: HubInMemory) -> None:
        nobody = Somebody(hub, connect=lambda: fail(ConnectError("nobody listens")))
        with pytest.raises(ConnectError):
            hub.memory.run(nobody.running)
        assert not nobody.screen.is_shown

    def test_who_may_not(self, hub: HubInMemory) -> None:
        nobody = Somebody(hub, place="secret", identity=somebody("alice", "lobby"))
        with pytest.raises(NoSuchRoom):
            hub.memory.run(nobody.running)
        assert not nobody.screen.is_shown

    def test_whose_login_ends_meanwhile(self, hub: HubInMemory, alice: Somebody) -> None:
        alice.failure = AuthenticationFailed("revoked")
        alice.cut_off()
        alice.hub.memory.advance(1.0)
        with pytest.raises(AuthenticationFailed):
            hub.memory.run(alice.running)
        assert not alice.screen.is_shown


def test_a_slow_terminal_holds_back_the_server(alice: Somebody, bob: Somebody) -> None:
    bob.screen.is_stuck = True
    for number in range(150):
        alice.type(str(number))
    alice.hub.memory.advance(60.0)
    assert alice.screen.view.outlook == "delivered to bob"
    bob.screen.is_stuck = False
