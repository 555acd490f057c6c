"""What is said about files, in results and in lists."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import attrs

__all__ = [
    "HEAD_STREAM",
    "Digest",
    "Entry",
    "FileType",
    "Head",
    "Kept",
    "KeptOffer",
    "Offered",
    "Stored",
    "Usage",
]

HEAD_STREAM: Final = 1
"""The stream of an answer with a file on which its `Head` comes, before the content."""


class FileType(StrEnum):
    """What something in a directory is."""

    FILE = "file"
    DIRECTORY = "directory"
    OTHER = "other"
    """A link, a device or the like: nothing that could be sent."""


@attrs.frozen(kw_only=True)
class Entry:
    """Something in a directory.

    `path` is where it is below the directory that was listed, if that was listed with all that is in it; `etag` tells
    its content from what it was before; `unnameable` that its name is no text, so that it cannot be asked for.
    """

    name: str
    type: FileType
    size: int = 0
    mtime_ns: int = 0
    mode: int = 0
    etag: str = ""
    path: str | None = None
    unnameable: bool = False


@attrs.frozen(kw_only=True)
class Head:
    """What is said of a file before its content comes: how large all of it is, and which content it is."""

    size: int
    etag: str
    mtime_ns: int
    mode: int


@attrs.frozen(kw_only=True)
class Stored:
    """A file that is whole, under its name, and on the disk; `digest` is `blake3:` and hexadecimal digits."""

    size: int
    etag: str
    digest: str


@attrs.frozen(kw_only=True)
class Kept:
    """What is there of an upload that broke off: up to which offset, and the digest of that."""

    offset: int
    digest: str


@attrs.frozen(kw_only=True)
class Offered(Stored):
    """A file that has come to whom it was offered; `path` is where, from the folder of the receiver on."""

    path: str


@attrs.frozen(kw_only=True)
class KeptOffer(Kept):
    """What is there of an offer that broke off; of one that has come, and is still there, `offered` says where."""

    offered: Offered | None = None


@attrs.frozen(kw_only=True)
class Digest:
    """The digest of a file's content, with the name of the algorithm before it, and of which content it is."""

    digest: str
    size: int
    etag: str


@attrs.frozen(kw_only=True)
class Usage:
    """How much there is and may be, in bytes; `quota_bytes` is None where nobody has set one."""

    used_bytes: int
    quota_bytes: int | None
    free_bytes: int
