"""Real threads: somebody changes the tree while the service works in it, and many want the same name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sockserv.errors import CallError
from sockserv.files.arguments import (
    GetArguments,
    MakeDirectoryArguments,
    MoveArguments,
    PutArguments,
    RemoveArguments,
)
from sockserv.files.errors import Changed, Exists, FilesError
from sockserv.services.files import tree
from sockserv.services.files.cache import DigestCache
from sockserv.services.files.download import Download, digest_file
from sockserv.services.files.folders import Folders
from sockserv.services.files.store import Store
from sockserv.services.files.upload import Upload
from sockserv.trust import FilesAccess
from tests.disk.services.files.kit import digest, somebody
from tests.files.attacks import SECRET, Prison

CONTENT = b"hello"


class Blocking:
    """What the service does in threads, without the service."""

    def __init__(self, root: Path) -> None:
        now_ns = [0]
        self._store = Store(
            Folders(root),
            quota_bytes=None,
            rate_bytes_per_second=None,
            seconds=lambda: 0.0,
            now_ns=lambda: now_ns[0],
        )
        self._share = self._store.share_of(somebody(FilesAccess.READ_WRITE))
        self.jail = self._share.folder.jail
        self.digests: DigestCache = self._store.digests

    def put(self, path: str, content: bytes = CONTENT, **args: Any) -> Any:
        args = {"overwrite": "always", "digest": digest(content), **args}
        upload = Upload(
            args=PutArguments(path=path, **args),
            folder=self._share.folder,
            partial=self._store.partials.name("somebody", path, ""),
            partials=self._store.partials,
            quota=self._share.quota,
            digests=self.digests,
            digest=digest(content),
        )
        steps = upload.alone()
        next(steps)
        steps.send([content])
        with pytest.raises(StopIteration) as stop:
            steps.send(())
        return stop.value.value

    def get(self, path: str) -> Any:
        download = Download(jail=self.jail, args=GetArguments(path=path), digests=self.digests)
        steps = download.steps()
        next(steps, None)
        steps.close()
        return download.content

    def digest(self, path: str) -> Any:
        return [*digest_file(self.jail, path, "md5", self.digests)]

    def list(self, path: str) -> Any:
        return [*tree.list_tree(self.jail, path, recursive=True)]

    def remove(self, path: str, *, recursive: bool = False) -> Any:
        args = RemoveArguments(path=path, recursive=recursive)
        return [*tree.remove(self.jail, args, self._store.partials)]

    def move(self, source: str, target: str, overwrite: str = "always") -> Any:
        tree.move(self.jail, MoveArguments(source=source, target=target, overwrite=overwrite))

    def mkdir(self, path: str, *, parents: bool = False) -> Any:
        tree.make_directory(self.jail, MakeDirectoryArguments(path=path, parents=parents))


@contextmanager
def swapping(prison: Prison) -> Iterator[None]:
    """`folder` is a link to the outside every other moment."""
    root = prison.root
    (root / "link").symlink_to(prison.outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "folder").rename(root / "aside")
            (root / "link").rename(root / "folder")
            (root / "folder").rename(root / "link")
            (root / "aside").rename(root / "folder")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


OPERATIONS: dict[str, Callable[[Blocking, int], Any]] = {
    "put": lambda blocking, number: blocking.put("folder/file"),
    "put a new one": lambda blocking, number: blocking.put(f"folder/{number}", overwrite="never"),
    "put over a secret": lambda blocking, number: blocking.put("folder/secret"),
    "get": lambda blocking, number: blocking.get("folder/file"),
    "get a secret": lambda blocking, number: blocking.get("folder/secret"),
    "digest": lambda blocking, number: blocking.digest("folder/secret"),
    "list": lambda blocking, number: blocking.list("folder"),
    "list all": lambda blocking, number: blocking.list(""),
    "mkdir": lambda blocking, number: blocking.mkdir(f"folder/{number}"),
    "move there": lambda blocking, number: (
        blocking.put("new"),
        blocking.move("new", "folder/secret"),
    ),
    "move from there": lambda blocking, number: blocking.move("folder/secret", "stolen"),
    "remove": lambda blocking, number: blocking.remove("folder/secret"),
    "remove a directory": lambda blocking, number: blocking.remove("folder/folder"),
    "remove all of a directory": lambda blocking, number: blocking.remove(
        "folder/folder", recursive=True
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_directory_becomes_a_link_and_a_directory_again(tmp_path: Path, name: str) -> None:
    prison = Prison(tmp_path)
    blocking = Blocking(prison.root)
    before = prison.seen_outside()
    with swapping(prison):
        for number in range(300):
            try:
                answer = OPERATIONS[name](blocking, number)
            except FilesError as error:
                answer = error
            assert SECRET.decode() not in repr(answer)
            assert b"root-private" not in repr(answer).encode()
    assert prison.seen_outside() == before
    assert not (prison.root / "stolen").exists()


def in_threads(count: int, do: Callable[[int], Any]) -> list[Any]:
    """What each of many gets who begin at once; an error is what it gets, too."""
    outcomes: list[Any] = [None] * count
    ready = threading.Barrier(count)

    def run(number: int) -> None:
        ready.wait()
        try:
            outcomes[number] = do(number)
        except CallError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def content_of(number: int) -> bytes:
    return str(number).encode() * 10_000


def test_many_want_a_free_name(tmp_path: Path) -> None:
    blocking = Blocking(tmp_path)
    for _ in range(10):
        outcomes = in_threads(
            8, lambda number: blocking.put("a", content_of(number), overwrite="never")
        )
        won = [number for number in range(8) if not isinstance(outcomes[number], FilesError)]
        assert len(won) == 1
        assert {type(outcome) for outcome in outcomes if isinstance(outcome, FilesError)} <= {
            Exists
        }
        assert (tmp_path / "a").read_bytes() == content_of(won[0])
        blocking.remove("a")


def test_many_replace_the_same_file(tmp_path: Path) -> None:
    blocking = Blocking(tmp_path)
    etag = blocking.put("a").etag
    for _ in range(10):
        outcomes = in_threads(
            8,
            lambda number: blocking.put("a", content_of(number), overwrite=etag),  # noqa: B023
        )
        won = [number for number in range(8) if not isinstance(outcomes[number], FilesError)]
        assert len(won) == 1
        assert {type(outcome) for outcome in outcomes if isinstance(outcome, FilesError)} == {
            Changed
        }
        assert (tmp_path / "a").read_bytes() == content_of(won[0])
        etag = outcomes[won[0]].etag


def test_whoever_reads_meanwhile_sees_a_whole_file(tmp_path: Path) -> None:
    blocking = Blocking(tmp_path)
    blocking.put("a", content_of(0))
    whole = {content_of(number) for number in range(8)}

    def use(number: int) -> None:
        for _ in range(30):
            if number % 2:
                blocking.put("a", content_of(number))
            else:
                assert blocking.get("a") in whole

    assert in_threads(8, use) == [None] * 8
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_many_move_to_the_same_name(tmp_path: Path) -> None:
    blocking = Blocking(tmp_path)
    for number in range(8):
        (tmp_path / str(number)).mkdir()
    outcomes = in_threads(
        8,
        lambda number: tree.move(blocking.jail, MoveArguments(source=str(number), target="a")),
    )
    assert outcomes.count(None) == 1
    assert len([*tmp_path.iterdir()]) == 8


def test_directories_are_made_and_removed_at_the_same_time(tmp_path: Path) -> None:
    blocking = Blocking(tmp_path)

    def use(number: int) -> None:
        for _ in range(50):
            try:
                if number % 2:
                    blocking.put("a/b/c/d", parents=True)
                else:
                    blocking.remove("a", recursive=True)
            except FilesError:
                pass  # the other was quicker

    assert in_threads(6, use) == [None] * 6
    blocking.put("a/b/c/d", parents=True)
    blocking.remove("a", recursive=True)
    assert [*tmp_path.iterdir()] == []
