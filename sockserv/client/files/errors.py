"""What can go wrong with files on this side."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sockserv.errors import LocalError, SockservError

if TYPE_CHECKING:
    from sockserv.client.files.progress import Summary

__all__ = [
    "Incomplete",
    "LocalDiskError",
    "LocalFileError",
    "SourceChanged",
    "TargetBusy",
    "TargetExists",
    "naming",
]

_OF_THE_DISK: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE}


class LocalFileError(LocalError):
    """A file here cannot be read or written; the message names it and says why."""


class LocalDiskError(LocalFileError):
    """The disk here is full or has failed: other files would fare no better."""


class SourceChanged(LocalFileError):
    """A file here became another one while it was sent; nothing of it is there under its name."""


class TargetExists(LocalFileError):
    """There is another file of this name here, which was not to be replaced."""


class TargetBusy(LocalFileError):
    """Another process is fetching the same file."""


class Incomplete(LocalError):
    """Not all files have been transferred; those that have are whole. `summary` counts them.

    `failures` are the first ones, each with the path at the server.
    """

    def __init__(self, summary: Summary, failures: Sequence[tuple[str, SockservError]]) -> None:
        path, error = failures[0]
        which = "" if summary.failed == 1 else ", the first one"
        super().__init__(
            f"{summary.failed} of {summary.steps} could not be done{which}: {path}: {error}"
        )
        self.summary = summary
        self.failures = failures


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Makes of the system's errors those that name the file at `path`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        cls = LocalDiskError if error.errno in _OF_THE_DISK else LocalFileError
        raise cls(f"{path}: {reason}") from error
    except OverflowError as error:
        raise LocalFileError(f"{path}: no file here can have such a time or size") from error
