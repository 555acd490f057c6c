"""Writing the log: everything here blocks, and belongs to one thread at a time.

Invariants:

1. What `append` has returned for is on the disk, and `head` says so.
2. What it has raised for is not in the log: it is cut off again, at the latest before the next record.
3. The number of a record is one more than that of the record before, whatever happened to the file in between: what
   somebody has taken away leaves a gap for ever.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from shlex import quote
from typing import Any, Final

import msgspec

from sockserv.atomic import explained, sync_directory
from sockserv.errors import StateError
from sockserv.trust.audit.arguments import fitting_text
from sockserv.trust.audit.chain import GENESIS, seal
from sockserv.trust.audit.folder import MAX_LINE_BYTES, AuditFolder, Head
from sockserv.trust.audit.record import Event, Record
from sockserv.trust.audit.recovery import recover

__all__ = ["AuditWriter"]

_PRIVATE: Final = 0o600


class AuditWriter:
    """The one writer of a log.

    A file that has reached `max_file_bytes` is followed by another; of all of them the last `keep_files` are kept, and
    with `keep_seconds` all whose last record is not older than that, however many they are.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_file_bytes: int,
        keep_files: int,
        keep_seconds: float | None = None,
    ) -> None:
        self._folder = AuditFolder(path)
        self._max_file_bytes = max_file_bytes
        self._keep_files = keep_files
        self._keep_seconds = keep_seconds
        self._lock: int | None = None
        self._head_file = -1
        self._file = -1
        self._number = 0
        # Where that file was opened, as text: it is looked for with every batch.
        self._name = ""
        self._size = 0
        self._head = Head(0, GENESIS)

    def open(self) -> dict[str, Any]:
        """Make the folder where there is none, lock it, and find the end of what is in it.

        Returns what was found there that is not as it should be, for the first record. Raises `StateError` when
        others can enter the folder, another writer has it, or it cannot be used.
        """
        try:
            with explained(StateError, "open the audit log", self._folder.path):
                return self._open()
        except StateError:
            self.close()
            raise

    def append(self, records: Sequence[Record]) -> None:
        """Write records, one at least, and wait until the disk has them.

        Raises `OSError`, and then none of them is in the log.
        """
        ours = os.fstat(self._file)
        size = ours.st_size
        if size > self._size:
            # What is there more was left by an attempt that failed.
            os.ftruncate(self._file, self._size)
        self._size = min(size, self._size)
        if self._size >= self._max_file_bytes:
            self._rotate(records[0].time, {})
        elif not self._is_in_place(ours):
            self._rotate(records[0].time, {"vanished": self._folder.file(self._number).name})
        self._write(records)

    def close(self) -> None:
        """Let the log go. A second call does nothing."""
        for file in (self._file, self._head_file, self._lock):
            if file is not None and file >= 0:
                os.close(file)
        self._file = self._head_file = -1
        self._lock = None

    def _open(self) -> dict[str, Any]:
        folder = self._folder
        folder.path.mkdir(mode=0o700, exist_ok=True)
        _check_privacy(folder.path)
        self._lock = os.open(folder.lock_path, _FLAGS | os.O_RDWR, _PRIVATE)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"another process writes the audit log {folder.path} already: stop it"
            ) from None
        found = recover(folder)
        self._head = found.head
        self._number = max(folder.numbers(), default=1)
        self._head_file = os.open(folder.head_path, _FLAGS | os.O_RDWR, _PRIVATE)
        if os.fstat(self._head_file).st_size == 0:
            # From the first record on there is one.
            os.pwrite(self._head_file, bytes(found.head), 0)
        self._file = self._open_file(self._number)
        self._name = str(folder.file(self._number))
        self._size = os.fstat(self._file).st_size
        return found.facts

    def _open_file(self, number: int, flags: int = 0) -> int:
        file = os.open(
            self._folder.file(number), _FLAGS | os.O_WRONLY | os.O_APPEND | flags, _PRIVATE
        )
        try:
            sync_directory(self._folder.path)
        except OSError:
            os.close(file)
            raise
        return file

    def _write(self, records: Sequence[Record]) -> None:
        lines, head = _sealed(records, self._head)
        size = self._size
        try:
            _write_all(self._file, lines)
            os.fsync(self._file)
            os.pwrite(self._head_file, bytes(head), 0)
        except OSError:
            # If this fails, too, the next attempt begins with it.
            with suppress(OSError):
                os.ftruncate(self._file, size)
            raise
        self._size = size + len(lines)
        self._head = head

    def _is_in_place(self, ours: os.stat_result) -> bool:
        """Whether the file that is written to still has its name, so that its readers find it."""
        try:
            found = os.stat(self._name)
        except FileNotFoundError:
            return False
        return (found.st_ino, found.st_dev) == (ours.st_ino, ours.st_dev)

    def _too_old(self, numbers: list[int], time: str) -> list[int]:
        """Those of the oldest files that need not be kept any more at a time."""
        if self._keep_seconds is None:
            return numbers
        last = datetime.fromisoformat(time).timestamp() - self._keep_seconds
        file = self._folder.file
        return [*takewhile(lambda number: file(number).stat().st_mtime < last, numbers)]

    def _rotate(self, time: str, facts: dict[str, Any]) -> None:
        """Go on in a new file, whose first record names the files that go for it."""
        numbers = self._folder.numbers()
        number = max(self._number, *numbers) + 1 if numbers else self._number + 1
        removed = self._too_old([*numbers, number][: -self._keep_files], time)
        file = self._open_file(number, os.O_EXCL)
        os.close(self._file)
        before, self._number, self._file, self._size = self._number, number, file, 0
        self._name = str(self._folder.file(number))
        names = [self._folder.file(each).name for each in removed]
        self._write(
            [
                Record(
                    event=Event.ROTATED,
                    time=time,
                    facts={"after": self._folder.file(before).name, "removed": names, **facts},
                )
            ]
        )
        for each in removed:
            self._folder.file(each).unlink(missing_ok=True)


_FLAGS: Final = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def _sealed(records: Sequence[Record], head: Head) -> tuple[bytes, Head]:
    """The lines for records that follow `head`, and the head after them."""
    lines = []
    for record in records:
        placed = msgspec.structs.replace(record, seq=head.seq + 1, prev=head.hash)
        try:
            line, digest = seal(placed)
            if len(line) > MAX_LINE_BYTES:
                raise ValueError("the line is too long")
        except (ValueError, TypeError, RecursionError) as error:
            # One record that cannot be expressed must not keep the others from being written.
            facts = {"unwritable": fitting_text(str(error))}
            placed = msgspec.structs.replace(placed, args=None, why=None, facts=facts)
            line, digest = seal(placed)
        lines.append(line)
        head = Head(placed.seq, digest)
    return b"".join(lines), head


def _write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


def _check_privacy(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise StateError(
            f"others can enter the folder of the audit log {path} (mode {mode:04o}): "
            f"close it with `chmod 700 {quote(str(path))}`"
        )
