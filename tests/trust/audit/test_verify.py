"""Whatever is done to a log, it shows, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.trust.audit import Event, Record
from sockserv.trust.audit.chain import seal, unseal
from sockserv.trust.audit.folder import AuditFolder, RawLine
from sockserv.trust.audit.verify import Finding, Report, verify
from sockserv.trust.audit.writer import AuditWriter

FILE = "00000001.jsonl"
COUNT = 6

Lines = list[bytes]


def log_of(
    path: Path, count: int = COUNT, *, max_file_bytes: int = 10**9, keep: int = 9
) -> AuditFolder:
    folder = AuditFolder(path / "audit")
    writer = AuditWriter(folder.path, max_file_bytes=max_file_bytes, keep_files=keep)
    writer.open()
    for number in range(count):
        writer.append([Record(event=Event.BEGIN, op=f"op {number + 1}")])
    writer.close()
    return folder


def tampered(folder: AuditFolder, change: Callable[[Lines], Lines], number: int = 1) -> Report:
    path = folder.file(number)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    return verify(folder)


def faults(report: Report) -> list[tuple[int | None, str]]:
    return [(fault.line, fault.what) for fault in report.faults]


def forged(line: bytes, **fields: object) -> bytes:
    """The line with other fields, and a hash that fits."""
    return seal(msgspec.structs.replace(unseal(line[:-1]).record, **fields))[0]


def test_an_untouched_log(tmp_path: Path) -> None:
    folder = log_of(tmp_path)
    report = verify(folder)
    assert (report.files, report.records, report.faults, report.notes) == (1, COUNT, [], [])
    assert report.last == folder.head()
    assert report.first is not None
    assert report.first.op == "op 1"


def test_a_log_that_was_never_written(tmp_path: Path) -> None:
    report = verify(log_of(tmp_path, 0))
    assert (report.records, report.faults, report.last) == (0, [], None)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(AuditFolder(tmp_path / "audit"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            lambda lines: [*lines[:2], lines[2].replace(b"op 3", b"op x"), *lines[3:]],
            [(3, "was changed: its hash is not that of what it says")],
            id="changed",
        ),
        pytest.param(
            lambda lines: [*lines[:5], lines[5].replace(b"op 6", b"op x")],
            [(6, "was changed: its hash is not that of what it says")],
            id="the last one changed",
        ),
        pytest.param(
            lambda lines: [*lines[:2], forged(lines[2], op="op x"), *lines[3:]],
            [(3, "was written anew: the next line did not follow it")],
            id="changed, with a hash that fits",
        ),
        pytest.param(
            lambda lines: [*lines[:5], forged(lines[5], op="op x")],
            [(6, "record 6 is not the one that was written")],
            id="the last one changed, with a hash that fits",
        ),
        pytest.param(
            lambda lines: [*lines[:2], *lines[3:]],
            [(3, "record 3 is missing before this line")],
            id="one removed",
        ),
        pytest.param(
            lambda lines: lines[2:],
            [(1, "records 1 to 2 are missing before this line")],
            id="the beginning removed",
        ),
        pytest.param(
            lambda lines: lines[:4],
            [(4, "records 5 to 6 are missing at the end")],
            id="the end removed",
        ),
        pytest.param(
            lambda lines: [], [(None, "records 1 to 6 are missing at the end")], id="all removed"
        ),
        pytest.param(
            lambda lines: [*lines[:3], lines[1], *lines[3:]],
            [(4, "record 2 is a copy of an earlier line: record 4 belongs here")],
            id="copied",
        ),
        pytest.param(
            lambda lines: [*lines[:2], forged(lines[2], op="x"), *lines[2:]],
            [(4, "record 3 is in the wrong place: record 4 belongs here")],
            id="inserted",
        ),
        pytest.param(
            lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
            [
                (2, "record 2 is missing before this line"),
                (3, "record 2 is in the wrong place: record 4 belongs here"),
            ],
            id="reordered",
        ),
        pytest.param(
            lambda lines: [*lines[:2], b"# a remark\n", *lines[2:]],
            [(3, "is not a whole record")],
            id="a remark",
        ),
        pytest.param(
            lambda lines: [*lines[:2], lines[2][:40] + b"\n", *lines[3:]],
            [(3, "is not a whole record"), (4, "record 3 is missing before this line")],
            id="cut in the middle",
        ),
        pytest.param(
            lambda lines: [*lines[:2], lines[2].replace(b",", b", ", 1), *lines[3:]],
            [(3, "was changed: its hash is not that of what it says")],
            id="only a space",
        ),
    ],
)
def test_a_change_is_found_and_named(
    tmp_path: Path, change: Callable[[Lines], Lines], expected: list[tuple[int | None, str]]
) -> None:
    report = tampered(log_of(tmp_path), change)
    assert faults(report) == expected
    assert all(fault.file in (FILE, None) for fault in report.faults)


@given(st.data())
def test_no_permutation_passes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any choice of lines, in any order, with repetitions, is the log itself or is found out."""
    folder = log_of(tmp_path_factory.mktemp("log"), 4)
    chosen = data.draw(st.lists(st.integers(0, 3), max_size=6))
    report = tampered(folder, lambda lines: [lines[number] for number in chosen])
    assert bool(report.faults) == (chosen != [0, 1, 2, 3])


@given(st.integers(0, 10_000), st.binary(max_size=40), st.integers(0, 40))
def test_no_edit_passes(
    tmp_path_factory: pytest.TempPathFactory, place: int, inserted: bytes, removed: int
) -> None:
    """Any bytes in the place of any others."""
    folder = log_of(tmp_path_factory.mktemp("log"), 3)
    before = folder.file(1).read_bytes()
    place %= len(before)
    after = before[:place] + inserted + before[place + removed :]
    folder.file(1).write_bytes(after)
    report = verify(folder)
    # A line that only begins may be one that is being written.
    begins_one_more = after.startswith(before) and b"\n" not in after[len(before) :]
    assert bool(report.faults) == (after != before and not begins_one_more)


def test_a_line_that_is_being_written(tmp_path: Path) -> None:
    report = tampered(log_of(tmp_path), lambda lines: [*lines, b'{"seq":7'])
    assert report.faults == []
    assert report.notes == [Finding("8 bytes are not a whole line (yet)", FILE, 7)]


def test_everything_written_anew_is_found_by_the_head(tmp_path: Path) -> None:
    folder = log_of(tmp_path)
    head = folder.head_path.read_bytes()
    folder.file(1).unlink()
    folder.head_path.unlink()
    log_of(tmp_path, COUNT + 1)
    assert verify(folder).faults == []
    folder.head_path.write_bytes(head)
    assert verify(folder).faults == []  # the same records again; but with others:
    other = tampered(folder, lambda lines: [forged(line, op="x") for line in lines])
    assert other.faults


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"1 2\n"])
def test_a_head_that_is_gone(tmp_path: Path, content: bytes | None) -> None:
    folder = log_of(tmp_path)
    if content is None:
        folder.head_path.unlink()
    else:
        folder.head_path.write_bytes(content)
    assert faults(verify(folder)) == [(None, "head is missing: records may be, too, at the end")]


class TestANotedHash:
    def test_of_any_record(self, tmp_path: Path) -> None:
        folder = log_of(tmp_path)
        for line in folder.file(1).read_bytes().splitlines():
            assert verify(folder, noted=unseal(line).hash).faults == []

    def test_of_a_log_that_was_written_anew(self, tmp_path: Path) -> None:
        folder = log_of(tmp_path)
        head = folder.head()
        assert head is not None
        folder.file(1).unlink()
        folder.head_path.unlink()
        log_of(tmp_path, 3)
        assert verify(folder).faults == []
        (fault,) = verify(folder, noted=head.hash).faults
        assert fault.what.startswith(f"no record has the hash {head.hash}: all was written anew")


class TestManyFiles:
    def test_all_are_one_chain(self, tmp_path: Path) -> None:
        report = verify(log_of(tmp_path, max_file_bytes=1))
        assert (report.files, report.records, report.faults) == (6, 11, [])

    def test_a_missing_one(self, tmp_path: Path) -> None:
        folder = log_of(tmp_path, max_file_bytes=1)
        folder.file(3).unlink()
        assert {fault.what for fault in verify(folder).faults} == {
            "records 4 to 5 are missing before this line",
            "00000003.jsonl is missing",
        }

    def test_the_oldest_removed_by_hand(self, tmp_path: Path) -> None:
        folder = log_of(tmp_path, max_file_bytes=1, keep=4)
        assert folder.numbers() == [3, 4, 5, 6]
        assert verify(folder).faults == []
        folder.file(3).unlink()
        assert faults(verify(folder)) == [
            (None, "00000003.jsonl is missing, and no record says that it was removed")
        ]

    def test_a_change_in_an_older_one(self, tmp_path: Path) -> None:
        folder = log_of(tmp_path, max_file_bytes=1)
        report = tampered(folder, lambda lines: [forged(lines[0], time="x"), *lines[1:]], 3)
        assert report.faults == [
            Finding("was written anew: the next line did not follow it", "00000003.jsonl", 1)
        ]

    def test_a_change_at_the_very_beginning(self, tmp_path: Path) -> None:
        folder = log_of(tmp_path, max_file_bytes=1, keep=4)
        report = tampered(
            folder, lambda lines: [lines[0].replace(b"rotated", b"begin"), *lines[1:]], 3
        )
        assert report.faults == [
            Finding("was changed: its hash is not that of what it says", "00000003.jsonl", 1)
        ]


@pytest.mark.parametrize(
    "facts", [{"removed": 5}, {"removed": [5]}, {"cut": 1}, {"cut": {}}, {"missing": {"from": 1}}]
)
def test_facts_that_no_writer_leaves(tmp_path: Path, facts: dict[str, object]) -> None:
    folder = log_of(tmp_path, 2)
    for event in Event:
        report = tampered(folder, partial(saying, event, facts))
        assert len(report.faults) == 1


def saying(event: Event, facts: dict[str, object], lines: Lines) -> Lines:
    return [lines[0], forged(lines[1], event=event, facts=facts)]


def test_what_the_writer_says_is_repeated(tmp_path: Path) -> None:
    folder = AuditFolder(tmp_path / "audit")
    writer = AuditWriter(folder.path, max_file_bytes=10**9, keep_files=2)
    writer.open()
    facts = {"cut": {"bytes": 7}, "missing": {"from": 3, "to": 3}, "head": "absent"}
    writer.append(
        [
            Record(event=Event.START, facts=facts),
            Record(event=Event.LOST, facts={"records": 12}),
        ]
    )
    writer.close()
    assert [(note.line, note.what) for note in verify(folder).notes] == [
        (1, "found at this start: 7 bytes of a line without an end, which were cut off"),
        (1, "found at this start: record 3 is missing"),
        (1, "found at this start: head is missing"),
        (2, "12 records could not be written"),
    ]


def test_while_it_is_written(tmp_path: Path) -> None:
    """Files come and go between one look and the next."""
    writer = AuditWriter(tmp_path / "audit", max_file_bytes=1, keep_files=2)
    writer.open()
    looks = 0

    class Busy(AuditFolder):
        """A folder whose log grows whenever somebody looks."""

        def numbers(self) -> list[int]:
            nonlocal looks
            looks += 1
            if looks in (1, 2, 5):
                for _ in range(4):
                    writer.append([Record(event=Event.BEGIN)])
            return super().numbers()

        def lines(self, number: int, *, offset: int = 0, first: int = 1) -> Iterator[RawLine]:
            if looks == 3:
                writer.append([Record(event=Event.BEGIN)])
            return super().lines(number, offset=offset, first=first)

    report = verify(Busy(tmp_path / "audit"))
    writer.close()
    assert report.faults == []
    assert looks > 3
