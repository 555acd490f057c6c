"""Bytes, times and modes as people read them."""

from __future__ import annotations

import stat
from datetime import datetime
from typing import Final

from sockserv.files.facts import FileType

__all__ = ["amount", "counted", "mode", "moment"]

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB")
_LETTERS: Final = {FileType.FILE: "-", FileType.DIRECTORY: "d", FileType.OTHER: "?"}


def amount(size: float) -> str:
    """So many bytes, in three digits or so."""
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    digits = 1 if unit and size < 99.95 else 0
    return f"{size:.{digits}f} {_UNITS[unit] if size != 1 or unit else 'byte'}"


def counted(count: int, what: str) -> str:
    """So many of them: `1 file`, `2 files`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def moment(nanoseconds: int) -> str:
    """A time as the clock on the wall says it."""
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "far from now"


def mode(kind: FileType, bits: int) -> str:
    """As `ls -l` shows it."""
    return _LETTERS[kind] + stat.filemode(bits & 0o7777)[1:]
