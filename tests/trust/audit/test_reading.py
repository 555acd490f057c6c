"""Reading a log while it grows."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from sockserv.trust.audit import Event, Record
from sockserv.trust.audit.folder import AuditFolder
from sockserv.trust.audit.reading import entries
from sockserv.trust.audit.writer import AuditWriter


@pytest.fixture
def folder(tmp_path: Path) -> AuditFolder:
    return AuditFolder(tmp_path / "audit")


def writer_in(folder: AuditFolder, **settings: int) -> AuditWriter:
    writer = AuditWriter(folder.path, **{"max_file_bytes": 1, "keep_files": 2} | settings)
    writer.open()
    return writer


def test_what_is_there(folder: AuditFolder) -> None:
    writer = writer_in(folder, keep_files=9)
    for _ in range(3):
        writer.append([Record(event=Event.BEGIN)])
    writer.close()
    seen = [(entry.file, entry.number) for entry in entries(folder)]
    assert seen == [
        ("00000001.jsonl", 1),
        ("00000002.jsonl", 1),
        ("00000002.jsonl", 2),
        ("00000003.jsonl", 1),
        ("00000003.jsonl", 2),
    ]


def test_what_comes_is_followed_across_files(folder: AuditFolder) -> None:
    """More than is kept, so that files go that were read a moment ago, and some that were not."""
    writer = writer_in(folder)
    writer.append([Record(event=Event.BEGIN, call=0)])
    written = iter(range(1, 100))
    waits = 0

    def wait() -> None:
        nonlocal waits
        waits += 1
        for call in islice(written, 2 if waits < 5 else 4):
            writer.append([Record(event=Event.BEGIN, call=call)])

    calls = []
    for entry in entries(folder, wait=wait):
        assert entry.line is not None
        if entry.line.record.event is Event.BEGIN:
            calls.append(entry.line.record.call)
        if calls and calls[-1] == 12:
            break
    writer.close()
    # Of the four of the last time, two files were removed before anybody could look.
    assert calls == [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12]


def test_a_line_is_given_when_it_is_whole(folder: AuditFolder) -> None:
    writer = writer_in(folder)
    writer.append([Record(event=Event.BEGIN), Record(event=Event.END)])
    writer.close()
    path = folder.file(1)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    stages = iter([content[:-5], content])

    def wait() -> None:
        path.write_bytes(next(stages))

    assert [entry.number for entry in islice(entries(folder, wait=wait), 2)] == [1, 2]
    assert list(stages) == []


def test_a_line_without_an_end_is_passed_over(folder: AuditFolder) -> None:
    writer = writer_in(folder)
    writer.append([Record(event=Event.BEGIN)])
    writer.close()
    with folder.file(1).open("ab") as file:
        file.write(b"x" * 600_000 + b"\n" + b"{")
    seen = [(entry.number, entry.line is None) for entry in entries(folder)]
    assert seen == [(1, False), (2, True), (2, True), (2, True)]
