"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockserv.atomic import explained, remove_file, replace_file, written_beside
from sockserv.errors import StateError


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """What a full disk does to a process that writes, without filling one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_it_replaces_all_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("longer than what follows")
    replace_file(path, b"short")
    assert path.read_bytes() == b"short"
    assert os.listdir(tmp_path) == ["file"]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        replace_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_what_a_crash_has_left_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file.new").write_text("half")
    replace_file(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with files_of_at_most(100), pytest.raises(OSError, match="too large") as caught:
        replace_file(path, b"x" * 101)
    assert caught.value.errno == errno.EFBIG
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), written_beside(path):
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_replaced_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "elsewhere").read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()


def test_an_error_of_the_system_says_what_could_not_be_done(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(StateError) as caught, explained(StateError, "read", path):
        path.read_bytes()
    assert str(caught.value) == f"cannot read {path}: no such file or directory"


def test_what_is_removed_leaves_nothing(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"secret")
    (tmp_path / "file.new").write_text("half of a secret")
    (tmp_path / "other").write_text("stays")
    remove_file(tmp_path / "file")
    assert os.listdir(tmp_path) == ["other"]
    with pytest.raises(FileNotFoundError):
        remove_file(tmp_path / "file")
