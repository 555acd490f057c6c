"""Reading a log, from its beginning on and for as long as it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import attrs

from sockserv.trust.audit.chain import DamagedLine, Line, unseal
from sockserv.trust.audit.folder import MAX_LINE_BYTES, AuditFolder, RawLine

__all__ = ["Entry", "entries"]


@attrs.frozen
class Entry:
    """A line of a log, and what it says; `line` is None where it is not as it was written, and `fault` says why."""

    file: str
    number: int
    content: bytes
    line: Line | None
    fault: str = ""


def entries(folder: AuditFolder, *, wait: Callable[[], None] | None = None) -> Iterator[Entry]:
    """All lines that are there; then `wait` is called, and those follow that have come, for ever. None ends it there.

    The line that is being written is not given before it is whole. Blocks; raises `OSError`.
    """
    number, offset, next_line = 0, 0, 1
    while True:
        for each in folder.numbers():
            if each < number:
                continue
            if each > number:
                number, offset, next_line = each, 0, 1
            # Its writer may remove it at any moment, and then there is a later one.
            with suppress(FileNotFoundError):
                for raw in folder.lines(number, offset=offset, first=next_line):
                    if not raw.is_whole and len(raw.content) < MAX_LINE_BYTES:
                        break
                    offset = raw.offset + len(raw.content) + raw.is_whole
                    next_line = raw.number + raw.is_whole
                    yield _entry(folder.file(number).name, raw)
        if wait is None:
            return
        wait()


def _entry(file: str, raw: RawLine) -> Entry:
    try:
        return Entry(file, raw.number, raw.content, unseal(raw.content))
    except DamagedLine as damage:
        return Entry(file, raw.number, raw.content, None, str(damage))
