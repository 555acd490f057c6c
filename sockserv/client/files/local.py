"""Files and folders here: looked over, read, and told apart. All of it blocks."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import Lock
from typing import Final

import attrs

from sockserv.client.files.errors import LocalFileError, SourceChanged, naming
from sockserv.client.files.plan import Listed
from sockserv.files.digests import digest_of, new_hasher
from sockserv.files.facts import Entry, FileType
from sockserv.files.names import is_reserved, shown
from sockserv.files.status import entry_of

__all__ = [
    "PIECE_BYTES",
    "Content",
    "Source",
    "digest_of_bytes",
    "list_folder",
    "read_small",
    "whole_digest",
]

PIECE_BYTES: Final = 1024 * 1024


def digest_of_bytes(content: bytes) -> str:
    """The digest of some bytes, as it is written."""
    hasher = new_hasher()
    hasher.update(content)
    return digest_of(hasher)


def list_folder(folder: Path) -> Listed:
    """All that is in a folder and below, without following links; unfinished files are no part of it.

    Raises `LocalFileError` if the folder itself cannot be listed.
    """
    entries: dict[str, Entry] = {}
    unreadable: list[tuple[str, str]] = []
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with naming(prefix or folder):
                found = _in_order(folder / prefix)
        except LocalFileError as error:
            if not prefix:
                raise
            unreadable.append((prefix, str(error.__cause__)))
            continue
        for name, entry in found:
            path = f"{prefix}/{name}" if prefix else name
            text, can_be_named = shown(path)
            if not can_be_named:
                unreadable.append((text, "its name is not UTF-8, so that nobody could ask for it"))
                continue
            entries[path] = entry
            if entry.type is FileType.DIRECTORY:
                waiting.append(path)
    return Listed(entries, tuple(unreadable))


def _in_order(folder: Path) -> list[tuple[str, Entry]]:
    with os.scandir(folder) as found:
        return sorted(
            (one.name, entry_of(one.name, one.stat(follow_symlinks=False)))
            for one in found
            if not is_reserved(one.name)
        )


@attrs.frozen
class Content:
    """A small file: what is in it, and what the system says of it."""

    data: bytes
    digest: str
    mode: int
    mtime_ns: int


def read_small(path: Path, *, max_bytes: int, may_be_link: bool) -> Content | None:
    """All of a file, or None if it is larger than `max_bytes`. Raises `LocalFileError`."""
    with naming(path):
        file = _open(path, may_be_link=may_be_link)
        try:
            status = os.fstat(file)
            if status.st_size > max_bytes:
                return None
            data = _read_all(file, max_bytes + 1)
        finally:
            os.close(file)
    if len(data) != status.st_size:
        raise SourceChanged(f"{path} changed while it was read")
    return Content(data, digest_of_bytes(data), stat.S_IMODE(status.st_mode), status.st_mtime_ns)


def _read_all(file: int, max_bytes: int) -> bytes:
    data = os.read(file, max_bytes)
    # A file gives all of it at once, but some file systems in user space do not.
    while data and len(data) < max_bytes and (more := os.read(file, max_bytes - len(data))):
        data += more
    return data


def _open(path: Path, *, may_be_link: bool) -> int:
    """Open a regular file; nothing else is even waited for, as a FIFO would be."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if may_be_link else os.O_NOFOLLOW)
    file = os.open(path, flags)
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return file
    os.close(file)
    if stat.S_ISDIR(mode):
        raise LocalFileError(f"{path} is a directory")
    raise LocalFileError(f"{path} is not a file with content of its own")


class Source:
    """A file that is being sent, piece by piece, and digested on the way.

    Its methods are for threads, one at a time. `close` is for any thread: it waits for the one that reads, so that
    nobody reads from a descriptor that has become another file's meanwhile.
    """

    def __init__(self, path: Path, *, may_be_link: bool, file: int | None = None) -> None:
        self.path = path
        self._may_be_link = may_be_link
        self._file = file
        self._lock = Lock()
        self._is_given_up = False
        self._offset = 0
        self._hasher = new_hasher()

    def open(self) -> os.stat_result:
        """Open the file, if it was not handed in open, and say what the system knows of it."""
        with self._lock, naming(self.path):
            if self._is_given_up:
                raise LocalFileError(f"{self.path} is not read any more")
            if self._file is None:
                self._file = _open(self.path, may_be_link=self._may_be_link)
            self.status = os.fstat(self._file)
        return self.status

    def skip(self, count: int) -> str:
        """Go on at the offset `count`; gives the digest of what is before it."""
        with self._lock, naming(self.path):
            self._digest(count)
        return self.digest

    def rewind(self) -> None:
        """Begin again."""
        with self._lock:
            self._offset = 0
            self._hasher = new_hasher()

    def read_into(self, memory: memoryview) -> None:
        """Fill memory with the next bytes, and digest them. Raises `SourceChanged` if there are not so many."""
        with self._lock, naming(self.path):
            for start in range(0, len(memory), PIECE_BYTES):
                self._read(memory[start : start + PIECE_BYTES])

    def check(self) -> None:
        """Raise `SourceChanged` if the file is not what it was when it was opened."""
        with self._lock, naming(self.path):
            assert self._file is not None
            now = os.fstat(self._file)
        if (now.st_size, now.st_mtime_ns) != (self.status.st_size, self.status.st_mtime_ns):
            raise SourceChanged(f"{self.path} changed while it was sent: send it again")

    @property
    def digest(self) -> str:
        """The digest of what was read so far."""
        return digest_of(self._hasher)

    def close(self) -> None:
        """Close the file, as soon as nobody reads any more."""
        self._is_given_up = True
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _digest(self, count: int) -> None:
        end = self._offset + count
        # One for all pieces: fresh memory would cost more than the reading.
        buffer = memoryview(bytearray(min(count, PIECE_BYTES)))
        while self._offset < end:
            self._read(buffer[: end - self._offset])

    def _read(self, memory: memoryview) -> None:
        """Fill memory with the next bytes, and digest them."""
        while memory:
            if self._is_given_up or self._file is None:
                raise LocalFileError(f"{self.path} is not read any more")
            size = os.preadv(self._file, [memory], self._offset)
            if not size:
                raise SourceChanged(f"{self.path} became shorter while it was sent")
            self._hasher.update(memory[:size])
            self._offset += size
            memory = memory[size:]


def whole_digest(source: Source) -> str:
    """The digest of all of a source that has been opened."""
    source.rewind()
    return source.skip(source.status.st_size)
