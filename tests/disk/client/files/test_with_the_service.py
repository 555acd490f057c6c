"""The client and the files service of the house, with a disk at both ends: what each grant lets it do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred

from sockserv.client.files import Direction, Files, Incomplete, Summary
from sockserv.errors import ConnectionEnded, Unavailable
from sockserv.files.errors import Exists, FilesDenied, QuotaExceeded, ReadOnly
from sockserv.services.files import Files as FilesService
from sockserv.testing import Link, MemoryServer
from sockserv.trust import Identity
from sockserv.trust.identities import FilesAccess, FilesGrant

BIG = bytes(range(256)) * 10_000
TREE = {"a": b"1", "照片/1.jpg": BIG, "照片/子/2.jpg": b"22", "empty": b""}


@attrs.define
class World:
    memory: MemoryServer
    here: Path
    there: Path

    def files(self, access: FilesAccess, link: Link | None = None) -> Files:
        grant = FilesGrant("shared", access)
        identity = Identity("alice", frozenset({"files"}), files=grant)
        return self.memory.connect(identity, link=link).files

    def contents(self, folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    here = tmp_path / "here"
    for name, content in TREE.items():
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    service = FilesService(tmp_path / "root", quota_bytes=4 * len(BIG))
    with MemoryServer([service]) as memory:
        yield World(memory, here, tmp_path / "root/shared")


def test_there_and_back(world: World, tmp_path: Path) -> None:
    files = world.files(FilesAccess.READ_WRITE)
    assert world.memory.run(files.put(world.here, "t", preserve=True)).done == 4
    assert world.contents(world.there / "t") == TREE
    assert world.memory.run(files.put(world.here, "t")).same == 4
    world.memory.run(files.get("t", tmp_path / "back", preserve=True))
    assert world.contents(tmp_path / "back") == TREE
    assert world.memory.run(files.sync(tmp_path / "back", "t")).same == 4
    assert world.memory.run(files.usage()).used_bytes >= len(BIG)


def test_sync_both_ways(world: World) -> None:
    files = world.files(FilesAccess.READ_WRITE)
    world.memory.run(files.sync(world.here, "t"))
    (world.here / "a").write_bytes(b"changed")
    (world.here / "照片/子/2.jpg").unlink()
    summary = world.memory.run(files.sync(world.here, "t", delete=True))
    assert (summary.done, summary.same) == (2, 2)
    assert world.contents(world.there / "t") == world.contents(world.here)
    (world.there / "t/a").write_bytes(b"there")
    (world.here / "extra").mkdir()
    world.memory.run(files.sync(world.here, "t", direction=Direction.PULL, delete=True))
    assert world.contents(world.there / "t") == world.contents(world.here)
    assert not (world.here / "extra").exists()


@pytest.mark.parametrize("command", ["put", "get"])
def test_it_goes_on_where_it_broke_off(world: World, tmp_path: Path, command: str) -> None:
    def transfer(files: Files) -> Deferred[Summary]:
        if command == "put":
            return files.put(world.here / "照片/1.jpg", "x/big")
        return files.get("照片/1.jpg", tmp_path / "back/big")

    if command == "get":
        world.memory.run(world.files(FilesAccess.READ_WRITE).put(world.here, ""))
    link = Link()
    files = world.files(FilesAccess.READ_WRITE, link)
    way = link.to_server if command == "put" else link.to_client
    way.cut_after(way.delivered_bytes + 1_800_000)
    with pytest.raises(ConnectionEnded):
        world.memory.run(transfer(files))
    world.memory.flush()
    summary = world.memory.run(transfer(world.files(FilesAccess.READ_WRITE)))
    assert 0 < summary.sent_bytes < len(BIG)
    target = world.there / "x/big" if command == "put" else tmp_path / "back/big"
    assert target.read_bytes() == BIG
    assert [*target.parent.iterdir()] == [target]


def test_who_may_only_leave_files(world: World, tmp_path: Path) -> None:
    files = world.files(FilesAccess.DROP)
    world.memory.run(files.put(world.here, "t"))
    assert world.contents(world.there / "t") == TREE
    with pytest.raises(Incomplete):
        world.memory.run(files.put(world.here, "t"))
    with pytest.raises(Exists):
        world.memory.run(files.put(world.here / "a", "t/a"))
    for refused in (
        files.get("t/a", tmp_path / "back"),
        files.sync(world.here, "t"),
        files.put(world.here / "a", "t/a", overwrite=True),
        files.remove("t/a"),
    ):
        with pytest.raises(FilesDenied):
            world.memory.run(refused)


def test_who_may_only_read(world: World, tmp_path: Path) -> None:
    world.memory.run(world.files(FilesAccess.READ_WRITE).put(world.here, "t"))
    files = world.files(FilesAccess.READ_ONLY)
    world.memory.run(files.get("t", tmp_path / "back"))
    assert world.contents(tmp_path / "back") == TREE
    for refused in (files.put(world.here / "a", "b"), files.mkdir("x"), files.remove("t/a")):
        with pytest.raises(ReadOnly):
            world.memory.run(refused)


def test_there_is_no_room(world: World) -> None:
    (world.here / "huge").write_bytes(BIG * 4)
    files = world.files(FilesAccess.READ_WRITE)
    with pytest.raises(QuotaExceeded):
        world.memory.run(files.put(world.here, "t"))
    assert "t/huge" not in world.contents(world.there)


@pytest.mark.parametrize("command", ["put", "get"])
def test_the_connection_breaks_at_any_byte(world: World, tmp_path: Path, command: str) -> None:
    """Each time a little later: what is there is whole, and in the end it is all there."""
    small = {"a": b"1", "b/c": BIG[:70_000], "b/d": BIG[:300_000], "e": b""}
    source = tmp_path / "source"
    target = world.there / "t" if command == "put" else tmp_path / "back"
    for name, content in small.items():
        path = (source if command == "put" else world.there / "t") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    breaks = 0
    after_bytes = 0
    while True:
        link = Link()
        files = world.files(FilesAccess.READ_WRITE, link)
        running = files.put(source, "t") if command == "put" else files.get("t", tmp_path / "back")
        for way in (link.to_server, link.to_client):
            way.cut_after(way.delivered_bytes + after_bytes)
        after_bytes += 37 if after_bytes < 2000 else 9_973
        try:
            world.memory.run(running, max_seconds=10.0)
        except (ConnectionEnded, Unavailable):
            breaks += 1
        else:
            break
        finally:
            world.memory.flush()
        for name, content in world.contents(target).items() if target.exists() else ():
            assert content == small.get(name) or "/.sockserv-partial-" in f"/{name}"
    assert breaks > 50
    assert world.contents(target) == small
