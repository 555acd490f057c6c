"""Files between a folder here and a server: whole, verified, resumed, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.client.files import (
    Direction,
    Files,
    Incomplete,
    LocalDiskError,
    LocalFileError,
    SourceChanged,
    State,
    Summary,
    TargetBusy,
    TargetExists,
    Transfer,
)
from sockserv.client.files.plan import Place
from sockserv.client.files.sending import SMALL_BYTES
from sockserv.client.files.target import Target
from sockserv.errors import ConnectionEnded, PermissionDenied, ReplyTooLarge, UnexpectedResult
from sockserv.files.errors import Busy, Changed, DigestMismatch, Exists, NotFound
from sockserv.files.facts import Entry, FileType
from sockserv.testing import Link, MemoryServer, RandomSizes
from sockserv.trust import Identity
from tests.client.files.fake_files import FakeFiles, digest

BIG = bytes(range(256)) * 10_000
TREE = {
    "a": b"1",
    "b/c": b"22",
    "b/d/照片 1.jpg": BIG,
    "b/d/e": b"",
    "z": BIG[: SMALL_BYTES + 1],
}
SIZES = [0, 1, SMALL_BYTES, SMALL_BYTES + 1, len(BIG)]


class World:
    """A server with files in memory, a client, and a folder here."""

    def __init__(self, memory: MemoryServer, service: FakeFiles, folder: Path) -> None:
        self.memory = memory
        self.service = service
        self.folder = folder
        self.link = Link()
        self._files: Files | None = None
        self.seen: list[Transfer] = []

    @property
    def files(self) -> Files:
        if self._files is None:
            self._files = self.memory.connect(link=self.link).files
        return self._files

    async def forget(self, piece: bytes) -> None:
        """Where a content may go."""

    def local(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def run(self, deferred: Deferred[Any]) -> Any:
        return self.memory.run(deferred)

    def put(self, *arguments: Any, **settings: Any) -> Summary:
        done: Summary = self.run(
            self.files.put(*arguments, on_progress=self.seen.append, **settings)
        )
        return done

    def get(self, *arguments: Any, **settings: Any) -> Summary:
        done: Summary = self.run(
            self.files.get(*arguments, on_progress=self.seen.append, **settings)
        )
        return done

    def tree(self) -> dict[str, bytes]:
        """All files here, unfinished ones, too."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    def cut_in_the_middle(self, deferred: Deferred[Any], *, to_server: bool) -> None:
        """Let it go on for some megabyte, then break the connection off."""
        assert self._files is not None
        way = self.link.to_server if to_server else self.link.to_client
        way.cut_after(way.delivered_bytes + 1_500_000)
        with pytest.raises(ConnectionEnded):
            self.run(deferred)
        self.memory.flush()
        self.link = Link()
        self._files = None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    service = FakeFiles()
    folder = tmp_path / "here"
    folder.mkdir()
    with MemoryServer([service]) as memory:
        yield World(memory, service, folder)


class TestPut:
    @pytest.mark.parametrize("size", SIZES)
    def test_a_file(self, world: World, size: int) -> None:
        path = world.local("a", BIG[:size])
        world.put(path, "x/照片.jpg")
        assert world.service.contents == {"x/照片.jpg": BIG[:size]}
        assert world.service.partials == {}
        last = world.seen[-1]
        assert (last.state, last.done_bytes, last.step.size) == (State.DONE, size, size)

    def test_a_small_one_is_one_call(self, world: World) -> None:
        world.put(world.local("a", b"hello"), "a")
        assert world.service.asked == [("put", "a")]

    def test_modes_and_times_when_asked(self, world: World) -> None:
        for name, size in (("small", 10), ("large", len(BIG))):
            path = world.local(name, BIG[:size])
            path.chmod(0o640)
            os.utime(path, ns=(5, 1_234_567_890_123_456_789))
            world.put(path, name, preserve=True)
            stored = world.service.files[name]
            assert (stored.mode, stored.mtime_ns) == (0o640, 1_234_567_890_123_456_789)
            world.put(path, f"{name} plain")
            assert world.service.files[f"{name} plain"].mode == 0o644

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_nothing_is_replaced_unless_asked(self, world: World, size: int) -> None:
        world.service.store("a", b"old")
        path = world.local("a", BIG[:size])
        with pytest.raises(Exists):
            world.put(path, "a")
        assert world.service.contents == {"a": b"old"}
        world.put(path, "a", overwrite=True)
        assert world.service.contents == {"a": BIG[:size]}

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_the_same_file_is_there_already(self, world: World, size: int) -> None:
        """As when the connection broke off between the end of a put and its answer."""
        world.service.store("a", BIG[:size])
        assert world.put(world.local("a", BIG[:size]), "a").same == 1
        assert world.seen[-1].state is State.SAME

    def test_it_goes_on_where_it_broke_off(self, world: World) -> None:
        path = world.local("a", BIG)
        world.cut_in_the_middle(world.files.put(path, "a"), to_server=True)
        assert world.service.contents == {}
        (kept,) = world.service.partials.values()
        assert 1_000_000 < len(kept) < len(BIG)
        before = world.link.to_server.delivered_bytes
        summary = world.put(path, "a")
        assert world.service.contents == {"a": BIG}
        assert summary.sent_bytes == len(BIG) - len(kept)
        assert world.link.to_server.delivered_bytes - before < len(BIG) - len(kept) + 10_000
        assert world.seen[0].resumed_bytes == len(kept)

    def test_the_server_takes_a_while_to_see_that_we_were_gone(self, world: World) -> None:
        path = world.local("a", BIG)
        world.cut_in_the_middle(world.files.put(path, "a"), to_server=True)
        world.service.busy_times = 5
        world.memory.run(world.files.put(path, "a"), max_seconds=2.0)
        assert world.service.contents == {"a": BIG}
        world.service.busy_times = 1000
        with pytest.raises(Busy):
            world.memory.run(world.files.put(path, "b"), max_seconds=10.0)

    def test_it_begins_anew_when_that_is_wanted(self, world: World) -> None:
        path = world.local("a", BIG)
        world.cut_in_the_middle(world.files.put(path, "a"), to_server=True)
        assert world.put(path, "a", resume=False).sent_bytes == len(BIG)
        assert world.service.contents == {"a": BIG}

    def test_what_was_kept_is_not_the_beginning_of_the_file(self, world: World) -> None:
        path = world.local("a", BIG)
        world.cut_in_the_middle(world.files.put(path, "a"), to_server=True)
        ((key, kept),) = world.service.partials.items()
        world.service.partials[key] = b"?" + kept[1:]
        assert world.put(path, "a").sent_bytes == len(BIG)
        assert world.service.contents == {"a": BIG}

    def test_another_content_is_another_upload(self, world: World) -> None:
        path = world.local("a", BIG)
        world.cut_in_the_middle(world.files.put(path, "a"), to_server=True)
        path.write_bytes(BIG[::-1])
        os.utime(path, ns=(0, 7))
        assert world.put(path, "a").sent_bytes == len(BIG)
        assert world.service.contents == {"a": BIG[::-1]}

    def test_cancelled(self, world: World) -> None:
        path = world.local("a", BIG)
        files = world.files
        running = files.put(path, "a", on_progress=world.seen.append)
        while len(world.seen) < 2:
            world.memory.network.step()
        running.cancel()
        with pytest.raises(CancelledError):
            world.run(running)
        world.memory.flush()
        assert world.service.put_at_once == 0
        assert world.service.contents == {}
        world.run(files.put(path, "a"))
        assert world.service.contents == {"a": BIG}

    @pytest.mark.parametrize("change", ["longer", "shorter", "touched"])
    def test_the_file_changes_meanwhile(self, world: World, change: str) -> None:
        path = world.local("a", BIG)

        def change_it(transfer: Transfer) -> None:
            if transfer.done_bytes:
                if change == "longer":
                    path.write_bytes(BIG + b"x")
                elif change == "shorter":
                    os.truncate(path, len(BIG) - 1)
                else:
                    os.utime(path, ns=(0, 7))

        with pytest.raises(SourceChanged):
            world.run(world.files.put(path, "a", on_progress=change_it))
        world.memory.flush()
        assert world.service.contents == {}

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_the_server_has_stored_something_else(self, world: World, size: int) -> None:
        world.service.damages = True
        with pytest.raises(DigestMismatch, match="stored something else"):
            world.put(world.local("a", BIG[:size]), "a")

    @pytest.mark.parametrize("kind", ["missing", "fifo", "unreadable"])
    def test_what_cannot_be_read(self, world: World, kind: str) -> None:
        path = world.folder / "a"
        if kind == "fifo":
            os.mkfifo(path)
        if kind == "unreadable":
            os.symlink("a", path)
        with pytest.raises(LocalFileError, match="/here/a"):
            world.put(path, "a")
        assert world.service.asked == []

    def test_a_link_is_what_it_leads_to_where_the_user_names_it(self, world: World) -> None:
        world.local("a", b"content")
        os.symlink("a", world.folder / "b")
        world.put(world.folder / "b", "b")
        assert world.service.contents == {"b": b"content"}

    def test_content_that_is_no_file(self, world: World) -> None:
        stored = world.run(world.files.write("a", b"hello"))
        assert (stored.size, stored.digest) == (5, digest(b"hello"))
        with pytest.raises(Exists):
            world.run(world.files.write("a", b"other"))
        world.run(world.files.write("a", b"other", overwrite=True))
        assert world.service.contents == {"a": b"other"}

    def test_a_stream(self, world: World) -> None:
        pieces = iter([BIG, b"", b"never"])

        async def read() -> bytes:
            return next(pieces)

        world.run(world.files.put_stream(read, "a"))
        assert world.service.contents == {"a": BIG}

    def test_a_stream_that_fails(self, world: World) -> None:
        pieces = iter([BIG])

        async def read() -> bytes:
            for piece in pieces:
                return piece
            raise LocalFileError("no more of it")

        with pytest.raises(LocalFileError, match="no more of it"):
            world.run(world.files.put_stream(read, "a"))
        world.memory.flush()
        assert world.service.contents == {}

    def test_without_the_permission(self, world: World) -> None:
        client = world.memory.connect(Identity("bob"))
        with pytest.raises(PermissionDenied):
            world.run(client.files.put(world.local("a", b"x"), "a"))


class TestGet:
    @pytest.mark.parametrize("size", SIZES)
    def test_a_file(self, world: World, size: int) -> None:
        world.service.store("x/照片.jpg", BIG[:size])
        world.get("x/照片.jpg", world.folder / "new folder/a")
        assert world.tree() == {"new folder/a": BIG[:size]}
        last = world.seen[-1]
        assert (last.state, last.done_bytes, last.step.size) == (State.DONE, size, size)

    def test_in_pieces_of_any_size(self, world: World) -> None:
        world.service.store("a", BIG)
        world.link = Link(fragments=RandomSizes(3))
        world.get("a", world.folder / "a")
        assert world.tree() == {"a": BIG}

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_a_disk_that_takes_little_at_a_time(
        self, world: World, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.service.store("a", BIG[:size])
        written = os.pwrite

        def pwritev(file: int, pieces: list[bytes], offset: int) -> int:
            return written(file, b"".join(pieces)[:99_999], offset)

        monkeypatch.setattr(os, "pwritev", pwritev)
        world.get("a", world.folder / "a")
        assert world.tree() == {"a": BIG[:size]}

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_modes_and_times_when_asked(self, world: World, size: int) -> None:
        world.service.store("a", BIG[:size], mode=0o4751, mtime_ns=1_234_567_890_123_456_789)
        world.get("a", world.folder / "a", preserve=True)
        status = (world.folder / "a").stat()
        # Nobody else may have a file here run as its owner.
        assert stat.S_IMODE(status.st_mode) == 0o751
        assert status.st_mtime_ns == 1_234_567_890_123_456_789
        world.get("a", world.folder / "plain")
        assert not (world.folder / "plain").stat().st_mode & 0o111

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_nothing_is_replaced_unless_asked(self, world: World, size: int) -> None:
        world.service.store("a", BIG[:size])
        path = world.local("a", BIG[:size][::-1])
        with pytest.raises(TargetExists):
            world.get("a", path)
        assert world.tree() == {"a": BIG[:size][::-1]}
        world.get("a", path, overwrite=True)
        assert world.tree() == {"a": BIG[:size]}

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_the_same_file_is_there_already(self, world: World, size: int) -> None:
        world.service.store("a", BIG[:size])
        assert world.get("a", world.local("a", BIG[:size])).same == 1
        assert world.seen[-1].state is State.SAME

    @pytest.mark.parametrize("size", [10, len(BIG)])
    @pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_something_else_stands_there(
        self, world: World, size: int, kind: str, overwrite: bool
    ) -> None:
        world.service.store("a", BIG[:size])
        other = world.local("other", b"untouched")
        path = world.folder / "a"
        {
            "folder": path.mkdir,
            "link": lambda: path.symlink_to(other),
            "fifo": lambda: os.mkfifo(path),
        }[kind]()
        if overwrite and kind != "folder":
            world.get("a", path, overwrite=True)
            assert path.read_bytes() == BIG[:size]
            assert not path.is_symlink()
        else:
            with pytest.raises(LocalFileError):
                world.get("a", path, overwrite=overwrite)
        assert other.read_bytes() == b"untouched"
        assert len([*world.folder.iterdir()]) == 2

    def test_it_goes_on_where_it_broke_off(self, world: World) -> None:
        world.service.store("a", BIG)
        path = world.folder / "a"
        world.cut_in_the_middle(world.files.get("a", path), to_server=False)
        ((name, kept),) = world.tree().items()
        assert name.startswith(".sockserv-partial-")
        assert 0 < len(kept) < len(BIG)
        assert BIG.startswith(kept)
        assert world.get("a", path).sent_bytes == len(BIG) - len(kept)
        assert world.tree() == {"a": BIG}

    def test_it_begins_anew_when_that_is_wanted(self, world: World) -> None:
        world.service.store("a", BIG)
        path = world.folder / "a"
        world.cut_in_the_middle(world.files.get("a", path), to_server=False)
        assert world.get("a", path, resume=False).sent_bytes == len(BIG)
        assert world.tree() == {"a": BIG}

    def test_what_was_kept_is_of_an_older_content(self, world: World) -> None:
        world.service.store("a", BIG)
        path = world.folder / "a"
        world.cut_in_the_middle(world.files.get("a", path), to_server=False)
        world.service.store("a", BIG[::-1])
        assert world.get("a", path).sent_bytes == len(BIG)
        assert world.tree() == {"a": BIG[::-1]}

    @pytest.mark.parametrize("damage", [b"?", BIG + b"!"])
    def test_what_was_kept_is_damaged(self, world: World, damage: bytes) -> None:
        world.service.store("a", BIG)
        path = world.folder / "a"
        world.cut_in_the_middle(world.files.get("a", path), to_server=False)
        ((name, kept),) = world.tree().items()
        (world.folder / name).write_bytes(damage + kept[len(damage) :])
        if len(damage) < len(BIG):
            with pytest.raises(DigestMismatch, match="begins anew"):
                world.get("a", path)
            assert "a" not in world.tree()
        world.get("a", path)
        assert world.tree() == {"a": BIG}

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_it_is_damaged_on_the_way(self, world: World, size: int) -> None:
        world.service.store("a", BIG[:size])
        world.service.damages = True
        with pytest.raises(DigestMismatch):
            world.get("a", world.folder / "a")
        world.memory.flush()
        assert world.tree() == {}
        with pytest.raises(DigestMismatch):
            world.run(world.files.read("a"))
        pieces: list[bytes] = []

        async def write(piece: bytes) -> None:
            pieces.append(piece)

        with pytest.raises(DigestMismatch):
            world.run(world.files.pour("a", write))

    def test_it_changes_meanwhile(self, world: World) -> None:
        world.service.store("a", BIG)

        def change(transfer: Transfer) -> None:
            world.service.store("a", b"new")

        with pytest.raises(Changed, match="has changed"):
            world.run(world.files.get("a", world.folder / "a", on_progress=change))
        assert "a" not in world.tree()
        world.get("a", world.folder / "a")
        assert world.tree()["a"] == b"new"

    def test_more_comes_than_was_said(self, world: World) -> None:
        """Or a hostile server could fill the disk."""
        world.service.store("a", BIG)
        entry = world.run(world.files.stat("a"))
        world.service.says_size = len(BIG) - 1
        with pytest.raises(Changed):
            world.get("a", world.folder / "a")
        shorter = attrs.evolve(entry, size=len(BIG) - 1)
        plan = world.run(world.files.plan_get("a", world.folder / "a", entry=shorter))
        with pytest.raises(DigestMismatch):
            world.run(world.files.carry_out(plan))
        with pytest.raises(DigestMismatch):
            world.run(world.files.pour("a", world.forget))

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_a_time_that_no_file_can_have(self, world: World, size: int) -> None:
        world.service.store("a", BIG[:size], mtime_ns=2**63 - 1, mode=2**31)
        world.service.files["a"].mtime_ns = 10**30
        with pytest.raises(LocalFileError, match="no file here can have such a time"):
            world.get("a", world.folder / "a", preserve=True)

    def test_cancelled(self, world: World) -> None:
        world.service.store("a", BIG)
        path = world.folder / "a"
        running = world.files.get("a", path, on_progress=world.seen.append)
        while len(world.seen) < 3:
            world.memory.network.step()
        running.cancel()
        with pytest.raises(CancelledError):
            world.run(running)
        world.memory.flush()
        assert "a" not in world.tree()
        world.get("a", path)
        assert world.tree() == {"a": BIG}

    def test_two_at_once(self, world: World) -> None:
        world.service.store("a", BIG)
        other = Target(Place(world.folder, ("a",)), world.service.files["a"].etag)
        other.open(resume=True, is_private=False)
        try:
            with pytest.raises(TargetBusy):
                world.get("a", world.folder / "a")
        finally:
            other.close()
        world.get("a", world.folder / "a")
        assert world.tree() == {"a": BIG}

    def test_a_file_of_somebody_else_is_in_the_way(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.service.store("a", BIG)
        path = world.folder / "a"
        world.cut_in_the_middle(world.files.get("a", path), to_server=False)
        monkeypatch.setattr(os, "geteuid", lambda: 12_345_678)
        with pytest.raises(LocalFileError, match="is not ours"):
            world.get("a", path)

    def test_into_memory(self, world: World) -> None:
        world.service.store("a", BIG)
        assert world.run(world.files.read("a")) == BIG
        assert world.run(world.files.read("a", max_bytes=len(BIG))) == BIG
        with pytest.raises(ReplyTooLarge):
            world.run(world.files.read("a", max_bytes=len(BIG) - 5000))

    @pytest.mark.parametrize("content", [b"", b"x", BIG])
    def test_to_a_stream(self, world: World, content: bytes) -> None:
        world.service.store("a", content)
        pieces: list[bytes] = []

        async def write(piece: bytes) -> None:
            pieces.append(piece)

        world.run(world.files.pour("a", write))
        assert b"".join(pieces) == content

    def test_there_is_no_such_file(self, world: World) -> None:
        with pytest.raises(NotFound):
            world.get("a", world.folder / "a")
        assert world.tree() == {}


class TestTrees:
    def test_there_and_back(self, world: World) -> None:
        for name, content in TREE.items():
            world.local(f"tree/{name}", content)
        (world.folder / "tree/empty/inner").mkdir(parents=True)
        assert world.put(world.folder / "tree", "t").done == len(TREE) + 1
        assert world.service.contents == {f"t/{name}": c for name, c in TREE.items()}
        assert "t/empty/inner" in world.service.folders
        world.get("t", world.folder / "back")
        assert {n: c for n, c in world.tree().items() if n.startswith("back")} == {
            f"back/{name}": content for name, content in TREE.items()
        }
        assert (world.folder / "back/empty/inner").is_dir()

    def test_an_empty_one(self, world: World) -> None:
        (world.folder / "tree").mkdir()
        world.put(world.folder / "tree", "t")
        assert "t" in world.service.folders
        world.get("t", world.folder / "back")
        assert (world.folder / "back").is_dir()

    def test_many_small_ones_go_together(self, world: World) -> None:
        for number in range(500):
            world.local(f"tree/{number}", b"%d" % number)
        assert world.put(world.folder / "tree", "").done == 500
        assert world.service.contents == {str(n): b"%d" % n for n in range(500)}
        assert {name for name, _ in world.service.asked} == {"put"}

    def test_a_slow_network_takes_few_round_trips(self, world: World) -> None:
        for number in range(500):
            world.local(f"tree/{number}", b"%d" % number)
        connecting = world.memory.start_connecting(link=Link(delay_seconds=0.1))
        files = world.memory.run(connecting, max_seconds=5.0).files
        world.memory.run(files.put(world.folder / "tree", "t"), max_seconds=1.1)
        world.memory.run(files.get("t", world.folder / "back"), max_seconds=1.5)
        assert len(world.tree()) == 1000

    def test_the_same_again_goes_on(self, world: World) -> None:
        for number in range(100):
            world.local(f"tree/{number}", b"%d" % number)
        world.local("tree/big", BIG)
        world.cut_in_the_middle(world.files.put(world.folder / "tree", "t"), to_server=True)
        summary = world.put(world.folder / "tree", "t")
        assert (summary.done + summary.same, len(world.service.files)) == (101, 101)
        assert summary.sent_bytes < len(BIG)
        world.get("t", world.folder / "back")
        assert world.get("t", world.folder / "back").same == 101

    def test_one_that_fails_stops_no_other(self, world: World) -> None:
        for name in "abc":
            world.local(f"tree/{name}", b"new")
        os.mkfifo(world.folder / "tree/fifo")
        (world.folder / "tree" / os.fsdecode(b"caf\xe9")).write_bytes(b"")
        world.service.store("t/b", b"old")
        with pytest.raises(
            Incomplete, match="2 of 4 could not be done, the first one: caf.e9: "
        ) as caught:
            world.put(world.folder / "tree", "t")
        assert world.service.contents == {"t/a": b"new", "t/b": b"old", "t/c": b"new"}
        assert (caught.value.summary.done, caught.value.summary.failed) == (2, 2)
        assert [path for path, _ in caught.value.failures] == ["caf\ufffde9", "t/b"]

    def test_what_a_folder_has_that_is_no_file_stays(self, world: World) -> None:
        world.local("tree/a", b"")
        (world.folder / "tree/link").symlink_to("a")
        world.local("tree/.sockserv-partial-x", b"")
        plan = world.run(world.files.plan_put(world.folder / "tree", "t"))
        assert plan.left_out == ["link"]
        world.put(world.folder / "tree", "t")
        assert world.service.contents == {"t/a": b""}

    def test_a_full_disk_here(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(200):
            world.service.store(f"t/{number}", b"x")
        world.service.store("t/big", BIG)
        written = os.pwritev

        def pwritev(file: int, pieces: list[bytes], offset: int) -> int:
            if len(world.tree()) > 70:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return written(file, pieces, offset)

        monkeypatch.setattr(os, "pwritev", pwritev)
        with pytest.raises(LocalDiskError, match="no space left on device"):
            world.get("t", world.folder / "back")
        monkeypatch.undo()
        world.memory.flush()
        assert all(name.rpartition("/")[2].isdigit() for name in world.tree())
        world.get("t", world.folder / "back")
        assert len(world.tree()) == 201

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_no_link_here_leads_out_of_the_folder(self, world: World, size: int) -> None:
        world.service.store("t/sub/passwd", BIG[:size])
        world.service.store("t/fine", b"")
        outside = world.folder / "outside"
        outside.mkdir()
        (world.folder / "back").mkdir()
        (world.folder / "back/sub").symlink_to(outside)
        with pytest.raises(Incomplete, match="not a directory"):
            world.get("t", world.folder / "back", overwrite=True)
        assert [*outside.iterdir()] == []

    @pytest.mark.parametrize(
        "path",
        [
            "../x",
            "/x",
            "a/../../x",
            "..",
            "",
            ".",
            "a//x",
            "a\0x",
            ".sockserv-partial-x",
            "x" * 300,
        ],
    )
    def test_names_that_a_hostile_server_sends(self, world: World, path: str) -> None:
        service = world.service
        service.store("t/fine", b"fine")
        honest = service.listed

        def listed(root: str, *, recursive: bool) -> Iterator[dict[str, Any]]:
            yield {"name": "x", "path": path, "type": "file", "size": 3}
            yield from honest(root, recursive=recursive)

        service.listed = listed  # type: ignore[method-assign]
        with pytest.raises(Incomplete, match="no file here|without a name"):
            world.get("t", world.folder / "back")
        assert world.tree() == {"back/fine": b"fine"}

    def test_a_name_at_the_server_that_is_no_text(self, world: World) -> None:
        service = world.service
        service.folders.add("t")
        service.listed = lambda root, *, recursive: iter(  # type: ignore[method-assign]
            [{"name": "caf\ufffde9", "path": "caf\ufffde9", "type": "file", "unnameable": True}]
        )
        with pytest.raises(Incomplete, match="not UTF-8"):
            world.get("t", world.folder / "back")

    @pytest.mark.parametrize("line", [{"name": 5}, {"name": "x", "type": "fifo"}, [], "x" * 70_000])
    def test_a_list_that_is_none(self, world: World, line: Any) -> None:
        world.service.folders.add("t")
        world.service.listed = lambda root, *, recursive: iter([line])  # type: ignore[method-assign]
        with pytest.raises(UnexpectedResult):
            world.get("t", world.folder / "back")


class TestSync:
    def sync(self, world: World, **settings: Any) -> Summary:
        done: Summary = world.run(
            world.files.sync(world.folder / "tree", "t", on_progress=world.seen.append, **settings)
        )
        return done

    def test_only_what_differs_travels(self, world: World) -> None:
        for name, content in TREE.items():
            world.local(f"tree/{name}", content)
        assert self.sync(world).done == 5
        assert self.sync(world).same == 5
        world.local("tree/a", b"2")
        world.local("tree/b/c", b"longer")
        world.service.asked.clear()
        summary = self.sync(world)
        assert (summary.done, summary.same) == (2, 3)
        assert sorted(world.service.asked) == [
            ("digest", "t/a"),
            ("list", "t"),
            ("put", "t/a"),
            ("put", "t/b/c"),
        ]
        assert world.service.files["t/a"].content == b"2"

    def test_the_same_with_another_time(self, world: World) -> None:
        path = world.local("tree/a", BIG)
        self.sync(world)
        os.utime(path, ns=(0, 0))
        assert self.sync(world).same == 1

    def test_pull(self, world: World) -> None:
        for name, content in TREE.items():
            world.service.store(f"t/{name}", content)
        world.local("tree/mine", b"mine")
        assert self.sync(world, direction=Direction.PULL).done == 5
        assert self.sync(world, direction=Direction.PULL).same == 5
        world.service.store("t/a", b"3", mtime_ns=5)
        assert self.sync(world, direction=Direction.PULL).done == 1
        assert world.tree() == {f"tree/{n}": c for n, c in TREE.items()} | {
            "tree/a": b"3",
            "tree/mine": b"mine",
        }

    def test_what_is_too_much_is_removed_when_asked(self, world: World) -> None:
        world.local("tree/a", b"1")
        for name in ("a", "b", "c/d", "c/e/f"):
            world.service.store(f"t/{name}", b"1")
        world.service.store("other", b"")
        self.sync(world)
        assert len(world.service.files) == 5
        self.sync(world, delete=True)
        assert world.service.contents == {"t/a": b"1", "other": b""}
        assert world.service.folders == {"", "t"}

    def test_the_same_here(self, world: World) -> None:
        world.service.store("t/a", b"1")
        for name in ("a", "b", "c/d", "c/e/f"):
            world.local(f"tree/{name}", b"1")
        self.sync(world, direction=Direction.PULL, delete=True)
        assert world.tree() == {"tree/a": b"1"}
        assert [path.name for path in (world.folder / "tree").iterdir()] == ["a"]

    def test_nothing_is_removed_after_a_failure(self, world: World) -> None:
        world.local("tree/a", b"1")
        (world.folder / "tree/b").mkdir()
        world.service.store("t/b", b"a file there")
        world.service.store("t/extra", b"")
        with pytest.raises(
            Incomplete, match="it is a directory at one end and a file at the other"
        ):
            self.sync(world, delete=True)
        assert "t/extra" in world.service.files

    def test_somebody_else_changes_it_meanwhile(self, world: World) -> None:
        world.local("tree/a", b"mine")
        world.service.store("t/a", b"old content")
        plan = world.run(world.files.plan_sync(world.folder / "tree", "t"))
        world.service.store("t/a", b"theirs, and newer")
        with pytest.raises(Changed, match="has changed"):
            world.run(world.files.carry_out(plan))
        assert world.service.contents == {"t/a": b"theirs, and newer"}

    @pytest.mark.parametrize("size", [10, len(BIG)])
    def test_somebody_changes_it_here_meanwhile(self, world: World, size: int) -> None:
        world.service.store("t/a", BIG[:size])
        path = world.local("tree/a", b"old content")
        plan = world.run(
            world.files.plan_sync(world.folder / "tree", "t", direction=Direction.PULL)
        )
        path.write_bytes(b"newer")
        with pytest.raises(TargetExists):
            world.run(world.files.carry_out(plan))
        world.memory.flush()
        assert world.tree() == {"tree/a": b"newer"}

    def test_the_folder_is_not_there(self, world: World) -> None:
        with pytest.raises(LocalFileError, match="no such file"):
            self.sync(world, delete=True)
        with pytest.raises(NotFound):
            self.sync(world, direction=Direction.PULL)
        world.local("tree", b"")
        with pytest.raises(LocalFileError, match="is not a folder"):
            self.sync(world)


class TestTheRest:
    def test_list(self, world: World) -> None:
        for name in ("t/a", "t/b/c"):
            world.service.store(name, b"12")

        async def names(**settings: Any) -> list[str]:
            return sorted(
                [entry.path or entry.name async for entry in world.files.list("t", **settings)]
            )

        assert world.memory.run(names()) == ["a", "b"]
        assert world.memory.run(names(recursive=True)) == ["a", "b", "b/c"]

    def test_a_list_that_is_left(self, world: World) -> None:
        for number in range(5000):
            world.service.store(f"t/a file with quite a long name {number}", b"")

        async def first() -> Entry:
            listing = world.files.list("t")
            try:
                async for entry in listing:
                    return entry
            finally:
                listing.close()
            raise AssertionError("it is empty")

        assert world.memory.run(first()).type is FileType.FILE

    def test_stat_move_remove_mkdir_digest_usage(self, world: World) -> None:
        world.service.store("a", b"12")
        files = world.files
        assert world.run(files.stat("a")).size == 2
        world.run(files.mkdir("x/y", parents=True))
        world.run(files.move("a", "x/y/b"))
        assert world.run(files.digest("x/y/b")).digest == digest(b"12")
        assert world.run(files.digest("x/y/b", algorithm="md5")).digest.startswith("md5:c20ad4d7")
        assert world.run(files.usage()).used_bytes == 2
        world.run(files.remove("x", recursive=True))
        assert world.service.contents == {}
