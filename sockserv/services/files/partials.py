"""Unfinished uploads: files under private names in the directory where they will belong.

- Such a name cannot be asked for (`sockserv.files.names`), and is in no list. It is made of who uploads, what for and
  the sender's name for it, so that the same upload finds its partial again, and nobody else's does.
- While an upload runs, its partial is claimed: a second one of the same name is refused, and no sweep takes it away.
- A partial that is not ours alone is none: not of another account, not a link, not a file with a second name. Writing
  to it would write elsewhere.
- What is left of a broken upload is removed when nothing has been added to it for a set time. So is what a daemon
  leaves that was killed.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import count
from threading import Lock

from sockserv.files.errors import Busy, FilesError
from sockserv.files.jail import Jail
from sockserv.files.names import RESERVED_PREFIX, is_reserved
from sockserv.services.files.walking import walk

__all__ = ["Partials"]

_NAME_BYTES = 16


class Partials:
    """The unfinished uploads of one server; may be used from any thread.

    `now_ns` is the time of day, by which files are dated.
    """

    def __init__(self, *, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._lock = Lock()
        self._claimed: set[tuple[int, int, str]] = set()
        self._unique = secrets.token_hex(_NAME_BYTES)
        self._counter = count()

    def name(self, identity: str, target: str, upload: str) -> str:
        """What the partial of an upload is called; without a name for the upload, as no other is called."""
        if not upload:
            return f"{RESERVED_PREFIX}{self._unique}-{next(self._counter)}"
        key = "\0".join((identity, target, upload)).encode()
        return RESERVED_PREFIX + blake2b(key, digest_size=_NAME_BYTES).hexdigest()

    @contextmanager
    def claim(self, name: str, directory: int, path: str) -> Iterator[None]:
        """Have the partial `name` in an open directory to oneself until the block ends.

        Raises `Busy` that names `path` when somebody else has.
        """
        key = _key(name, os.fstat(directory))
        with self._lock:
            if key in self._claimed:
                raise Busy(f"{path!r}: this upload runs already", details={"path": path})
            self._claimed.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._claimed.remove(key)

    def is_claimed(self, name: str, directory: int) -> bool:
        """Whether an upload to this partial runs."""
        key = _key(name, os.fstat(directory))
        with self._lock:
            return key in self._claimed

    def remove_idle(self, name: str, directory: int) -> bool:
        """Remove a partial of an open directory, unless an upload to it runs; gives whether it is gone.

        Raises `OSError`.
        """
        # Claimed, so that no upload begins to write to what is removed.
        with suppress(Busy), self.claim(name, directory, name):
            os.unlink(name, dir_fd=directory)
            return True
        return False

    def sweep(self, jail: Jail, *, expiry_seconds: float) -> Generator[int, None, int]:
        """Remove the partials below a jail's root to which nothing was added for a time; gives how many.

        A clock that was wrong does not keep one forever: what is dated in the future is dated now. What cannot be seen
        or removed is passed over. Yields now and then.
        """
        removed = 0
        with suppress(FilesError):
            for found in walk(jail, "", recursive=True, skip_denied=True):
                for name, status in found.entries:
                    if is_reserved(name) and stat.S_ISREG(status.st_mode):
                        with suppress(OSError):
                            removed += self._expire(name, found.directory, status, expiry_seconds)
                yield removed
        return removed

    def _expire(
        self, name: str, directory: int, status: os.stat_result, expiry_seconds: float
    ) -> bool:
        now_ns = self._now_ns()
        if status.st_mtime_ns > now_ns:
            os.utime(name, ns=(now_ns, now_ns), dir_fd=directory, follow_symlinks=False)
            return False
        is_old = now_ns - status.st_mtime_ns > expiry_seconds * 1e9
        return is_old and self.remove_idle(name, directory)


def open_new(name: str, directory: int, *, mode: int) -> int:
    """A descriptor of a new partial, in the place of what had its name. Raises `OSError`."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        return os.open(name, flags, mode, dir_fd=directory)
    except FileExistsError:
        os.unlink(name, dir_fd=directory)
        return os.open(name, flags, mode, dir_fd=directory)


def open_kept(name: str, directory: int) -> int | None:
    """A descriptor of what was kept of an upload, for reading and writing; None if there is nothing to go on with."""
    try:
        if not _is_ours(os.stat(name, dir_fd=directory, follow_symlinks=False)):
            return None
        file = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return None
    if _is_ours(os.fstat(file)):
        return file
    os.close(file)
    return None


def _is_ours(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()


def _key(name: str, directory: os.stat_result) -> tuple[int, int, str]:
    return directory.st_dev, directory.st_ino, name
