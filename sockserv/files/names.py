"""Which paths may be asked for, whatever the system behind them would make of others.

A path is relative, with "/" between its components. Nothing in it is interpreted: there is no "." and no "..", no
empty component, and no form of Unicode that stands for another one. What is refused here never reaches a file system.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from sockserv.files.errors import RefusedName, TooLong

__all__ = [
    "MAX_NAME_BYTES",
    "MAX_PATH_BYTES",
    "RESERVED_PREFIX",
    "components",
    "is_reserved",
    "shown",
]

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 4096

RESERVED_PREFIX: Final = ".sockserv-partial-"
"""So begin the names of what is not whole yet, at both ends; nothing else may be called so."""


def components(path: str) -> tuple[str, ...]:
    """The names that a path is made of, from the root on; none for the root itself, "" or ".".

    Raises `RefusedName` for a path that is none, and `TooLong`.
    """
    if path in ("", "."):
        return ()
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        raise RefusedName("a path has to be text", details={"path": _presentable(path)}) from None
    if size > MAX_PATH_BYTES:
        raise TooLong(
            f"the path has {size} bytes, and {MAX_PATH_BYTES} is the most",
            details={"max_bytes": MAX_PATH_BYTES},
        )
    names = tuple(path.split("/"))
    for name in names:
        _check(name, path)
    return names


def _check(name: str, path: str) -> None:
    if name in ("", ".", ".."):
        what = f"a component {name!r}" if name else "an empty component"
        raise RefusedName(f"{path!r} has {what}", details={"path": path})
    if "\0" in name:
        raise RefusedName(f"{path!r} has a NUL in it", details={"path": path})
    if is_reserved(name):
        raise RefusedName(
            f"{path!r}: names that begin with {RESERVED_PREFIX} are those of unfinished files",
            details={"path": path},
        )
    if len(name.encode("utf-8")) > MAX_NAME_BYTES:
        raise TooLong(
            f"a name in the path has more than {MAX_NAME_BYTES} bytes",
            details={"path": path, "max_bytes": MAX_NAME_BYTES},
        )


def is_reserved(name: str) -> bool:
    """Whether some file system may take a name for that of an unfinished file.

    There are those that know no case, see no difference between forms of a character, or leave out what is not seen.
    """
    if name.isascii():
        return name[: len(RESERVED_PREFIX)].lower() == RESERVED_PREFIX
    seen = "".join(character for character in name if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", seen).casefold().startswith(RESERVED_PREFIX)


def shown(name: str) -> tuple[str, bool]:
    """A name as `os.listdir` gives it, as text that can be sent, and whether it can be asked for by that.

    A byte that is no UTF-8 becomes U+FFFD and its two hexadecimal digits.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return _presentable(name), False
    return name, True


def _presentable(name: str) -> str:
    return "".join(
        f"\N{REPLACEMENT CHARACTER}{ord(character) & 0xFF:02x}"
        if "\ud800" <= character <= "\udfff"
        else character
        for character in name
    )
