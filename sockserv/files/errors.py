"""What can go wrong with files, at the server or while they travel.

The messages and `details` name a file as the caller has named it, never as the server's machine does.
"""

from __future__ import annotations

from sockserv.errors import CallError

__all__ = [
    "Busy",
    "Changed",
    "DigestMismatch",
    "Exists",
    "FilesDenied",
    "FilesError",
    "FilesIOError",
    "NoReceiver",
    "NoSpace",
    "NotADirectory",
    "NotAFile",
    "NotEmpty",
    "NotFound",
    "QuotaExceeded",
    "ReadOnly",
    "RefusedName",
    "TooLong",
]


class FilesError(CallError):
    """The root of all errors about files."""


class NotFound(FilesError):
    """There is no file of this name."""

    code = "files.not-found"


class Exists(FilesError):
    """There is one already, and it was not to be replaced."""

    code = "files.exists"


class NotAFile(FilesError):
    """It is a directory, a link or something else that has no content of its own."""

    code = "files.not-a-file"


class NotADirectory(FilesError):
    """It, or something on the way to it, is not a directory."""

    code = "files.not-a-directory"


class NotEmpty(FilesError):
    """The directory has something in it."""

    code = "files.not-empty"


class Changed(FilesError):
    """The file is not the one that was meant, or not any more."""

    code = "files.changed"


class DigestMismatch(FilesError):
    """What has arrived is not what was sent."""

    code = "files.digest-mismatch"


class NoSpace(FilesError):
    """The disk is full."""

    code = "files.no-space"


class NoReceiver(FilesError):
    """There is nobody of that name who takes files."""

    code = "files.no-receiver"


class QuotaExceeded(FilesError):
    """The identity would use more than it may."""

    code = "files.quota"


class RefusedName(FilesError):
    """No file may have this name."""

    code = "files.refused-name"


class FilesDenied(FilesError):
    """The grant, or the mode of the file, does not allow this."""

    code = "files.denied"


class Busy(FilesError):
    """Somebody else is writing it at this moment."""

    code = "files.busy"


class ReadOnly(FilesError):
    """Nothing can be changed here."""

    code = "files.read-only"


class TooLong(FilesError):
    """A name or a path is longer than the file system takes."""

    code = "files.too-long"


class FilesIOError(FilesError):
    """The disk, or the system, has failed."""

    code = "files.io"
