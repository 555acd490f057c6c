"""What is told about a file."""

from __future__ import annotations

import os
from pathlib import Path

from sockserv.files import FileType
from sockserv.files.status import entry_of, etag_of, type_of


def test_an_etag_is_that_of_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    os.utime(path, ns=(1, 1))
    first = etag_of(path.stat())
    assert first == etag_of(path.stat())
    path.write_bytes(b"2")
    os.utime(path, ns=(1, 1))
    changed = etag_of(path.stat())
    other = tmp_path / "b"
    other.write_bytes(b"2")
    os.utime(other, ns=(1, 1))
    assert len({first, changed, etag_of(other.stat())}) == 3


def test_an_etag_of_times_before_1970(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    os.utime(path, ns=(-(10**9), -(10**9)))
    assert etag_of(path.stat()).isalnum()


def test_types(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    types = {path.name: type_of(path.lstat()) for path in [*tmp_path.iterdir()]}
    assert types == {"file": FileType.FILE, "link": FileType.OTHER, "fifo": FileType.OTHER}
    assert type_of(tmp_path.stat()) is FileType.DIRECTORY


def test_an_entry(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")
    path.write_bytes(b"123")
    path.chmod(0o640)
    entry = entry_of(path.name, path.lstat())
    assert (entry.name, entry.unnameable) == ("caf\N{REPLACEMENT CHARACTER}e9", True)
    assert (entry.type, entry.size, entry.mode, entry.path) == (FileType.FILE, 3, 0o640, None)
    assert entry.etag == etag_of(path.stat())


def test_an_entry_further_down(tmp_path: Path) -> None:
    entry = entry_of("a", tmp_path.stat(), below=())
    assert (entry.path, entry.unnameable) == ("a", False)
    entry = entry_of("a", tmp_path.stat(), below=("中", os.fsdecode(b"\xff")))
    assert (entry.path, entry.unnameable) == ("中/\N{REPLACEMENT CHARACTER}ff/a", True)
