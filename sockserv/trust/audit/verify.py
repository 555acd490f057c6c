"""Looking a log over: whether each line is as it was written, and where its writer put it.

What this can show: a line that was changed, put in, taken out or moved, and an end that was taken away, as long as
whoever did that has not written everything after it anew, `head` included. Against that helps a hash that is noted
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import attrs

from sockserv.trust.audit.chain import GENESIS, DamagedLine, Line, unseal
from sockserv.trust.audit.folder import AuditFolder, Head, RawLine
from sockserv.trust.audit.record import Event, Record

__all__ = ["Finding", "Report", "verify"]

_MAX_FINDINGS = 1000
_REMEMBERED = 4096
"""How far back the line may be that one was written after."""


@attrs.frozen
class Finding:
    """Something about the log; `file` and `line` say where, as far as it is in one place."""

    what: str
    file: str | None = None
    line: int | None = None


@attrs.define
class Report:
    """What there is, `faults` that a writer does not leave, and `notes` on what it has said itself."""

    files: int = 0
    records: int = 0
    first: Record | None = None
    last: Head | None = None
    faults: list[Finding] = attrs.field(factory=list)
    notes: list[Finding] = attrs.field(factory=list)


def verify(folder: AuditFolder, *, noted: str | None = None) -> Report:
    """Look a whole log over; its writer may go on meanwhile.

    `noted` is the hash of a record, as an earlier run has shown it: it has to be there still. Blocks; raises `OSError`.
    """
    while True:
        # The head is never before the files; read in this order it cannot seem so, either.
        head = folder.head()
        numbers = folder.numbers()
        walk = _Walk(folder, numbers, noted)
        try:
            for number in numbers:
                walk.file(number)
        except FileNotFoundError:
            if folder.numbers() == numbers:
                raise
            # The log has grown, and its oldest file was removed for that: once more.
            continue
        first = walk.report.first
        if head and first and head.seq < first.seq and folder.head() != head:
            # The same, between the two looks.
            continue
        walk.end(head)
        return walk.report


class _Walk:
    """Where in the log we are, and what was seen so far."""

    def __init__(self, folder: AuditFolder, numbers: list[int], noted: str | None) -> None:
        self.report = Report()
        self._folder = folder
        self._numbers = numbers
        self._noted = noted
        self._is_noted_seen = False
        # The number of the last record, and what the next ones may follow: hashes, with their numbers.
        self._seq = 0
        self._seen: dict[str, int] = {GENESIS: 0}
        self._before: Finding | None = None
        self._removed: set[str] = set()

    def file(self, number: int) -> None:
        """Go over one file."""
        self.report.files += 1
        name = self._folder.file(number).name
        for raw in self._folder.lines(number):
            here = Finding("", name, raw.number)
            if not raw.is_whole and number == self._numbers[-1]:
                self._note(here, f"{len(raw.content)} bytes are not a whole line (yet)")
                continue
            try:
                line = unseal(raw.content)
            except DamagedLine as damage:
                self._damaged(here, raw, damage)
            else:
                self._whole(here, line)

    def end(self, head: Head | None) -> None:
        """Compare with what is known of the log as a whole."""
        report, numbers = self.report, self._numbers
        if numbers and numbers[0] > 1:
            before = self._folder.file(numbers[0] - 1).name
            if before not in self._removed:
                self._fault(None, f"{before} is missing, and no record says that it was removed")
        for earlier, later in pairwise(numbers):
            if later != earlier + 1:
                self._fault(None, f"{self._folder.file(earlier + 1).name} is missing")
        if self._seq:
            last = next(
                digest for digest in reversed(self._seen) if self._seen[digest] == self._seq
            )
            report.last = Head(self._seq, last)
        self._compare(head)
        if self._noted is not None and not self._is_noted_seen:
            self._fault(
                None,
                f"no record has the hash {self._noted}: all was written anew, "
                "or its file was removed when the log had grown",
            )

    def _compare(self, head: Head | None) -> None:
        if head is None:
            if self._seq:
                self._fault(None, "head is missing: records may be, too, at the end")
        elif head.seq > self._seq:
            self._fault(self._before, f"{_records(self._seq + 1, head.seq)} missing at the end")
        elif head.hash not in self._seen and head.seq > self._seq - _REMEMBERED // 2:
            self._fault(self._before, f"record {head.seq} is not the one that was written")

    def _whole(self, here: Finding, line: Line) -> None:
        record = line.record
        report = self.report
        report.records += 1
        if report.first is None:
            report.first = record
            if self._numbers[0] > 1:
                # What went before may have been removed as is right; `end` sees to that.
                self._seq = record.seq - 1
                if self._before is None or record.prev in self._seen:
                    self._seen[record.prev] = self._seq
        self._place(here, record, line.hash)
        self._read(here, record)
        self._remember(line.hash, record.seq, here)

    def _place(self, here: Finding, record: Record, digest: str) -> None:
        """Whether a record stands where it was written."""
        seq, expected = record.seq, self._seq + 1
        if seq < expected:
            what = "a copy of an earlier line" if digest in self._seen else "in the wrong place"
            self._fault(here, f"record {seq} is {what}: record {expected} belongs here")
        elif seq > expected:
            self._fault(here, f"{_records(expected, seq - 1)} missing before this line")
        elif self._seen.get(record.prev) != seq - 1:
            self._fault(self._before or here, "was written anew: the next line did not follow it")

    def _damaged(self, here: Finding, raw: RawLine, damage: DamagedLine) -> None:
        self._fault(here, str(damage))
        if damage.hash is not None and damage.hash not in self._seen:
            # It stands for the record that was here, which the next one follows.
            self._remember(damage.hash, self._seq + 1, here)

    def _remember(self, digest: str, seq: int, here: Finding) -> None:
        self._is_noted_seen |= digest == self._noted
        self._seq = max(self._seq, seq)
        self._seen[digest] = seq
        self._before = here
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def _read(self, here: Finding, record: Record) -> None:
        """What the writer itself has said about the log."""
        match record.event:
            case Event.ROTATED:
                self._removed.update(_names(record.facts.get("removed")))
            case Event.LOST:
                self._note(here, f"{record.facts.get('records')} records could not be written")
            case Event.START:
                for what in _left_behind(record):
                    self._note(here, what)

    def _fault(self, where: Finding | None, what: str) -> None:
        _add(self.report.faults, where, what)

    def _note(self, where: Finding | None, what: str) -> None:
        _add(self.report.notes, where, what)


def _add(findings: list[Finding], where: Finding | None, what: str) -> None:
    if len(findings) < _MAX_FINDINGS:
        findings.append(Finding(what) if where is None else Finding(what, where.file, where.line))


def _records(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


def _names(value: Any) -> Iterator[str]:
    return (name for name in (value if isinstance(value, list) else ()) if isinstance(name, str))


def _left_behind(record: Record) -> Iterator[str]:
    match record.facts.get("cut"):
        case {"bytes": count}:
            yield f"found at this start: {count} bytes of a line without an end, which were cut off"
    match record.facts.get("missing"):
        case {"from": int(first), "to": int(last)}:
            yield f"found at this start: {_records(first, last)} missing"
    if "head" in record.facts:
        yield "found at this start: head is missing"
