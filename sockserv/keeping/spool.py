"""What a kept job has written: two files, which are bounded together and only ever added to.

A reader sees at once what was written, and never anything else at the same offset.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sockserv.keeping.folder import JobFolder

__all__ = ["PIECE_BYTES", "Spool", "SpoolFull", "read_piece"]

PIECE_BYTES: Final = 1024 * 1024
"""What is read at a time is no more."""

_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW


class SpoolFull(Exception):
    """There is more than is to be kept; all before that was kept."""


class _File:
    """One of the two files."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, _WRITE_FLAGS | os.O_CLOEXEC, 0o600)
        self.bytes = 0

    def add(self, data: memoryview) -> None:
        """Write all of it; raises `OSError`, and then `bytes` has what was written before that."""
        while data:
            count = os.write(self._file, data)
            self.bytes += count
            data = data[count:]

    def sync(self) -> None:
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class Spool:
    """The files of a job, for the one who adds to them. Everything here blocks.

    `limit_bytes` is how much both may have together.
    """

    def __init__(self, folder: JobFolder, *, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._stdout = _File(folder.stdout)
        try:
            self._stderr = _File(folder.stderr)
        except BaseException:
            self._stdout.close()
            raise

    @property
    def stdout_bytes(self) -> int:
        """How much is kept of the standard output."""
        return self._stdout.bytes

    @property
    def stderr_bytes(self) -> int:
        """How much is kept of the standard error."""
        return self._stderr.bytes

    def add_stdout(self, data: bytes) -> None:
        """Keep what was written to the standard output.

        As much is kept as there is room for. Raises `SpoolFull` when that is not all, and `OSError` when the disk
        takes no more.
        """
        self._add(self._stdout, data)

    def add_stderr(self, data: bytes) -> None:
        """Keep what was written to the standard error; raises what `add_stdout` raises."""
        self._add(self._stderr, data)

    def close(self) -> None:
        """There is no more: waits until the disk has it. Raises `OSError` when it may not have all."""
        try:
            self._stdout.sync()
            self._stderr.sync()
        finally:
            self._stdout.close()
            self._stderr.close()

    def _add(self, file: _File, data: bytes) -> None:
        room = self._limit_bytes - self.stdout_bytes - self.stderr_bytes
        file.add(memoryview(data)[:room])
        if len(data) > room:
            raise SpoolFull


def read_piece(path: Path, *, offset: int, max_bytes: int = PIECE_BYTES) -> bytes:
    """What a job has written from `offset` on, as much as there is by now, up to a bound; blocks. Raises `OSError`."""
    # A job of the same account can put anything in its place, a pipe without an end among it.
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.pread(file, max_bytes, offset)
    finally:
        os.close(file)
