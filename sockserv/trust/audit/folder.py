"""Where the log is: a folder of numbered files, the later one going on where the earlier one ends, and `head`.

`head` holds the number and the hash of the last record. It is written when that record is on the disk, so it may be
behind the files after a crash, and is never before them: if it is, somebody has taken away the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from sockserv.errors import LocalError

__all__ = ["MAX_LINE_BYTES", "AuditFolder", "AuditLogError", "Head", "RawLine"]

MAX_LINE_BYTES: Final = 256 * 1024
"""No line is longer; what is, was not written by a log."""

_FILE = re.compile(r"(\d{8,18})\.jsonl")
_HEAD = re.compile(rb"(\d{20}) ([0-9a-f]{64})\n")


class AuditLogError(LocalError):
    """There is no log to be read; the message says where it was looked for."""


@attrs.frozen
class Head:
    """The last record that is sure to be on the disk."""

    seq: int
    hash: str

    def __bytes__(self) -> bytes:
        # Always of the same length, so that a new one covers the old one.
        return b"%020d %b\n" % (self.seq, self.hash.encode())


@attrs.frozen
class RawLine:
    """A line as it stands in a file: its number, counted from 1, its bytes, and where they begin.

    A line `is_whole` when its newline is there, which `content` goes without.
    """

    number: int
    content: bytes
    offset: int
    is_whole: bool


@attrs.frozen
class AuditFolder:
    """The files of a log, by the folder's path."""

    path: Path

    @property
    def head_path(self) -> Path:
        """Where the number and hash of the last record stand."""
        return self.path / "head"

    @property
    def lock_path(self) -> Path:
        """What the one writer holds a lock on."""
        return self.path / "lock"

    def file(self, number: int) -> Path:
        """The file with a number."""
        return self.path / f"{number:08d}.jsonl"

    def numbers(self) -> list[int]:
        """The numbers of the files that are there, in order. Raises `OSError`."""
        found = (_FILE.fullmatch(entry.name) for entry in self.path.iterdir())
        return sorted(int(matched[1]) for matched in found if matched)

    def head(self) -> Head | None:
        """What `head` says; None when it says nothing that makes sense. Raises `OSError`."""
        try:
            with self.head_path.open("rb") as file:
                matched = _HEAD.fullmatch(file.read(256))
        except FileNotFoundError:
            return None
        return None if matched is None else Head(int(matched[1]), matched[2].decode())

    def lines(self, number: int, *, offset: int = 0, first: int = 1) -> Iterator[RawLine]:
        """The lines of a file, from `offset` on, where the line with the number `first` begins. Raises `OSError`."""
        with self.file(number).open("rb") as file:
            file.seek(offset)
            while content := file.readline(MAX_LINE_BYTES):
                is_whole = content.endswith(b"\n")
                yield RawLine(first, content.removesuffix(b"\n"), offset, is_whole)
                offset += len(content)
                first += is_whole
