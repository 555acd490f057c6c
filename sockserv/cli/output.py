"""How lines look: for people, or as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from unicodedata import combining, east_asian_width

import msgspec

__all__ = ["as_json_line", "padded", "printable", "table"]


def printable(text: str) -> str:
    """The text as it can be shown in one line: a file's name or a peer's words must not command the terminal."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def as_json_line(value: Mapping[str, Any]) -> bytes:
    """An object as one line of JSON, in which nothing commands a terminal either."""
    return _CONTROLS.sub(_escaped, msgspec.json.encode(value)) + b"\n"


_CONTROLS = re.compile(rb"\x7f|\xc2[\x80-\x9f]")
"""Those above ASCII's lower ones, which JSON escapes by itself: DEL, and C1, which has a CSI that
some terminals obey.
"""


def _escaped(control: re.Match[bytes]) -> bytes:
    return b"\\u00%02x" % control[0][-1]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows in columns that are as wide as a terminal shows them, with a line above; each ends in a line break."""
    lines = [[*head], *([printable(field) for field in row] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(padded(field, width) for field, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )


def padded(text: str, columns: int) -> str:
    """The text with as many spaces behind it as it takes to fill so many columns of a terminal."""
    return text + " " * (columns - _width(text))


def _width(text: str) -> int:
    """How many columns of a terminal a text takes: Chinese characters take two, accents none."""
    return sum(
        0 if combining(character) else 1 + (east_asian_width(character) in "WF")
        for character in text
    )
