"""Finding the end of a log, whose last writer may have died in the middle of a line."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import attrs

from sockserv.trust.audit.arguments import fitting_text
from sockserv.trust.audit.chain import GENESIS, DamagedLine, unseal
from sockserv.trust.audit.folder import AuditFolder, Head, RawLine

__all__ = ["Found", "recover"]

_NOTHING = Head(0, GENESIS)


@attrs.frozen
class Found:
    """What was found: the record to go on from, and what is not as a writer that ends in peace leaves it."""

    head: Head
    facts: dict[str, Any]


def recover(folder: AuditFolder) -> Found:
    """Find the last record of a log, and cut the beginning of a line that a crash has left behind it.

    Only its writer may do this. Blocks; raises `OSError`.
    """
    facts: dict[str, Any] = {}
    head = folder.head()
    numbers = folder.numbers()
    if numbers:
        _cut(folder, numbers[-1], facts)
    last = next(
        (found for number in reversed(numbers) if (found := _last_of(folder, number)).seq), _NOTHING
    )
    if head is None:
        if numbers:
            facts["head"] = "absent"
        return Found(last, facts)
    if head.seq > last.seq:
        # It was on the disk, and somebody has taken it away. Its number is not given to another.
        facts["missing"] = {"from": last.seq + 1, "to": head.seq}
    return Found(last if last.seq > head.seq else head, facts)


def _last_of(folder: AuditFolder, number: int) -> Head:
    last = _NOTHING
    for raw in folder.lines(number):
        # A line that was changed stays where it is, as proof.
        with suppress(DamagedLine):
            line = unseal(raw.content)
            last = Head(line.record.seq, line.hash)
    return last


def _cut(folder: AuditFolder, number: int, facts: dict[str, Any]) -> None:
    """Cut a last line without an end: nobody was ever told that it is on the disk."""
    beginning: RawLine | None = None
    for raw in folder.lines(number):
        if raw.is_whole:
            beginning = None
        elif beginning is None:
            beginning = raw
    if beginning is None:
        return
    path = folder.file(number)
    facts["cut"] = {
        "file": path.name,
        "line": beginning.number,
        "bytes": path.stat().st_size - beginning.offset,
        "text": fitting_text(beginning.content.decode("utf-8", "backslashreplace")),
    }
    os.truncate(path, beginning.offset)
