"""Reading docs/protocol.md: its tables and its dumps are what the tests expect."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import attrs

PATH = Path(__file__).resolve().parents[1] / "docs" / "protocol.md"


@attrs.frozen
class Row:
    """A row of section 13."""

    id: str
    what: str
    answer: str
    connection: str
    log: str


@cache
def section(title: str) -> str:
    """The text below a heading, up to the next one of the same level or higher."""
    found = re.search(
        rf"^(#+) (?:\d+\. )?{re.escape(title)}\n(.*?)(?=^\1 |^## |\Z)",
        PATH.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None, f"there is no section {title!r}"
    return found[2]


def table(title: str) -> list[list[str]]:
    """The rows of the first table in a section, without its head; code is without its marks."""
    lines = section(title).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code(cell: str) -> str:
    """What stands in code marks in a cell, the first such."""
    found = re.search(r"`([^`]+)`", cell)
    assert found is not None, cell
    return found[1]


def bad_input() -> dict[str, Row]:
    rows = [Row(code(cells[0]), *cells[1:]) for cells in table("What happens on bad input")]
    by_id = {row.id: row for row in rows}
    assert len(by_id) == len(rows)
    return by_id


def conversation() -> list[tuple[str, bytes]]:
    """The dumps of the worked example: who sends, and what."""
    text = section("A whole conversation, byte by byte")
    dumps = re.findall(r"\*\*(Client|Server)\*\*:[^`]*```\n(.*?)```", text, re.DOTALL)
    return [(who, _undump(dump)) for who, dump in dumps]


def dumps(title: str) -> list[bytes]:
    """The bytes of all dumps in a section."""
    return [_undump(dump) for dump in re.findall(r"```\n(.*?)```", section(title), re.DOTALL)]


def _undump(dump: str) -> bytes:
    data = bytearray()
    *lines, last = dump.strip().splitlines()
    for line in lines:
        offset, _, rest = line.partition("  ")
        assert int(offset, 16) == len(data)
        digits, _, shown = rest.partition("|")
        piece = bytes.fromhex(digits)
        printable = "".join(chr(b) if 32 <= b < 127 else "." for b in piece)
        assert shown == printable + "|"
        data += piece
    assert int(last, 16) == len(data)
    return bytes(data)
