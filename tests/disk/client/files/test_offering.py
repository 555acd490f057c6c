"""Files from here to somebody else's inbox, with a disk at both ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from sockserv.chat.errors import BadName
from sockserv.client.files import Files, LocalFileError, State, Transfer
from sockserv.errors import ConnectionEnded
from sockserv.files.errors import NoReceiver, RefusedName
from sockserv.services.files import Files as FilesService
from sockserv.testing import Link, MemoryServer
from sockserv.trust import FilesAccess, FilesGrant, Identity

BIG = bytes(range(256)) * 10_000


def person(name: str) -> Identity:
    files = FilesGrant(name, FilesAccess.READ_WRITE)
    return Identity(name, frozenset({"files", "chat"}), files=files)


PEOPLE = {name: person(name) for name in ("alice", "bob", "王芳")}


@attrs.define
class World:
    memory: MemoryServer
    here: Path
    root: Path

    def files(self, link: Link | None = None) -> Files:
        return self.memory.connect(PEOPLE["alice"], link=link).files

    def write(self, name: str, content: bytes) -> Path:
        path = self.here / name
        path.write_bytes(content)
        return path

    def inbox(self, name: str = "bob") -> dict[str, bytes]:
        folder = self.root / name / "inbox"
        return {path.name: path.read_bytes() for path in folder.glob("*")}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "here").mkdir()
    root = tmp_path / "root"
    with MemoryServer([FilesService(root, identity_of=PEOPLE.get)]) as memory:
        yield World(memory, tmp_path / "here", root)


@pytest.mark.parametrize("name", ["a.txt", "two words 'quoted'.txt", "数据.csv"])
@pytest.mark.parametrize("content", [b"", b"a", BIG], ids=["empty", "small", "big"])
def test_it_comes_whole(world: World, name: str, content: bytes) -> None:
    seen: list[Transfer] = []
    path = world.write(name, content)
    sending = world.files().offer(path, to="bob", on_progress=seen.append)
    offered = world.memory.run(sending)
    assert offered.path == f"inbox/{name}"
    assert offered.size == len(content)
    assert world.inbox() == {name: content}
    assert seen[-1].state is State.DONE
    assert seen[-1].done_bytes == len(content)


def test_whom_it_is_for_is_written_as_in_the_chat(world: World) -> None:
    path = world.write("a", b"1")
    offered = world.memory.run(world.files().offer(str(path), to="@王芳", name="b"))
    assert offered.path == "inbox/b"
    assert world.inbox("王芳") == {"b": b"1"}
    with pytest.raises(BadName):
        world.memory.run(world.files().offer(path, to="a b"))
    with pytest.raises(NoReceiver):
        world.memory.run(world.files().offer(path, to="nobody"))


def test_the_same_file_is_sent_once_while_it_is_there(world: World) -> None:
    path = world.write("a", BIG)
    files = world.files()
    first = world.memory.run(files.offer(path, to="bob"))
    seen: list[Transfer] = []
    assert world.memory.run(files.offer(path, to="bob", on_progress=seen.append)) == first
    assert [one.state for one in seen] == [State.SAME]
    again = world.memory.run(files.offer(path, to="bob", resume=False))
    assert again.path == "inbox/a (2)"
    (world.root / "bob/inbox/a").unlink()
    assert world.memory.run(files.offer(path, to="bob")).path == "inbox/a"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\udcff"], ids=ascii)
def test_a_name_that_cannot_be_read_is_not_even_sent(world: World, name: str) -> None:
    path = world.write(name, b"1")
    with pytest.raises(RefusedName):
        world.memory.run(world.files().offer(path, to="bob"))
    assert not world.root.exists()
    assert world.memory.run(world.files().offer(path, to="bob", name="ok")).path == "inbox/ok"


def test_what_is_no_file_here(world: World) -> None:
    for path in (Path(), world.here, world.here / "missing"):
        with pytest.raises(LocalFileError):
            world.memory.run(world.files().offer(path, to="bob"))
    assert not world.root.exists()


def test_a_connection_that_breaks_is_gone_on_from(world: World) -> None:
    path = world.write("a", BIG)
    link = Link()
    parts: list[Transfer] = []

    def cut(transfer: Transfer) -> None:
        parts.append(transfer)
        if transfer.done_bytes > len(BIG) // 3:
            link.cut()

    with pytest.raises(ConnectionEnded):
        world.memory.run(world.files(link).offer(path, to="bob", on_progress=cut))
    world.memory.advance(1)
    assert [*world.inbox()] != ["a"]
    seen: list[Transfer] = []
    offered = world.memory.run(world.files().offer(path, to="bob", on_progress=seen.append))
    assert seen[0].resumed_bytes > 0
    assert offered.path == "inbox/a"
    assert world.inbox() == {"a": BIG}


def test_a_file_that_changes_on_the_way_does_not_come(world: World) -> None:
    path = world.write("a", BIG)

    def change(transfer: Transfer) -> None:
        if transfer.done_bytes:
            path.write_bytes(b"")

    with pytest.raises(LocalFileError):
        world.memory.run(world.files().offer(path, to="bob", on_progress=change))
    world.memory.advance(1)
    assert "a" not in world.inbox()
