"""A file that is being fetched: written beside its place under a private name, whole before it gets its own.

Invariants:

1. Below the folder that the user has named no link is followed, whatever stood there before: names that a server has
   sent lead nowhere else.
2. Under its name there is the old file, or none, or the new one, whole, verified and on the disk.
3. Only one process at a time writes an unfinished file: it holds a lock on it. What a process leaves that is killed
   is found by the next one.

All of it blocks.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Lock
from typing import Final, NoReturn

from sockserv.client.files.errors import (
    LocalFileError,
    TargetBusy,
    TargetExists,
    naming,
)
from sockserv.client.files.local import PIECE_BYTES
from sockserv.client.files.plan import Place
from sockserv.files.arguments import ALWAYS, NEVER
from sockserv.files.digests import digest_of, new_hasher
from sockserv.files.facts import Entry
from sockserv.files.jail import open_directory
from sockserv.files.names import RESERVED_PREFIX
from sockserv.files.rename import rename_exclusively
from sockserv.files.status import entry_of, etag_of

__all__ = ["Target", "folder_of", "make_folder", "remove"]

_PERMISSIONS: Final = 0o777
_SHORT_DIGITS: Final = 24
_MAX_BUFFERS: Final = 512  # far below any system's IOV_MAX


@contextmanager
def folder_of(place: Place, *, make: bool = True) -> Iterator[int]:
    """The folder that a place is in, open, with all folders on the way made where `make` says so.

    Raises `LocalFileError`, for a link on the way, too.
    """
    with naming(place.folder):
        if make:
            place.folder.mkdir(parents=True, exist_ok=True)
        current = os.open(place.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in place.names[:-1]:
            with naming(place.path):
                deeper = _enter(name, current, make=make)
            os.close(current)
            current = deeper
        yield current
    finally:
        os.close(current)


def _enter(name: str, folder: int, *, make: bool) -> int:
    try:
        return open_directory(name, folder)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        os.fsync(folder)
    return open_directory(name, folder)


def make_folder(place: Place) -> None:
    """Make a folder, and those on the way to it; it may be there already. Raises `LocalFileError`."""
    with folder_of(place.below("")):
        pass


def remove(place: Place, *, is_folder: bool) -> None:
    """Remove a file or an empty folder. Raises `LocalFileError`."""
    with folder_of(place, make=False) as folder, naming(place.path):
        if is_folder:
            os.rmdir(place.names[-1], dir_fd=folder)
        else:
            os.unlink(place.names[-1], dir_fd=folder)


class Target:
    """The file at `place`, on its way; `etag` says of which content at the server.

    Its methods are for threads, one at a time. `close` is for any thread: it waits for the one that writes, so that
    nobody writes to a descriptor that has become another file's meanwhile. It leaves what is not finished where the
    next `Target` of the same place and content will find it.
    """

    def __init__(self, place: Place, etag: str) -> None:
        self.place = place
        self.name = place.names[-1]
        self._stem = f"{RESERVED_PREFIX}{_short(self.name)}-"
        self._partial = self._stem + _short(etag)
        self._folder: int | None = None
        self._file: int | None = None
        self._lock = Lock()
        self._is_given_up = False
        self._is_settled = False
        self._offset = 0
        self._hasher = new_hasher()

    def existing(self) -> Entry | None:
        """What stands at this place already."""
        with folder_of(self.place) as folder, naming(self.place.path):
            try:
                status = os.stat(self.name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return None
        return entry_of(self.name, status)

    def open(self, *, resume: bool, is_private: bool, folder: int | None = None) -> int:
        """Open the unfinished file; gives how much of it there is, if `resume` wants it.

        `folder` is the one that it is in, if that is open. Raises `TargetBusy` when somebody else is writing it, and
        `LocalFileError`.
        """
        if folder is None:
            with folder_of(self.place) as found:
                return self.open(resume=resume, is_private=is_private, folder=found)
        with self._lock, naming(self.place.path):
            self._check_wanted()
            self._folder = os.dup(folder)
            self._file = self._open_partial(0o600 if is_private else 0o666)
            if not resume:
                os.ftruncate(self._file, 0)
            for _ in self._read():
                pass
        return self._offset

    def _open_partial(self, mode: int) -> int:
        while True:
            file = self._create_or_open(mode)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                status = os.fstat(file)
                if not self._is_still_partial(status):
                    # Finished, or removed, by whoever had the lock before us.
                    os.close(file)
                else:
                    return file
            except BlockingIOError:
                os.close(file)
                raise TargetBusy(f"{self.place.path} is being fetched by another process") from None

    def _create_or_open(self, mode: int) -> int:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        while True:
            with suppress(FileExistsError):
                return os.open(
                    self._partial, flags | os.O_CREAT | os.O_EXCL, mode, dir_fd=self._folder
                )
            with suppress(FileNotFoundError):
                file = os.open(self._partial, flags, dir_fd=self._folder)
                status = os.fstat(file)
                if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                    return file
                os.close(file)
                raise LocalFileError(
                    f"{self.place.path}: {self._partial} beside it is not ours: remove it"
                )

    def _is_still_partial(self, status: os.stat_result) -> bool:
        try:
            now = os.stat(self._partial, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)

    def _read(self) -> Iterator[None]:
        assert self._file is not None
        while piece := os.pread(self._file, PIECE_BYTES, self._offset):
            self._check_wanted()
            self._hasher.update(piece)
            self._offset += len(piece)
            yield

    def _check_wanted(self) -> None:
        if self._is_given_up:
            raise LocalFileError(f"{self.place.path} is not fetched any more")

    def clear(self) -> None:
        """Throw away what there is: it is not what it should be."""
        with self._lock, naming(self.place.path):
            assert self._file is not None
            os.ftruncate(self._file, 0)
            self._offset = 0
            self._hasher = new_hasher()

    def write(self, pieces: Sequence[bytes | memoryview]) -> int:
        """Write the next pieces; gives how much there is now."""
        with self._lock, naming(self.place.path):
            for piece in pieces:
                self._hasher.update(piece)
            unwritten: deque[bytes | memoryview] = deque(pieces)
            while unwritten:
                self._check_wanted()
                assert self._file is not None
                some = [*islice(unwritten, _MAX_BUFFERS)]
                written = os.pwritev(self._file, some, self._offset)
                self._offset += written
                while unwritten and written >= len(unwritten[0]):
                    written -= len(unwritten.popleft())
                if written:
                    unwritten[0] = memoryview(unwritten[0])[written:]
        return self._offset

    @property
    def digest(self) -> str:
        """The digest of what there is."""
        return digest_of(self._hasher)

    def finish(self, *, overwrite: str, mode: int | None, mtime_ns: int | None) -> None:
        """Give the file its name, for good, with this mode and time if they are to be kept.

        Raises `TargetExists` if there is a file that `overwrite` does not mean; the unfinished one is gone then.
        """
        self.settle(mode=mode, mtime_ns=mtime_ns)
        self.publish(overwrite=overwrite)
        with self._lock, naming(self.place.path):
            assert self._folder is not None
            os.fsync(self._folder)

    def settle(self, *, mode: int | None, mtime_ns: int | None) -> None:
        """The first half of `finish`: have the disk take the content."""
        with self._lock, naming(self.place.path):
            file = self._file
            assert file is not None
            if mode is not None:
                os.fchmod(file, mode & _PERMISSIONS)
            if mtime_ns is not None:
                os.utime(file, ns=(mtime_ns, mtime_ns))
            os.fsync(file)

    def publish(self, *, overwrite: str) -> None:
        """The other half: the name, which the disk has when the folder is synced."""
        with self._lock, naming(self.place.path):
            assert self._folder is not None
            self._is_settled = True
            self._publish(self._folder, overwrite)

    def _publish(self, folder: int, overwrite: str) -> None:
        try:
            if overwrite == NEVER:
                rename_exclusively(self._partial, self.name, source_fd=folder, target_fd=folder)
                return
            if overwrite != ALWAYS and self._etag_there(folder) not in (overwrite, None):
                self._refuse(folder, "has changed meanwhile")
            os.rename(self._partial, self.name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            self._refuse(folder, "is there already")
        except IsADirectoryError:
            self._refuse(folder, "is a folder")

    def _etag_there(self, folder: int) -> str | None:
        try:
            return etag_of(os.stat(self.name, dir_fd=folder, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def _refuse(self, folder: int, why: str) -> NoReturn:
        # Whatever is there, it is not what was fetched, or nobody would have.
        os.unlink(self._partial, dir_fd=folder)
        raise TargetExists(f"{self.place.path} {why}") from None

    def discard(self) -> None:
        """Let nothing be left of the unfinished file."""
        with self._lock:
            if self._file is not None and not self._is_settled:
                self._offset = 0

    def remove_stale(self) -> None:
        """Remove what is left of older contents of the same file, if nobody is at work on it."""
        with self._lock, suppress(OSError):
            if self._folder is None:
                return
            for name in os.listdir(self._folder):
                if name.startswith(self._stem) and name != self._partial:
                    with suppress(OSError):
                        _remove_unlocked(name, self._folder)

    def close(self) -> None:
        """Close the file, as soon as nobody writes any more."""
        self._is_given_up = True
        with self._lock:
            if self._file is not None and not self._offset and not self._is_settled:
                # There is nothing to go on with.
                with suppress(OSError):
                    os.unlink(self._partial, dir_fd=self._folder)
            for descriptor in (self._file, self._folder):
                if descriptor is not None:
                    os.close(descriptor)
            self._file = self._folder = None


def _remove_unlocked(name: str, folder: int) -> None:
    file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(file)


def _short(text: str) -> str:
    hasher = new_hasher()
    hasher.update(os.fsencode(text))
    return hasher.hexdigest()[:_SHORT_DIGITS]
