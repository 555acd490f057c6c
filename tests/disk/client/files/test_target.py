"""Where fetched files are written: whatever is swapped in between, nothing is written anywhere else."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from twisted.internet.defer import CancelledError

from sockserv.client.files.errors import LocalFileError, TargetBusy
from sockserv.client.files.plan import Place
from sockserv.client.files.target import Target, make_folder, remove
from sockserv.files.arguments import ALWAYS
from sockserv.testing import MemoryServer
from tests.client.files.fake_files import FakeFiles

ROUNDS = 300

_HERE = -100
_RENAME_EXCHANGE = 2


@contextmanager
def swapping(folder: Path, outside: Path) -> Iterator[None]:
    """Somebody who makes of a folder a link to another one, and back, all the time."""
    over = Event()
    link = folder.with_name("link")
    link.symlink_to(outside)
    exchange = ctypes.CDLL(None).renameat2

    def swap() -> None:
        while not over.is_set():
            exchange(_HERE, os.fsencode(folder), _HERE, os.fsencode(link), _RENAME_EXCHANGE)

    thread = Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere two names are not exchanged at once")
def test_a_folder_that_becomes_a_link_meanwhile(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    refused = 0
    with swapping(root / "sub", outside):
        for number in range(ROUNDS):
            target = Target(Place(root, ("sub", "precious")), str(number))
            try:
                target.open(resume=False, is_private=False)
                target.write([b"evil"])
                target.finish(overwrite=ALWAYS, mode=None, mtime_ns=None)
                make_folder(Place(root, ("sub", f"folder{number}")))
                remove(Place(root, ("sub", "precious")), is_folder=False)
            except LocalFileError:
                refused += 1
            finally:
                target.close()
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"precious": b"precious"}
    assert refused


def test_it_is_given_up_while_somebody_writes(tmp_path: Path) -> None:
    target = Target(Place(tmp_path, ("a",)), "1")
    target.open(resume=True, is_private=False)
    target.write([b"12"])
    target.close()
    with pytest.raises(LocalFileError, match="not fetched any more"):
        target.write([b"3"])
    with pytest.raises(LocalFileError, match="not fetched any more"):
        target.open(resume=True, is_private=False)
    target.close()
    again = Target(Place(tmp_path, ("a",)), "1")
    assert again.open(resume=True, is_private=False) == 2
    with pytest.raises(TargetBusy):
        Target(Place(tmp_path, ("a",)), "1").open(resume=True, is_private=False)
    again.close()


def test_what_is_left_of_older_contents_goes_with_the_next(tmp_path: Path) -> None:
    for etag in ("1", "2"):
        older = Target(Place(tmp_path, ("a",)), etag)
        older.open(resume=True, is_private=False)
        older.write([b"12"])
        if etag == "1":
            older.close()
    other = Target(Place(tmp_path, ("b",)), "1")
    other.open(resume=True, is_private=False)
    other.write([b"12"])
    other.close()
    target = Target(Place(tmp_path, ("a",)), "3")
    target.open(resume=True, is_private=False)
    target.write([b"123"])
    target.finish(overwrite=ALWAYS, mode=None, mtime_ns=None)
    target.remove_stale()
    target.close()
    # That which somebody still writes stays, and so does that of another file.
    assert len([*tmp_path.iterdir()]) == 3
    older.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nobody tells what is open")
@pytest.mark.parametrize("command", ["put", "get"])
def test_whenever_it_is_cancelled_nothing_stays_open(tmp_path: Path, command: str) -> None:
    content = bytes(300_000)
    (tmp_path / "big").write_bytes(content)
    service = FakeFiles({"there": content})
    with MemoryServer([service]) as memory:
        files = memory.connect().files
        before = os.listdir("/proc/self/fd")
        for steps in range(0, 120, 3):
            running = (
                files.put(tmp_path / "big", f"new {steps}")
                if command == "put"
                else files.get("there", tmp_path / f"new {steps}")
            )
            for _ in range(steps):
                memory.network.step()
            running.cancel()
            running.addErrback(lambda failure: failure.trap(CancelledError))
            memory.flush()
        assert os.listdir("/proc/self/fd") == before
    assert all(path.stat().st_size for path in tmp_path.iterdir())
