"""Bytes, times and modes as people read them."""

from __future__ import annotations

import pytest

from sockserv.cli.amounts import amount, counted, mode, moment
from sockserv.files.facts import FileType


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (2**62, "4612 PB"),
        (0.4, "0 bytes"),
    ],
)
def test_amount(size: float, text: str) -> None:
    assert amount(size) == text


def test_counted() -> None:
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


@pytest.mark.parametrize("nanoseconds", [10**30, -(10**30)])
def test_a_time_that_no_clock_shows(nanoseconds: int) -> None:
    assert moment(nanoseconds) == "far from now"


def test_mode() -> None:
    assert mode(FileType.FILE, 0o4755) == "-rwsr-xr-x"
    assert mode(FileType.DIRECTORY, 0o1777) == "drwxrwxrwt"
    assert mode(FileType.OTHER, 0) == "?---------"
    assert mode(FileType.FILE, -1) == "-rwsrwsrwt"
    assert mode(FileType.FILE, 2**70) == "----------"
