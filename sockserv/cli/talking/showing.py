"""What is shown of a chat, as rows of a terminal.

Invariant: what somebody has said stands right of the margin in every row, so that it cannot be taken for a row of
somebody else, or of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Final, TypeAlias
from zlib import crc32

import attrs

from sockserv.chat.facts import Message
from sockserv.cli.amounts import counted
from sockserv.cli.talking.visible import (
    columns_of,
    cut,
    from_left,
    visible,
    visible_name,
    wrapped,
)

__all__ = ["MAX_ROWS", "Kind", "Line", "Row", "as_plain", "clock_time", "rows_of", "said_line"]

Row: TypeAlias = tuple[tuple[str, str], ...]
"""One row: pieces of text, each with the name of its style."""

MAX_ROWS: Final = 40
"""So many rows of one message are shown; it may have 64 KiB of line breaks."""

_NAME_COLUMNS: Final = 12
_MOST_NAME_COLUMNS: Final = 24
_LEAST_TEXT_COLUMNS: Final = 8
_COLOURS: Final = 6
_UNKNOWN_TIME: Final = "??:??"


class Kind(StrEnum):
    """What a line is; the names of styles, too."""

    MESSAGE = "message"
    NOTICE = "notice"
    """Of the chat: who comes and goes, what was asked for."""
    ERROR = "error"


@attrs.frozen(kw_only=True)
class Line:
    """Something to be shown.

    `sender` and `text` are as they came; `to` stands there if it is not the place that one is at.
    """

    kind: Kind
    text: str
    sender: str = ""
    to: str = ""
    at: float | None = None
    is_own: bool = False


def said_line(text: str, *, kind: Kind = Kind.NOTICE) -> Line:
    """A line of the chat itself."""
    return Line(kind=kind, text=text)


def rows_of(line: Line, columns: int, *, today: datetime | None = None) -> list[Row]:
    """A line in rows of so many columns at most. Times of other days than `today` have the day before them."""
    time = clock_time(line.at, today=today) if line.at is not None else ""
    if line.kind is not Kind.MESSAGE:
        return _notice(line, time, columns)
    name = f"{visible_name(line.sender)} → {visible_name(line.to)}" if line.to else line.sender
    room = columns - columns_of(time) - 3 - _LEAST_TEXT_COLUMNS
    # A narrow terminal has no room for columns of names.
    usual = _NAME_COLUMNS if columns >= 60 else 1
    name = cut(visible_name(name), max(1, min(_MOST_NAME_COLUMNS, room)))
    margin = columns_of(time) + 1 + max(usual, columns_of(name)) + 2
    if margin > max(columns // 2, columns - 40):
        margin = 2
    return _message(line, time, name, margin=margin, columns=columns)


def _message(line: Line, time: str, name: str, *, margin: int, columns: int) -> list[Row]:
    style = (
        "own" if line.is_own else f"name{crc32(line.sender.encode('utf-8', 'replace')) % _COLOURS}"
    )
    head: Row = (("time", f"{time} "), (style, name + from_left(name)))
    taken = columns_of(time) + 1 + columns_of(name)
    text = visible(line.text)
    # At least a character of two columns.
    rows = _limited(wrapped(text, max(2, columns - margin)))
    if taken + 2 <= margin:
        first, rest = rows[0], rows[1:]
        gap = " " * (margin - taken)
        result: list[Row] = [(*head, ("", gap), ("text", first + from_left(first)))]
    else:
        rest = rows
        result = [head]
    indent = "│ " if margin == 2 else f"{' ' * (margin - 2)}│ "
    result += [(("margin", indent), ("text", row + from_left(row))) for row in rest]
    return result


def _limited(rows: Iterator[str]) -> list[str]:
    shown = [*islice(rows, MAX_ROWS)]
    missing = sum(1 for _ in rows)
    if missing:
        shown.append(f"[… {counted(missing, 'more row')}]")
    return shown


def _notice(line: Line, time: str, columns: int) -> list[Row]:
    mark = "! " if line.kind is Kind.ERROR else "* "
    begin = f"{time} {mark}" if time else mark
    if columns_of(begin) > columns // 2:
        begin = mark
    style = line.kind.value
    rows = _limited(wrapped(visible(line.text), max(2, columns - columns_of(begin))))
    indent = " " * columns_of(begin)
    return [
        ((style, (indent if index else begin) + row + from_left(row)),)
        for index, row in enumerate(rows)
    ]


def clock_time(at: float, *, today: datetime | None = None) -> str:
    """A time in seconds since 1970 as the clock on the wall says it: `12:04`, and `11-22 12:04` where that was not
    `today`.
    """
    try:
        moment = datetime.fromtimestamp(at)
    except (OverflowError, ValueError, OSError):
        return _UNKNOWN_TIME
    if today is not None and moment.date() != today.date():
        return moment.strftime("%m-%d %H:%M")
    return moment.strftime("%H:%M")


def as_plain(message: Message) -> str:
    """A message as one row of text, for pipes: `2026-11-23 12:04:00 lobby alice: hello`; a line break is shown as
    `\\n`.
    """
    try:
        time = datetime.fromtimestamp(message.at).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        time = _UNKNOWN_TIME
    sender, text = visible_name(message.sender), visible_name(message.text)
    return f"{time} {visible_name(message.to)} {sender}: {text}"
