"""A file on the disk that a person edits while the daemon reads it, and may write it, too.

- Half a file is never read: what was written a moment ago may not be all of it, and is left for the next time.
- Nobody's change is lost: what replaces the content was made from that very content.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from typing import TypeAlias

from sockserv.atomic import written_beside
from sockserv.errors import ConfigError

__all__ = ["EditedFile", "EditedFileError", "EditedFilePathError", "Signature"]

_MAX_BYTES = 16 * 1024 * 1024
_SETTLED_SECONDS = 0.5

Signature: TypeAlias = tuple[int, ...] | None
"""What tells one content of a file from another without reading it; None where there is no file."""


class EditedFileError(ConfigError):
    """A file that a person edits cannot be used; the message says where, what is wrong, and what to do."""


class EditedFilePathError(EditedFileError):
    """The same, with the path of the file in the message, which is for the log alone."""


class EditedFile:
    """The file of this path. All methods block; they raise `EditedFileError`.

    `clock` is the one that times of files go by, in seconds since 1970.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self.seen: Signature = None
        """The signature of the content that was read or written last."""

    def first_text(self, content: str) -> str:
        """The text, for the first time; where there is no file, it is made, with this content."""
        self.seen = self.signature()
        if self.seen is None:
            self.write(content, instead_of=None)
        return self.read()

    def changed_text(self) -> str | None:
        """The text if it has changed since it was seen; None if not, or if that is so new that it may not be whole.

        Raises once for a change that cannot be used, and each time for one that the system does not let us read.
        """
        signature = self.signature()
        if signature == self.seen or not self.is_settled(signature):
            return None
        try:
            text = self.read()
        except EditedFileError as error:
            # What the system cannot do now, for want of room for one more open file, it can later: a change that was
            # taken for seen would never be.
            if signature is None or not isinstance(error.__cause__, OSError):
                self.seen = signature
            raise
        # Whatever becomes of it, it has been seen.
        self.seen = signature
        return text

    def signature(self) -> Signature:
        """The signature of what is there now."""
        with self._explained("examined"):
            try:
                status = self.path.lstat()
            except FileNotFoundError:
                return None
        return _signature(status)

    def is_settled(self, signature: Signature) -> bool:
        """Whether the last change is old enough to be a whole one. A time in the future says nothing."""
        if signature is None:
            return True
        return abs(self._clock() - signature[0] / 1e9) >= _SETTLED_SECONDS

    def read(self) -> str:
        """The text. Nobody but the account may be able to read it."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        with (
            self._explained("read"),
            open(self.path, "rb", opener=lambda path, _: os.open(path, flags)) as file,
        ):
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise EditedFilePathError(f"{self.path} is not a file")
            mode = stat.S_IMODE(status.st_mode)
            if mode & 0o077:
                raise EditedFilePathError(
                    f"others can read {self.path} (mode {mode:04o}): "
                    f"close it with `chmod 600 {quote(str(self.path))}`"
                )
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise EditedFilePathError(f"{self.path} has more than {_MAX_BYTES} bytes")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise EditedFileError(f"{self.path.name} line {line}: is not UTF-8 text") from None

    def write(self, text: str, *, instead_of: Signature) -> None:
        """Put `text` in the place of the content with a signature; it has been seen then.

        The file is as it was when this fails, also because somebody has changed it in between.
        """
        with self._explained("written"), ExitStack() as after:
            with written_beside(self.path) as descriptor:
                # What is renamed over this one right after is not to be taken for it.
                own = os.dup(descriptor)
                after.callback(os.close, own)
                with open(descriptor, "wb", closefd=False) as file:
                    file.write(text.encode())
                if self.signature() != instead_of:
                    raise EditedFileError(
                        f"{self.path.name} was changed by somebody else just now: try again"
                    )
            self.seen = _signature(os.fstat(own))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs that ask for the lock, `flock(2)` on a file of its own, from writing."""
        path = self.path.with_suffix(".lock")
        with self._explained("locked"):
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            with self._explained("locked"):
                # Whoever has it may never end: no thread waits for that.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn an `OSError` into an error that says what could not be done."""
        try:
            yield
        except BlockingIOError as error:
            raise EditedFileError(
                f"another program has locked {self.path.name}: try again"
            ) from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise EditedFilePathError(f"{self.path} cannot be {what}: {reason}") from error


def _signature(status: os.stat_result) -> Signature:
    # A change of the mode alone changes the ctime, and may be what makes the file usable.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
