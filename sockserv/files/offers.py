"""What a file may be called that somebody offers to somebody else, and where it comes.

Its name is chosen by one person and read by another: what would not look like a name there is none.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from sockserv.files.errors import RefusedName
from sockserv.files.names import MAX_NAME_BYTES, components

__all__ = ["INBOX", "numbered_name", "offered_name", "path_in_inbox"]

INBOX: Final = "inbox"
"""The folder, in that of the receiver, that offered files come into."""

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS: Final = frozenset("\u200c\u200d")
"""Which some scripts, and many emoji, cannot be written without."""

_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a symbol that are as wide as others, and show nothing."""

_MAX_SUFFIX_BYTES: Final = 32


def offered_name(name: str) -> str:
    """The name, if it is one that a file can be offered by.

    Raises `RefusedName` for what is no name or has characters in it that show nothing or turn the text, and `TooLong`.
    """
    if len(components(name)) != 1:
        raise RefusedName(
            "a file is offered by a name, without folders", details={"path": name[:MAX_NAME_BYTES]}
        )
    if not any(map(_shows_itself, name)) or any(map(_is_unseen, name)):
        raise RefusedName(
            f"{name!r}: a file that is offered has a name of characters that can be seen",
            details={"path": name},
        )
    return name


def _shows_itself(character: str) -> bool:
    """Whether it can be seen without others around it, as no space, joiner or mark can."""
    return unicodedata.category(character)[0] in "LNPS"


def _is_unseen(character: str) -> bool:
    if character in _JOINERS:
        return False
    return character in _BLANK or unicodedata.category(character) in _UNSEEN


def path_in_inbox(name: str) -> str:
    """Where a file of this name comes, from the folder of its receiver on."""
    return f"{INBOX}/{name}"


def numbered_name(name: str, number: int) -> str:
    """What a file is called that is the `number`th of its name: `report.pdf`, `report (2).pdf`.

    What gets too long by that loses the end of what is before the number.
    """
    if number == 1:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > _MAX_SUFFIX_BYTES:
        stem, dot, suffix = name, "", ""
    ending = f" ({number}){dot}{suffix}"
    room = MAX_NAME_BYTES - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore") + ending
