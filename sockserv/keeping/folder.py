"""Where a kept job is on the disk: a folder for each identity, and in it one for each of their jobs.

What is in the folder of a job, and what holds for it:

- `record.json` says what the job is, and `outcome.json` how it has ended. Each is whole or not there.
- `stdout` and `stderr` are what it has written, and are only ever added to. When there is an outcome they are
  complete, and the disk has them.
- `lock` is held by the supervisor, from before it begins and for as long as it lives: who finds it free, and no
  outcome, knows that nobody will ever tell one.
- `control` is the socket that the supervisor listens on, `log` what it says that nobody foresaw.
- `told` is there when the audit log was told how the job has ended.
- `reserve` is room that the outcome will need: it goes when the outcome is written, so that a full disk does not keep
  it back.

All folders have mode 0700, all files 0600.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from sockserv.atomic import sync_directory

__all__ = ["JobFolder", "file_name", "find_folders", "try_lock"]

_PLAIN: Final = re.compile(rb"[a-z0-9_@-]")
"""What stands for itself in a file's name. Capitals do not: some disks take them for small ones."""

_MAX_NAME_BYTES: Final = 200
"""Common disks take 255."""

_RESERVED_BYTES: Final = 16 * 1024

_REMOVAL_TRIES: Final = 100
"""A folder is filled again that often while it is removed only by a job that means to."""


def file_name(name: str) -> str:
    """The name of an identity or a job as that of a folder: another one for each, and one that any disk takes."""
    coded = "".join(
        chr(byte) if _PLAIN.match(bytes([byte])) else f"={byte:02x}"
        for byte in name.encode("utf-8", "surrogatepass")
    )
    if not coded or len(coded) > _MAX_NAME_BYTES:
        import hashlib  # late, as below: a supervisor does without, and is smaller

        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return f"=={digest}"  # which no other name begins with
    return coded


@attrs.frozen
class JobFolder:
    """The folder of one job; nothing is touched until a method is called. All of them block."""

    path: Path

    @classmethod
    def of(cls, jobs: Path, *, identity: str, job: str) -> JobFolder:
        """The folder of a job below the folder `jobs` of all of them."""
        return cls(jobs / file_name(identity) / file_name(job))

    @property
    def record(self) -> Path:
        """What the job is."""
        return self.path / "record.json"

    @property
    def outcome(self) -> Path:
        """How it has ended."""
        return self.path / "outcome.json"

    @property
    def stdout(self) -> Path:
        """What it has written to its standard output, or to its terminal."""
        return self.path / "stdout"

    @property
    def stderr(self) -> Path:
        """What it has written to its standard error."""
        return self.path / "stderr"

    @property
    def control(self) -> Path:
        """The socket of its supervisor."""
        return self.path / "control"

    @property
    def log(self) -> Path:
        """What its supervisor says that nobody foresaw."""
        return self.path / "log"

    def make(self) -> int:
        """Make the folder, with room for the outcome; gives a descriptor of its lock, held as long as one is open.

        Raises `FileExistsError` when there is one, and `OSError`; then nothing is left.
        """
        self._make_directories()
        try:
            lock = os.open(
                self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._reserve()
                sync_directory(self.path.parent)
            except BaseException:
                os.close(lock)
                raise
        except BaseException:
            with suppress(OSError):  # the first error is the one to hear of
                self.remove()
            raise
        return lock

    def free_reserve(self) -> None:
        """Give back the room that was kept for the outcome; does nothing when that is done."""
        with suppress(OSError):
            (self.path / "reserve").unlink()

    @property
    def is_told(self) -> bool:
        """Whether the audit log was told how it has ended."""
        return self._told.exists()

    def note_told(self) -> None:
        """Note that the audit log was told; where that cannot be, it is told again."""
        with suppress(OSError):
            os.close(os.open(self._told, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    @property
    def _told(self) -> Path:
        return self.path / "told"

    def is_supervised(self) -> bool:
        """Whether the supervisor lives. Raises `OSError`."""
        try:
            lock = os.open(self.path / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not try_lock(lock)
        finally:
            os.close(lock)

    def remove(self) -> None:
        """Remove the folder with all that is in it; one that is not there is removed already. Raises `OSError`.

        The record goes first: what is left by a crash is no job.
        """
        import shutil

        with suppress(FileNotFoundError):
            self.record.unlink()
        tries = _REMOVAL_TRIES
        while self.path.exists():
            # Whoever removes or writes something there at the same time does not keep the rest.
            try:
                shutil.rmtree(self.path)
            except FileNotFoundError:
                pass
            except OSError as error:
                tries -= 1
                if error.errno != errno.ENOTEMPTY or not tries:
                    raise
        with suppress(OSError):  # another job of the identity is in it
            self.path.parent.rmdir()

    def spooled_bytes(self) -> tuple[int, int]:
        """How much is kept of its standard output, and of its standard error."""
        return _size_of(self.stdout), _size_of(self.stderr)

    def ended_at(self) -> float:
        """When the outcome was written, in seconds since 1970; when the folder was changed, where none could be."""
        try:
            return self.outcome.stat().st_mtime
        except FileNotFoundError:
            return self.path.stat().st_mtime

    def _make_directories(self) -> None:
        jobs = self.path.parent.parent
        for directory in (jobs, self.path.parent):
            if not directory.is_dir():
                with suppress(FileExistsError):
                    directory.mkdir(mode=0o700)
                    sync_directory(directory.parent)
        while True:
            try:
                return self.path.mkdir(mode=0o700)
            except FileNotFoundError:
                # The last other job of the identity was just removed, and so was the folder.
                with suppress(FileExistsError):
                    self.path.parent.mkdir(mode=0o700)

    def _reserve(self) -> None:
        file = os.open(
            self.path / "reserve", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            os.posix_fallocate(file, 0, _RESERVED_BYTES)
        finally:
            os.close(file)


def find_folders(jobs: Path) -> Iterator[JobFolder]:
    """All folders of jobs below `jobs`, which may not be there. Raises `OSError`."""
    for identity in _folders_in(jobs):
        for path in _folders_in(identity):
            yield JobFolder(path)


def try_lock(file: int) -> bool:
    """Take the lock on an open file, if nobody has it; it is held until all its descriptors are closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _folders_in(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return sorted(
                Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
