"""Disks that are full, read-only or another's: what the files service makes of them. Needs to be the superuser."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sockserv.files.errors import (
    FilesDenied,
    FilesError,
    FilesIOError,
    NoSpace,
    ReadOnly,
)
from tests.disk.services.files.test_races import Blocking
from tests.test_atomic import files_of_at_most

DISK_BYTES = 1024 * 1024
FILES = 64


def mount(*arguments: str) -> None:
    result = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"nothing can be mounted here: {result.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mount("-t", "tmpfs", "-o", f"size={DISK_BYTES},nr_inodes={FILES}", "tmpfs", str(path))
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_there_is_no_room_for_what_is_announced(disk: Path) -> None:
    blocking = Blocking(disk)
    with pytest.raises(NoSpace) as caught:
        blocking.put("a", b"", size=2 * DISK_BYTES)
    assert caught.value.details["free_bytes"] <= DISK_BYTES
    assert names(disk) == []


def test_the_disk_becomes_full(disk: Path) -> None:
    blocking = Blocking(disk)
    blocking.put("a", bytes(DISK_BYTES // 2))
    for args in ({}, {"upload": "x"}):
        with pytest.raises(NoSpace, match="'b': the disk is full"):
            blocking.put("b", bytes(DISK_BYTES), **args)
        with pytest.raises(NoSpace):
            blocking.put("a", bytes(DISK_BYTES), **args)
        assert names(disk) == ["a"], "what cannot be finished takes no room"
    assert (disk / "a").stat().st_size == DISK_BYTES // 2
    blocking.put("b", bytes(DISK_BYTES // 4))
    blocking.remove("a")
    blocking.put("b", bytes(DISK_BYTES // 2))


def test_there_are_no_names_left(disk: Path) -> None:
    blocking = Blocking(disk)
    for number in range(FILES - len(names(disk)) - 1):
        try:
            blocking.put(str(number), b"")
        except NoSpace:
            break
    with pytest.raises(NoSpace):
        blocking.put("one more", b"")
    with pytest.raises(NoSpace):
        blocking.mkdir("one more")
    assert "one more" not in names(disk)
    blocking.move("0", "moved")
    blocking.remove("moved")
    blocking.put("one more", b"")


def test_a_file_may_not_be_so_large(tmp_path: Path) -> None:
    blocking = Blocking(tmp_path)
    with files_of_at_most(1000), pytest.raises(NoSpace, match="no file so large"):
        blocking.put("a", bytes(2000))
    assert names(tmp_path) == []


def changes(blocking: Blocking) -> list[Callable[[], Any]]:
    return [
        lambda: blocking.put("new"),
        lambda: blocking.put("a"),
        lambda: blocking.put("folder/new"),
        lambda: blocking.mkdir("new"),
        lambda: blocking.move("a", "b"),
        lambda: blocking.remove("a"),
        lambda: blocking.remove("folder"),
        lambda: blocking.remove("folder", recursive=True),
    ]


def prepare(root: Path) -> Blocking:
    blocking = Blocking(root)
    blocking.put("a")
    blocking.put("folder/b", parents=True)
    return blocking


def test_a_file_system_that_can_only_be_read(disk: Path) -> None:
    blocking = prepare(disk)
    mount("-o", "remount,ro", str(disk))
    for change in changes(blocking):
        with pytest.raises(ReadOnly):
            change()
    assert blocking.get("a") == blocking.get("folder/b") == b"hello"
    assert blocking.list("")


@contextmanager
def nobody() -> Iterator[None]:
    """Be an account that may little."""
    if os.geteuid():
        pytest.skip("only the superuser can be somebody else")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every account can go to; those of pytest are private, and what is above them is."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_belongs_to_another_account(shared: Path) -> None:
    blocking = prepare(shared)
    (shared / "folder").chmod(0o755)
    with nobody():
        for change in changes(blocking):
            with pytest.raises(FilesDenied):
                change()
        assert blocking.get("a") == b"hello"
    (shared / "a").chmod(0)
    (shared / "folder").chmod(0)
    with nobody():
        for use in (
            lambda: blocking.get("a"),
            lambda: blocking.list("folder"),
            lambda: blocking.get("folder/b"),
        ):
            with pytest.raises(FilesDenied):
                use()
        with pytest.raises(FilesDenied, match="'folder'"):
            blocking.list("")


def test_another_file_system_further_down(disk: Path) -> None:
    blocking = Blocking(disk.parent)
    blocking.put("a", b"1")
    blocking.put("disk/b", b"2")
    for source, target in (("a", "disk/a"), ("disk/b", "b")):
        with pytest.raises(FilesIOError, match="another file system"):
            blocking.move(source, target)
    with pytest.raises(FilesError):
        blocking.remove("disk", recursive=True)
    blocking.put("disk/b", b"3")
    assert blocking.get("disk/b") == b"3"


def test_no_descriptor_is_left_of_what_fails(disk: Path) -> None:
    blocking = prepare(disk)
    before = len(os.listdir("/proc/self/fd"))
    for size in (DISK_BYTES, 2 * DISK_BYTES):
        for path in ("a", "folder/c", "nowhere/d"):
            with pytest.raises(FilesError):
                blocking.put(path, bytes(size))
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() < 50
