"""What is done to names: looking, listing, making directories, moving, removing; and digests."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sockserv.errors import InvalidArgument
from sockserv.files import Entry
from sockserv.files.errors import (
    Busy,
    Changed,
    Exists,
    FilesError,
    NotADirectory,
    NotAFile,
    NotEmpty,
    NotFound,
    RefusedName,
)
from sockserv.files.names import RESERVED_PREFIX
from sockserv.limits import Limits
from sockserv.testing import Link
from tests.disk.services.files.kit import BIG, FilesServer, digest
from tests.disk.services.files.test_get import open_files
from tests.disk.services.files.test_put import break_off, start


class TestStat:
    def test_a_file(self, files: FilesServer) -> None:
        files.put("a b", b"hello", mode=0o640, mtime_ns=5)
        entry = files.call("stat", {"path": "a b"}).result
        etag = entry.pop("etag")
        assert entry == {
            "name": "a b",
            "type": "file",
            "size": 5,
            "mtime_ns": 5,
            "mode": 0o640,
            "path": None,
            "unnameable": False,
        }
        assert etag

    def test_directories(self, files: FilesServer) -> None:
        files.call("mkdir", {"path": "a/b", "parents": True})
        for path, name in (("a/b", "b"), ("", ""), (".", "")):
            entry = files.call("stat", {"path": path}).result
            assert (entry["type"], entry["name"]) == ("directory", name)

    def test_a_link(self, files: FilesServer) -> None:
        files.put("a", b"")
        (files.root / "b").symlink_to("a")
        assert files.call("stat", {"path": "b"}).result["type"] == "other"

    def test_nothing(self, files: FilesServer) -> None:
        with pytest.raises(NotFound):
            files.call("stat", {"path": "a"})


class TestList:
    def test_nothing(self, files: FilesServer) -> None:
        assert files.entries() == []

    def test_one_directory(self, files: FilesServer) -> None:
        files.put("a", b"1")
        files.put("folder/b", b"2", parents=True)
        entries = files.entries()
        assert [(entry["name"], entry["type"]) for entry in entries] == [
            ("a", "file"),
            ("folder", "directory"),
        ]
        assert entries[0] == files.call("stat", {"path": "a"}).result
        assert [entry["name"] for entry in files.entries("folder")] == ["b"]
        lines = files.call("list").body.splitlines()
        assert {msgspec.json.decode(line, type=Entry).name for line in lines} == {"a", "folder"}

    def test_what_is_no_directory(self, files: FilesServer) -> None:
        files.put("a", b"1")
        with pytest.raises(NotADirectory):
            files.entries("a")
        with pytest.raises(NotFound):
            files.entries("b")

    @pytest.mark.parametrize("recursive", [False, True])
    def test_names_that_are_no_text(self, files: FilesServer, recursive: bool) -> None:
        files.call("mkdir", {"path": "folder"})
        os.mkdir(os.fsencode(files.root / "folder") + b"/caf\xe9")
        (entry,) = files.entries("folder", recursive=recursive)
        assert (entry["name"], entry["unnameable"]) == ("caf\N{REPLACEMENT CHARACTER}e9", True)
        with pytest.raises(NotFound):
            files.call("stat", {"path": f"folder/{entry['name']}"})

    def test_all_that_is_in_it(self, files: FilesServer) -> None:
        paths = ["a", "b", "b/c", "b/c/d", "b/e", "f", "f/b", "f/b/c", "中", "中/文"]
        for path in paths:
            if path in ("a", "b/c/d", "b/e", "f/b/c", "中/文"):
                files.put(path, b"", parents=True)
        entries = files.entries(recursive=True)
        assert [entry["path"] for entry in entries] == paths
        assert [entry["path"] for entry in files.entries("b", recursive=True)] == ["c", "c/d", "e"]

    def test_a_directory_stands_before_what_is_in_it(self, files: FilesServer) -> None:
        for path in ("a/b/c/d", "a/e/f", "g/h/i"):
            files.call("mkdir", {"path": path, "parents": True})
        lines = files.call("list", {"recursive": True}).body.splitlines()
        seen = {""}
        for line in lines:
            path = msgspec.json.decode(line)["path"]
            assert path.rpartition("/")[0] in seen
            seen.add(path)
        assert len(seen) == 10

    def test_a_deep_tree(self, files: FilesServer) -> None:
        """Deeper than any path that can be asked for."""
        name = "a directory with a very long name"
        files.root.mkdir()
        here = os.open(files.root, os.O_RDONLY)
        for _ in range(160):
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        assert files.call("list", {"recursive": True}).result == {"count": 160}
        files.call("remove", {"path": name, "recursive": True})
        assert files.names() == []

    def test_many_entries_cost_little_memory(self, files: FilesServer) -> None:
        files.call("mkdir", {"path": "a"})
        for number in range(6_000):
            os.symlink("nowhere", files.root / "a" / f"{number:0100}")
        link = Link()
        client = files.client(link=link)
        call = files.memory.run(client.open("files.list", {"path": "a"}, end=True))
        files.memory.flush()
        assert link.to_client.delivered_bytes < 1.2 * 2**20
        assert len(open_files(files)) <= 2
        assert len(files.memory.read(call, enough_bytes=2**30).splitlines()) == 6_000
        assert open_files(files) == []

    def test_who_goes_away_leaves_nothing_open(self, files: FilesServer) -> None:
        for number in range(1000):
            (files.root / "a" / "b").mkdir(parents=True, exist_ok=True)
            (files.root / "a" / "b" / f"{number:0200}").touch()
        client = files.memory.connect(limits=Limits(window_bytes=1000))
        call = files.memory.run(client.open("files.list", {"recursive": True}, end=True))
        files.memory.flush()
        assert open_files(files)
        call.cancel()
        files.memory.flush()
        assert open_files(files) == []


class TestMakeDirectory:
    def test_one(self, files: FilesServer) -> None:
        files.call("mkdir", {"path": "a"})
        with pytest.raises(Exists):
            files.call("mkdir", {"path": "a"})
        with pytest.raises(NotFound):
            files.call("mkdir", {"path": "b/c"})
        assert files.names() == ["a"]

    def test_those_on_the_way(self, files: FilesServer) -> None:
        for _ in range(2):
            files.call("mkdir", {"path": "a/b/c", "parents": True})
        assert files.names() == ["a", "a/b", "a/b/c"]

    def test_a_file_is_in_the_way(self, files: FilesServer) -> None:
        files.put("a", b"")
        with pytest.raises(Exists):
            files.call("mkdir", {"path": "a", "parents": True})
        with pytest.raises(NotADirectory):
            files.call("mkdir", {"path": "a/b", "parents": True})
        with pytest.raises(RefusedName):
            files.call("mkdir", {"path": "", "parents": True})


def move(files: FilesServer, source: str, target: str, **args: Any) -> None:
    files.call("move", {"source": source, "target": target, **args})


class TestMove:
    def test_a_file_and_a_directory(self, files: FilesServer) -> None:
        files.put("a/b", b"hello", parents=True)
        move(files, "a/b", "c")
        move(files, "a", "d")
        move(files, "c", "d/e")
        assert files.names() == ["d", "d/e"]

    def test_over_what_is_there(self, files: FilesServer) -> None:
        etag = files.put("a", b"1")["etag"]
        files.put("b", b"2")
        with pytest.raises(Exists):
            move(files, "a", "b")
        with pytest.raises(Changed):
            move(files, "a", "b", overwrite=etag)
        move(files, "a", "b", overwrite="always")
        assert files.names() == ["b"]
        assert (files.root / "b").read_bytes() == b"1"

    @pytest.mark.parametrize("overwrite", ["never", "always"])
    def test_over_a_directory(self, files: FilesServer, overwrite: str) -> None:
        files.put("a", b"1")
        for path in ("b", "c"):
            files.call("mkdir", {"path": path})
        with pytest.raises((Exists, NotAFile)):
            move(files, "a", "b", overwrite=overwrite)
        with pytest.raises(Exists):
            move(files, "b", "c", overwrite=overwrite)
        with pytest.raises(Exists):
            move(files, "b", "a", overwrite=overwrite)
        assert files.names() == ["a", "b", "c"]

    def test_into_itself(self, files: FilesServer) -> None:
        files.call("mkdir", {"path": "a/b", "parents": True})
        for target in ("a/c", "a/b/c"):
            with pytest.raises(RefusedName, match="into itself"):
                move(files, "a", target)
        with pytest.raises(Exists):
            move(files, "a", "a")
        files.put("f", b"")
        with pytest.raises(Exists):
            move(files, "f", "f")
        move(files, "f", "f", overwrite="always")
        assert files.names() == ["a", "a/b", "f"]

    def test_what_is_not_there_is_named(self, files: FilesServer) -> None:
        files.put("a", b"")
        for source, target, named in (("x", "y", "x"), ("x/a", "y", "x/a"), ("a", "y/z", "y/z")):
            with pytest.raises(NotFound) as caught:
                move(files, source, target)
            assert caught.value.details == {"path": named}

    def test_the_root(self, files: FilesServer) -> None:
        files.put("a", b"")
        for source, target in (("", "b"), ("a", ""), ("a", ".")):
            with pytest.raises(RefusedName):
                move(files, source, target)

    def test_a_link_is_nothing_to_move(self, files: FilesServer) -> None:
        files.put("a", b"")
        (files.root / "b").symlink_to("a")
        with pytest.raises(NotAFile):
            move(files, "b", "c")
        with pytest.raises(NotAFile):
            move(files, "a", "b", overwrite="always")
        with pytest.raises(Exists):
            move(files, "a", "b")


def remove(files: FilesServer, path: str, **args: Any) -> None:
    files.call("remove", {"path": path, **args})


class TestRemove:
    def test_a_file_and_a_directory(self, files: FilesServer) -> None:
        files.put("a/b", b"", parents=True)
        with pytest.raises(NotEmpty):
            remove(files, "a")
        remove(files, "a/b")
        remove(files, "a")
        assert files.names() == []
        for recursive in (False, True):
            with pytest.raises(NotFound):
                remove(files, "a", recursive=recursive)
            with pytest.raises(RefusedName):
                remove(files, "", recursive=recursive)

    def test_a_directory_with_all_that_is_in_it(self, files: FilesServer) -> None:
        for path in ("a/b/c/d", "a/b/e", "a/f", "g"):
            files.put(path, b"", parents=True)
        for number in range(600):
            (files.root / "a" / str(number)).touch()
        os.mkdir(os.fsencode(files.root / "a") + b"/caf\xe9")
        remove(files, "a", recursive=True)
        remove(files, "g", recursive=True)
        assert files.names() == []

    @pytest.mark.parametrize("recursive", [False, True])
    def test_a_link_is_nothing_to_remove(self, files: FilesServer, recursive: bool) -> None:
        files.put("a", b"")
        (files.root / "b").symlink_to("a")
        with pytest.raises(NotAFile):
            remove(files, "b", recursive=recursive)
        assert files.names() == ["a", "b"]

    def test_what_nobody_sees_is_not_in_the_way(self, files: FilesServer) -> None:
        files.call("mkdir", {"path": "a"})
        break_off(files, 10, path="a/b")
        assert files.entries("a") == []
        remove(files, "a")
        assert files.names() == []

    def test_an_upload_that_runs_is_in_the_way(self, files: FilesServer) -> None:
        files.call("mkdir", {"path": "a"})
        break_off(files, 10, path="a/b")
        call = start(files, "a/c", upload="y")
        with pytest.raises(Busy):
            remove(files, "a")
        call.cancel()
        files.memory.flush()
        remove(files, "a")

    def test_who_goes_away_stops_it(self, files: FilesServer) -> None:
        for number in range(2000):
            (files.root / "a").mkdir(parents=True, exist_ok=True)
            (files.root / "a" / str(number)).touch()
        call = files.memory.run(
            files.client().open("files.remove", {"path": "a", "recursive": True}, end=True)
        )
        while len(files.names()) == 2001:
            assert files.memory.network.step()
        call.cancel()
        files.memory.flush()
        assert len(files.names()) > 1000
        assert not open_files(files)


class TestDigest:
    @pytest.mark.parametrize("content", [b"", b"hello", BIG])
    def test_all_of_them(self, files: FilesServer, content: bytes) -> None:
        files.put("a", content)
        entry = files.call("stat", {"path": "a"}).result
        for algorithm in ("blake3", "sha256", "md5"):
            expected = digest(content)
            if algorithm != "blake3":
                expected = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
            args = {"path": "a", "algorithm": algorithm}
            for _ in range(2):
                assert files.call("digest", args).result == {
                    "digest": expected,
                    "size": len(content),
                    "etag": entry["etag"],
                }

    def test_another_algorithm(self, files: FilesServer) -> None:
        files.put("a", b"")
        with pytest.raises(InvalidArgument):
            files.call("digest", {"path": "a", "algorithm": "sha1"})

    def test_what_is_no_file(self, files: FilesServer) -> None:
        with pytest.raises(NotAFile):
            files.call("digest", {"path": ""})
        with pytest.raises(NotFound):
            files.call("digest", {"path": "a"})

    def test_who_goes_away_stops_it(self, files: FilesServer) -> None:
        files.root.mkdir()
        (files.root / "a").touch()
        os.truncate(files.root / "a", 2**40)
        call = files.memory.run(files.client().open("files.digest", {"path": "a"}, end=True))
        for _ in range(20):
            files.memory.network.step()
        assert open_files(files)
        call.cancel()
        files.memory.flush()
        assert not open_files(files)


def test_names_that_only_look_alike_are_different(files: FilesServer) -> None:
    paths = ["é", "e\u0301", "É", "a", "A", "a.", "a ", "\u200ba"]
    for number, path in enumerate(paths):
        files.put(path, str(number).encode())
    assert {entry["name"] for entry in files.entries()} == {*paths}
    for number, path in enumerate(paths):
        assert files.get(path)[1] == str(number).encode()


def test_no_error_tells_where_the_root_is(files: FilesServer, tmp_path: Path) -> None:
    (files.root / "a").mkdir(parents=True)
    for args in ({"path": "a"}, {"path": "b"}, {"path": "a/b/c"}, {"path": f"{RESERVED_PREFIX}1"}):
        for op in ("get", "digest", "remove", "mkdir", "list"):
            told = ""
            try:
                files.call(op, args)
            except FilesError as error:
                told = f"{error}{error.details}"
            assert str(tmp_path) not in told


def test_the_root_is_made_when_it_is_used(files: FilesServer) -> None:
    assert not files.root.exists()
    assert files.call("usage").result["used_bytes"] == 0
    assert stat.S_IMODE(files.root.stat().st_mode) == 0o700
