"""Text of others as a terminal may get it, and how wide it is there.

Invariants of what comes out:

1. Nothing in it commands the terminal, turns the direction of what follows, or cannot be seen: such characters are
   shown as `\\u202e`.
2. What joins letters is left where a script, or an emoji, needs it.
3. Marks are few, and have a letter to be on: they neither cover other lines nor what stands before the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from wcwidth import iter_graphemes, width

from sockserv.cli.output import printable

__all__ = ["columns_of", "cut", "from_left", "visible", "visible_name", "wrapped"]

_LINE_ENDS: Final = re.compile("\r\n|[\n\u2028\u2029]")
_TAB: Final = "    "
_MOST_MARKS: Final = 6
"""On one letter; no script needs more."""
_DOTTED_CIRCLE: Final = "\u25cc"
_LEFT_TO_RIGHT_MARK: Final = "\u200e"
_ELLIPSIS: Final = "…"
_PLAIN: Final = re.compile("[ -~\n]*")

_NON_JOINER: Final = "\u200c"
_JOINER: Final = "\u200d"
_EMOJI_STYLE: Final = "\ufe0f"
_TEXT_STYLE: Final = "\ufe0e"
_BLANK: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
)
"""Characters that count as letters, marks and symbols, and show nothing."""
_MARKS: Final = frozenset({"Mn", "Me"})
_SYMBOLS: Final = frozenset({"So", "Sk"})
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL"})


def visible(text: str) -> str:
    """A text of one line or more, with a line feed between them."""
    if _PLAIN.fullmatch(text):
        return text
    shown: list[str] = []
    before, marks = "\n", 0
    text = _LINE_ENDS.sub("\n", text)
    for index, character in enumerate(text):
        after = text[index + 1] if index + 1 < len(text) else "\n"
        category = unicodedata.category(character)
        if category not in _MARKS:
            marks = 0
            shown.append(_shown(character, category, before, after))
        else:
            marks += 1
            shown.append(_shown_mark(character, before, marks))
        before = character
    return "".join(shown)


def visible_name(name: str) -> str:
    """A name, in one line."""
    return visible(name).replace("\n", "\\n")


def _shown(character: str, category: str, before: str, after: str) -> str:
    if character == "\n":
        return character
    if character == "\t":
        return _TAB
    if category == "Zs":
        return " " * width(character)
    if character in _BLANK:
        return _escaped(character)
    if character in (_JOINER, _NON_JOINER) and _is_joining(character, before, after):
        return character
    return printable(character)


def _shown_mark(character: str, before: str, count: int) -> str:
    if count > _MOST_MARKS or character in _BLANK:
        return _escaped(character)
    if character in (_EMOJI_STYLE, _TEXT_STYLE):
        # They say how a symbol looks, or a digit on a key; on anything else they are there to be overlooked.
        is_symbol = unicodedata.category(before) in {"So", "Po", "Nd", "Sm"}
        return character if is_symbol else _escaped(character)
    if "VARIATION SELECTOR" in unicodedata.name(character, ""):
        return _escaped(character)
    if before.isspace():
        return _DOTTED_CIRCLE + character
    return character


def _is_joining(joiner: str, before: str, after: str) -> bool:
    """Whether it joins two symbols, or shapes the letters of a script that has use for it."""
    if joiner == _JOINER and _is_of_emoji(before) and unicodedata.category(after) in _SYMBOLS:
        return True
    return all(
        unicodedata.category(one)[0] in "LM" and ord(one) >= 0x600 for one in (before, after)
    )


def _is_of_emoji(character: str) -> bool:
    return character == _EMOJI_STYLE or unicodedata.category(character) in _SYMBOLS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


# How wide it is


def columns_of(text: str) -> int:
    """How many columns of a terminal a visible text of one line takes."""
    return len(text) if text.isascii() else width(text)


def cut(text: str, columns: int) -> str:
    """A visible text of one line that takes so many columns at most, 1 or more; an ellipsis stands
    for what is missing.
    """
    # No character takes less than a column, but for marks, of which there are few.
    text = text[: (columns + 1) * (_MOST_MARKS + 2)] if len(text) > columns else text
    if columns_of(text) <= columns:
        return text
    kept, left = [], columns - 1
    for grapheme in iter_graphemes(text):
        left -= columns_of(grapheme)
        if left < 0:
            break
        kept.append(grapheme)
    return "".join(kept) + _ELLIPSIS


def wrapped(text: str, columns: int) -> Iterator[str]:
    """The lines of a visible text, of so many columns at most, 2 or more: broken between words where that can be."""
    for line in text.split("\n"):
        yield from _broken(line, columns)


def _broken(line: str, columns: int) -> Iterator[str]:
    if line.isascii() and len(line) <= columns:
        yield line
        return
    row: list[str] = []
    taken, space = 0, 0
    is_between = False
    for grapheme in iter_graphemes(line):
        is_between = is_between and grapheme == " "
        if is_between:
            continue
        wide = columns_of(grapheme)
        if taken + wide > columns:
            # Without a space to break at, in the middle of the word; the space itself is not shown.
            end = len(row) if grapheme == " " else space or len(row)
            yield "".join(row[:end]).rstrip(" ")
            row = row[end:]
            taken, space = sum(map(columns_of, row)), 0
            is_between = grapheme == " "
            if is_between:
                continue
        row.append(grapheme)
        taken += wide
        if grapheme == " ":
            space = len(row)
    yield "".join(row)


def from_left(text: str) -> str:
    """Something to put behind a text, so that what follows stands right of it: nothing where both
    go that way anyhow.
    """
    if text.isascii():
        return ""
    turns = any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text)
    return _LEFT_TO_RIGHT_MARK if turns else ""
