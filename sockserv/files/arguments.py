"""What the operations of the files service are asked with, one class each.

A `path` is relative to the folder that the identity was given; see `sockserv.files.names`.
"""

from __future__ import annotations

from typing import Annotated, Final

import attrs
from msgspec import Meta

__all__ = [
    "ALWAYS",
    "NEVER",
    "DigestArguments",
    "GetArguments",
    "ListArguments",
    "MakeDirectoryArguments",
    "MoveArguments",
    "OfferArguments",
    "OfferedArguments",
    "PartialArguments",
    "PathArguments",
    "PutArguments",
    "RemoveArguments",
]

NEVER: Final = "never"
ALWAYS: Final = "always"

_MAX_BYTES: Final = 2**53 - 1
"""No quantity on the wire is larger."""

_Bytes = Annotated[int, Meta(ge=0, le=_MAX_BYTES)]
_Nanoseconds = Annotated[int, Meta(ge=-(2**62), le=2**62)]
_Mode = Annotated[int, Meta(ge=0, le=0o777)]
_UploadId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}\Z")]
_Blake3 = Annotated[str, Meta(pattern=r"^blake3:[0-9a-f]{64}\Z")]
_Algorithm = Annotated[str, Meta(pattern=r"^(blake3|sha256|md5)\Z")]
_Overwrite = Annotated[str, Meta(min_length=1, max_length=64)]
_Identity = Annotated[str, Meta(min_length=1, max_length=256)]


@attrs.frozen(kw_only=True)
class PathArguments:
    """`path` is what it is about."""

    path: str


@attrs.frozen(kw_only=True)
class PutArguments:
    """A file to store; what follows is its content from `offset` on.

    `size` is that of the whole file, None when the sender does not know it yet. `overwrite` is `never`, `always`, or
    the etag of the file that is to be replaced. `upload` is the sender's name for this upload: one that breaks off
    is kept under it, and goes on at `offset`; without one nothing is kept. `mode` are permission bits, `mtime_ns`
    the time of the last change in nanoseconds since 1970. `parents` makes the directories that are missing. `digest`
    is that of the whole file; without it a trailer says it.
    """

    path: str
    size: _Bytes | None = None
    overwrite: _Overwrite = NEVER
    upload: _UploadId = ""
    offset: _Bytes = 0
    mode: _Mode | None = None
    mtime_ns: _Nanoseconds | None = None
    parents: bool = False
    digest: _Blake3 | None = None


@attrs.frozen(kw_only=True)
class PartialArguments:
    """`path` and `upload` of a put that broke off."""

    path: str
    upload: _UploadId


@attrs.frozen(kw_only=True)
class OfferArguments:
    """A file for somebody else; what follows is its content from `offset` on.

    `to` is the identity whose inbox it is for, `name` what it is to be called there, if that is free. `size`,
    `upload`, `offset` and `digest` are as in `PutArguments`.
    """

    to: _Identity
    name: str
    size: _Bytes | None = None
    upload: _UploadId = ""
    offset: _Bytes = 0
    digest: _Blake3 | None = None


@attrs.frozen(kw_only=True)
class OfferedArguments:
    """`to`, `name` and `upload` of an offer that broke off, or whose answer has not come."""

    to: _Identity
    name: str
    upload: _UploadId


@attrs.frozen(kw_only=True)
class GetArguments:
    """A file to send, from `offset` on: `count` bytes, or all.

    With an `etag` only if it is still that file; `digest` says whether the result has the digest of the whole file.
    """

    path: str
    offset: _Bytes = 0
    count: _Bytes | None = None
    etag: str | None = None
    digest: bool = True


@attrs.frozen(kw_only=True)
class ListArguments:
    """A directory to list; `recursive`: with all that is in its directories."""

    path: str = ""
    recursive: bool = False


@attrs.frozen(kw_only=True)
class MakeDirectoryArguments:
    """A directory to make; with `parents` those on the way to it, too, and then it may exist already."""

    path: str
    parents: bool = False


@attrs.frozen(kw_only=True)
class MoveArguments:
    """A file or directory, and the path that it is to have; `overwrite` as in `PutArguments`, for files."""

    source: str
    target: str
    overwrite: _Overwrite = NEVER


@attrs.frozen(kw_only=True)
class RemoveArguments:
    """A file or directory to remove; `recursive`: a directory with all that is in it."""

    path: str
    recursive: bool = False


@attrs.frozen(kw_only=True)
class DigestArguments:
    """A file whose content is to be digested, and how."""

    path: str
    algorithm: _Algorithm = "blake3"
