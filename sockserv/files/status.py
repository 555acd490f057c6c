"""What is told about a file, from what the system says about it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import Final

from sockserv.files.facts import Entry, FileType
from sockserv.files.names import shown

__all__ = ["entry_of", "etag_of", "type_of"]

_ETAG: Final = Struct("<QQQqq")
_ETAG_BYTES: Final = 12
_64_BITS: Final = 2**64 - 1


def etag_of(status: os.stat_result) -> str:
    """What tells a file's content from any other, in a word that says nothing more.

    It changes with the file, its size and the times of its last changes; also when only its mode or its names change.
    """
    packed = _ETAG.pack(
        status.st_dev & _64_BITS,
        status.st_ino & _64_BITS,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    return blake2b(packed, digest_size=_ETAG_BYTES).hexdigest()


def type_of(status: os.stat_result) -> FileType:
    """Whether it is a file, a directory, or something that is neither."""
    if stat.S_ISREG(status.st_mode):
        return FileType.FILE
    return FileType.DIRECTORY if stat.S_ISDIR(status.st_mode) else FileType.OTHER


def entry_of(name: str, status: os.stat_result, *, below: Sequence[str] | None = None) -> Entry:
    """What is told about something that a directory has under `name`, as `os.listdir` gives it.

    `below` are the names that lead to that directory from the one that is listed, if its path from there is to be said.
    """
    text, can_be_asked_for = shown(name)
    path = None
    if below is not None:
        path, can_be_asked_for = shown("/".join((*below, name)))
    return Entry(
        name=text,
        type=type_of(status),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        mode=stat.S_IMODE(status.st_mode),
        etag=etag_of(status),
        path=path,
        unnameable=not can_be_asked_for,
    )
