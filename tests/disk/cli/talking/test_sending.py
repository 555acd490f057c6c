"""Files that somebody sends to others in a chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred

from sockserv.cli.talking.sending import told_about
from sockserv.client import Client
from sockserv.client.files import LocalFileError
from sockserv.errors import ConnectionEnded
from sockserv.files.errors import NoReceiver
from sockserv.files.facts import Offered
from sockserv.services.files import Files
from sockserv.testing import Link
from sockserv.trust import FilesAccess, FilesGrant, Identity
from tests.cli.fakes import Written, session_with, work_of
from tests.cli.talking.fake_screen import Somebody
from tests.services.chat.talking import HubInMemory

BIG = bytes(range(256)) * 4000


def person(name: str, access: FilesAccess = FilesAccess.READ_WRITE) -> Identity:
    files = FilesGrant(name, access)
    return Identity(name, frozenset({"chat", "files"}), files=files, chat=("*",))


PEOPLE = {
    "alice": person("alice"),
    "bob": person("bob"),
    "carol": person("carol", FilesAccess.DROP),
}


@attrs.define
class World:
    hub: HubInMemory
    here: Path
    inbox: Path

    def write(self, name: str, content: bytes) -> str:
        (self.here / name).write_bytes(content)
        return str(self.here / name)

    def wait(self, seconds: float = 0.1) -> None:
        self.hub.memory.advance(seconds)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "here").mkdir()
    service = Files(tmp_path / "root", identity_of=PEOPLE.get)
    with HubInMemory(services=[service]) as hub:
        yield World(hub, tmp_path / "here", tmp_path / "root/bob/inbox")


@pytest.fixture
def alice(world: World) -> Iterator[Somebody]:
    alice = Somebody(world.hub, identity=PEOPLE["alice"])
    alice.take()
    yield alice
    alice.leave()


@pytest.mark.parametrize("name", ["a.txt", "two words.txt", "数据.csv", "it's.txt"])
@pytest.mark.parametrize("size", [3, len(BIG)])
def test_a_file_comes_with_a_line(world: World, alice: Somebody, name: str, size: int) -> None:
    bob = Somebody(world.hub, "bob")
    bob.take()
    path = world.write(name, BIG[:size])
    alice.type(f"/send {path} @bob")
    world.wait()
    offered = Offered(size=size, etag="", digest="", path=f"inbox/{name}")
    line = told_about(name, offered)
    assert alice.take()[-1] == f"alice → @bob: {line}"
    assert bob.take() == [f"alice → you: {line}"]
    assert (world.inbox / name).read_bytes() == BIG[:size]
    assert alice.screen.view.sending == ""
    bob.leave()


def test_what_the_line_says() -> None:
    offered = Offered(size=1_234_567, etag="", digest="", path="inbox/report (2).pdf")
    line = "sends report.pdf (1.2 MB): sockserv get 'inbox/report (2).pdf'"
    assert told_about("report.pdf", offered) == line


def test_who_is_away_has_both_later(world: World, alice: Somebody) -> None:
    alice.type(f"/send {world.write('a', b'1')} @bob")
    world.wait()
    bob = Somebody(world.hub, "bob")
    assert "alice → you: sends a (1 byte): sockserv get inbox/a" in bob.take()
    bob.leave()


def test_whom_one_talks_to_need_not_be_named(world: World, alice: Somebody) -> None:
    path = world.write("a", b"1")
    alice.type(f"/send {path}")
    (refused,) = alice.take()
    assert refused == f"! a file goes to somebody, not to a room: /send {path} @NAME"
    alice.type("/join @bob", f"/send '{path}'")
    world.wait()
    assert alice.take()[-1] == "alice: sends a (1 byte): sockserv get inbox/a"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("missing @bob", "missing was not sent to @bob: "),
        ("a @nobody", "a was not sent to @nobody: there is nobody called nobody to send a file to"),
        ("a @carol", "a was not sent to @carol: carol has no folder here that files"),
        (". @bob", "here was not sent to @bob: "),
    ],
    ids=["no file", "nobody", "no inbox", "a folder"],
)
def test_what_cannot_be_sent(world: World, alice: Somebody, what: str, why: str) -> None:
    world.write("a", b"1")
    alice.type(f"/send {world.here}/{what}")
    world.wait()
    assert [line.startswith(f"! {why}") for line in alice.take()] == [True]
    assert not world.inbox.exists()


def test_a_name_that_cannot_be_read(world: World, alice: Somebody) -> None:
    alice.type(f"/send {world.write('a' + chr(27), b'1')} @bob")
    world.wait()
    assert alice.take()[0].startswith("! a\\x1b was not sent to @bob: ")


def test_it_goes_on_over_a_lost_connection(world: World, alice: Somebody) -> None:
    path = world.write("big", BIG)
    alice.links[-1].stall()
    alice.type(f"/send {path} @bob", f"/send {path} @bob", "still here")
    shown = alice.take()
    assert shown == ["! big is on its way to @bob already", "alice: still here"]
    assert alice.screen.view.sending == "big to @bob"
    alice.links[-1].cut()
    world.wait(3)
    shown = alice.take()
    assert "* big goes on when the connection is back" in shown
    assert shown[-1] == "alice → @bob: sends big (1.0 MB): sockserv get inbox/big"
    assert (world.inbox / "big").read_bytes() == BIG


def test_no_more_than_some_at_once(world: World, alice: Somebody) -> None:
    alice.links[-1].stall()
    alice.type(*(f"/send {world.write(name, BIG)} @bob" for name in "abcde"))
    assert alice.take() == ["! 4 files are on the way: wait for one of them"]
    assert alice.screen.view.sending == "4 files on the way"


def test_leaving_waits_for_files(world: World, alice: Somebody) -> None:
    alice.links[-1].stall()
    alice.type(f"/send {world.write('big', BIG)} @bob", None)
    assert alice.take() == ["* waiting for big to @bob; Ctrl-C stops that"]
    assert alice.screen.is_shown
    alice.links[-1].resume()
    world.hub.memory.run(alice.running, max_seconds=5)
    assert (world.inbox / "big").read_bytes() == BIG


def test_leaving_at_once_says_what_was_stopped(world: World, alice: Somebody) -> None:
    alice.links[-1].stall()
    alice.type(f"/send {world.write('big', BIG)} @bob", None, None)
    with pytest.raises(ConnectionEnded, match="stopped: big to @bob; the same /send goes on"):
        world.hub.memory.run(alice.running, max_seconds=5)
    assert [line for line in alice.take() if line.startswith("*")] == [
        "* waiting for big to @bob; Ctrl-C stops that"
    ]
    assert not world.inbox.exists()


class TestInPipes:
    def run(self, world: World, *arguments: str, cut: bool = False) -> tuple[list[str], list[str]]:
        output, errors = Written(), Written()
        links: list[Link] = []

        def connect() -> Deferred[Client]:
            links.append(Link())
            return world.hub.memory.start_connecting(PEOPLE["alice"], link=links[-1])

        options, work = work_of(["chat", *arguments])
        session = session_with(
            world.hub.memory, output=output, errors=errors, connect=connect, json=options.json
        )
        running = Deferred.fromCoroutine(work(session))
        if cut:
            links[-1].cut()
        world.hub.memory.run(running, max_seconds=60)
        return output.content.decode().splitlines(), errors.content.decode().splitlines()

    @pytest.mark.parametrize("cut", [False, True], ids=["", "over a lost connection"])
    def test_a_file_and_the_line(self, world: World, cut: bool) -> None:
        path = world.write("two words.txt", b"12")
        assert self.run(world, "--send-file", path, "@bob", cut=cut) == (
            ["bob has it: inbox/two words.txt"],
            [],
        )
        assert (world.inbox / "two words.txt").read_bytes() == b"12"
        bob = Somebody(world.hub, "bob")
        line = "sends two words.txt (2 bytes): sockserv get 'inbox/two words.txt'"
        assert f"alice → you: {line}" in bob.take()
        bob.leave()

    def test_for_programs(self, world: World) -> None:
        lines, _ = self.run(world, "--json", "--send-file", world.write("a", b"12"), "@bob")
        (found,) = map(json.loads, lines)
        assert found.pop("digest").startswith("blake3:")
        assert found == {"to": "@bob", "path": "inbox/a", "size": 2, "id": 1}

    def test_who_takes_none(self, world: World) -> None:
        with pytest.raises(NoReceiver):
            self.run(world, "--send-file", world.write("a", b"12"), "@carol")
        with pytest.raises(LocalFileError):
            self.run(world, "--send-file", str(world.here / "missing"), "@bob")
