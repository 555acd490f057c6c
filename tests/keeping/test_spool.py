"""The output of a kept job on the disk: all of it up to the limit, and not a byte more."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sockserv.keeping.folder import JobFolder
from sockserv.keeping.spool import Spool, SpoolFull, read_piece


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path)


def test_both_streams_are_kept(folder: JobFolder) -> None:
    spool = Spool(folder, limit_bytes=100)
    spool.add_stdout(b"one")
    spool.add_stderr(b"two")
    spool.add_stdout(b" three")
    # Who reads sees it at once.
    assert folder.stdout.read_bytes() == b"one three"
    assert folder.stderr.read_bytes() == b"two"
    assert (spool.stdout_bytes, spool.stderr_bytes) == (9, 3)
    spool.close()


@pytest.mark.parametrize(("size", "is_full"), [(6, False), (7, True), (1000, True)])
def test_the_limit_holds_for_both_together(folder: JobFolder, size: int, is_full: bool) -> None:
    spool = Spool(folder, limit_bytes=10)
    spool.add_stderr(b"1234")
    if is_full:
        with pytest.raises(SpoolFull):
            spool.add_stdout(b"x" * size)
    else:
        spool.add_stdout(b"x" * size)
    assert folder.stdout.read_bytes() == b"x" * 6
    assert spool.stdout_bytes == 6
    spool.close()


def test_nothing_at_all_may_be_kept(folder: JobFolder) -> None:
    spool = Spool(folder, limit_bytes=0)
    spool.add_stdout(b"")
    with pytest.raises(SpoolFull):
        spool.add_stdout(b"x")
    assert spool.stdout_bytes == 0
    spool.close()


def test_a_disk_that_takes_a_part(folder: JobFolder) -> None:
    spool = Spool(folder, limit_bytes=100)
    spool.add_stdout(b"before")
    # /dev/full takes nothing, as a full disk does.
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, spool._stdout._file)
    os.close(full)
    with pytest.raises(OSError, match="No space") as caught:
        spool.add_stdout(b"after")
    assert caught.value.errno == errno.ENOSPC
    assert spool.stdout_bytes == 6
    assert folder.stdout.read_bytes() == b"before"


def test_a_file_that_is_there_is_not_written_over(folder: JobFolder) -> None:
    folder.stderr.write_bytes(b"there")
    with pytest.raises(FileExistsError):
        Spool(folder, limit_bytes=10)
    assert folder.stderr.read_bytes() == b"there"


def test_reading_pieces(folder: JobFolder) -> None:
    folder.stdout.write_bytes(b"0123456789")
    assert read_piece(folder.stdout, offset=0) == b"0123456789"
    assert read_piece(folder.stdout, offset=3, max_bytes=4) == b"3456"
    assert read_piece(folder.stdout, offset=10) == b""
    assert read_piece(folder.stdout, offset=99) == b""


def test_nobody_waits_for_a_pipe(folder: JobFolder) -> None:
    os.mkfifo(folder.stdout)
    with pytest.raises(OSError, match="seek"):
        read_piece(folder.stdout, offset=0)


def test_no_link_is_followed(folder: JobFolder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder.stdout.symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        read_piece(folder.stdout, offset=0)
