"""The files of a log: what is on the disk, after crashes, too."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sockserv.errors import StateError
from sockserv.trust.audit import Event, Record
from sockserv.trust.audit.folder import AuditFolder
from sockserv.trust.audit.verify import verify
from sockserv.trust.audit.writer import AuditWriter

BIG = 10**9


def begin(op: str = "op", **fields: Any) -> Record:
    return Record(event=Event.BEGIN, op=op, time="1970-01-01T00:00:00Z", **fields)


@pytest.fixture
def folder(tmp_path: Path) -> AuditFolder:
    return AuditFolder(tmp_path / "audit")


def opened(folder: AuditFolder, *, max_file_bytes: int = BIG, keep_files: int = 3) -> AuditWriter:
    writer = AuditWriter(folder.path, max_file_bytes=max_file_bytes, keep_files=keep_files)
    writer.open()
    return writer


def written(folder: AuditFolder) -> list[Any]:
    return [
        json.loads(line.content) for number in folder.numbers() for line in folder.lines(number)
    ]


def leave(folder: AuditFolder, count: int) -> None:
    """What a writer leaves that has written `count` records."""
    writer = opened(folder)
    for number in range(count):
        writer.append([begin(f"op {number + 1}")])
    writer.close()


def found_by_next(folder: AuditFolder) -> dict[str, Any]:
    writer = AuditWriter(folder.path, max_file_bytes=BIG, keep_files=3)
    found = writer.open()
    writer.append([Record(event=Event.START, facts=found)])
    writer.close()
    return found


def test_records_are_chained(folder: AuditFolder) -> None:
    writer = opened(folder)
    writer.append([begin("a"), begin("b")])
    writer.append([begin("c")])
    writer.close()
    lines = written(folder)
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert [line["prev"] for line in lines] == ["0" * 64, lines[0]["hash"], lines[1]["hash"]]
    head = folder.head()
    assert head is not None
    assert (head.seq, head.hash) == (3, lines[2]["hash"])


def test_nobody_else_can_read_it(folder: AuditFolder) -> None:
    leave(folder, 1)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.path.iterdir()}
    assert modes == {"00000001.jsonl": 0o600, "head": 0o600, "lock": 0o600}


def test_a_folder_that_others_can_enter_is_refused(folder: AuditFolder) -> None:
    folder.path.mkdir(mode=0o755)
    folder.path.chmod(0o755)
    with pytest.raises(StateError, match=f"`chmod 700 {folder.path}`"):
        opened(folder)


def test_a_file_in_its_place_is_refused(folder: AuditFolder) -> None:
    folder.path.write_text("")
    with pytest.raises(StateError, match="cannot open the audit log"):
        opened(folder)


def test_a_link_is_not_followed(folder: AuditFolder, tmp_path: Path) -> None:
    folder.path.mkdir(mode=0o700)
    folder.file(1).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="cannot open the audit log"):
        opened(folder)
    assert not (tmp_path / "elsewhere").exists()


def test_there_is_one_writer(folder: AuditFolder) -> None:
    writer = opened(folder)
    with pytest.raises(StateError, match="another process writes"):
        opened(folder)
    writer.close()
    writer.close()
    opened(folder).close()


def test_the_next_writer_goes_on(folder: AuditFolder) -> None:
    leave(folder, 2)
    assert found_by_next(folder) == {}
    assert [line["seq"] for line in written(folder)] == [1, 2, 3]
    assert verify(folder).faults == []


class TestAfterACrash:
    @pytest.mark.parametrize("left", [b"{", b'{"seq":3,"time":"19', b"\0" * 5000, b"x" * 300_000])
    def test_a_line_without_an_end_is_cut(self, folder: AuditFolder, left: bytes) -> None:
        leave(folder, 2)
        with folder.file(1).open("ab") as file:
            file.write(left)
        assert verify(folder).faults == []
        found = found_by_next(folder)
        assert found["cut"]["bytes"] == len(left)
        assert (found["cut"]["file"], found["cut"]["line"]) == ("00000001.jsonl", 3)
        assert len(found["cut"]["text"]) < 300
        assert [line["seq"] for line in written(folder)] == [1, 2, 3]
        report = verify(folder)
        assert report.faults == []
        assert "a line without an end, which were cut off" in report.notes[0].what

    def test_whole_lines_that_nobody_was_told_of_stay(self, folder: AuditFolder) -> None:
        leave(folder, 2)
        head = folder.head_path.read_bytes()
        writer = opened(folder)
        writer.append([begin("op 3")])
        writer.close()
        folder.head_path.write_bytes(head)
        assert found_by_next(folder) == {}
        assert [line["seq"] for line in written(folder)] == [1, 2, 3, 4]
        assert verify(folder).faults == []

    def test_in_the_middle_of_a_rotation(self, folder: AuditFolder) -> None:
        leave(folder, 2)
        folder.file(2).touch(mode=0o600)
        assert found_by_next(folder) == {}
        assert folder.numbers() == [1, 2]
        assert [line["seq"] for line in written(folder)] == [1, 2, 3]
        assert verify(folder).faults == []

    def test_nothing_but_the_folder_was_made(self, folder: AuditFolder) -> None:
        folder.path.mkdir(mode=0o700)
        folder.head_path.touch(mode=0o600)
        assert found_by_next(folder) == {}

    @pytest.mark.parametrize("number", [0, 1])
    def test_a_head_that_is_lost_is_found_again(self, folder: AuditFolder, number: int) -> None:
        leave(folder, 3)
        if number:
            folder.file(2).touch(mode=0o600)
        folder.head_path.write_bytes(b"")
        assert found_by_next(folder) == {"head": "absent"}
        assert [line["seq"] for line in written(folder)] == [1, 2, 3, 4]


class TestWhatWasTakenAway:
    def test_the_end(self, folder: AuditFolder) -> None:
        leave(folder, 5)
        lines = folder.file(1).read_bytes().splitlines(keepends=True)
        folder.file(1).write_bytes(b"".join(lines[:3]))
        assert found_by_next(folder) == {"missing": {"from": 4, "to": 5}}
        assert [line["seq"] for line in written(folder)] == [1, 2, 3, 6]

    def test_everything_but_the_head(self, folder: AuditFolder) -> None:
        leave(folder, 5)
        folder.file(1).unlink()
        assert found_by_next(folder) == {"missing": {"from": 1, "to": 5}}

    def test_while_it_was_written(self, folder: AuditFolder) -> None:
        writer = opened(folder)
        writer.append([begin("a")])
        folder.file(1).rename(folder.path / "gone")
        writer.append([begin("b")])
        writer.append([begin("c")])
        writer.close()
        assert folder.numbers() == [2]
        lines = written(folder)
        assert [line["seq"] for line in lines] == [2, 3, 4]
        assert lines[0]["facts"] == {
            "after": "00000001.jsonl",
            "removed": [],
            "vanished": "00000001.jsonl",
        }

    def test_the_whole_folder(self, folder: AuditFolder) -> None:
        """Nothing is written where nobody would find it."""
        writer = opened(folder)
        writer.append([begin("a")])
        aside = folder.path.rename(folder.path.with_name("aside"))
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                writer.append([begin("b")])
        aside.rename(folder.path)
        writer.append([begin("c")])
        writer.close()
        assert [line["op"] for line in written(folder)] == ["a", "c"]
        assert verify(folder).faults == []

    def test_the_beginning_of_the_file_that_is_written(self, folder: AuditFolder) -> None:
        writer = opened(folder)
        writer.append([begin("a")])
        os.truncate(folder.file(1), 0)
        writer.append([begin("b")])
        writer.append([begin("c")])
        writer.close()
        assert [line["seq"] for line in written(folder)] == [2, 3]


class TestRotation:
    def test_a_full_file_is_followed_by_another(self, folder: AuditFolder) -> None:
        writer = opened(folder, max_file_bytes=600)
        for _ in range(5):
            writer.append([begin()])
        writer.close()
        assert folder.numbers() == [1, 2]
        first = next(folder.lines(2))
        assert json.loads(first.content)["facts"] == {"after": "00000001.jsonl", "removed": []}
        assert verify(folder).faults == []

    @pytest.mark.parametrize(("size", "files"), [(0, 1), (1, 2)])
    def test_the_size_at_which_it_is_full(self, folder: AuditFolder, size: int, files: int) -> None:
        leave(folder, 1)
        full = folder.file(1).stat().st_size + 1 - size
        writer = opened(folder, max_file_bytes=full)
        writer.append([begin()])
        writer.close()
        assert len(folder.numbers()) == files

    def test_the_oldest_go(self, folder: AuditFolder) -> None:
        writer = opened(folder, max_file_bytes=1, keep_files=3)
        for _ in range(10):
            writer.append([begin()])
        writer.close()
        assert folder.numbers() == [8, 9, 10]
        report = verify(folder)
        assert (report.faults, report.files, report.records) == ([], 3, 6)

    @pytest.mark.parametrize("past", [0, 1], ids=["at", "one past"])
    def test_what_is_young_is_kept_however_much_is_written(
        self, folder: AuditFolder, past: int
    ) -> None:
        writer = AuditWriter(folder.path, max_file_bytes=1, keep_files=2, keep_seconds=100.0)
        writer.open()
        for _ in range(5):
            writer.append([begin()])
        for number, age in zip(folder.numbers(), (900, 100 + past, 50, 500, 0), strict=True):
            os.utime(folder.file(number), (-age, -age))
        writer.append([begin()])
        writer.close()
        # A younger one keeps those that came after it: what is left has no gaps.
        assert folder.numbers() == [[2, 3, 4, 5, 6], [3, 4, 5, 6]][past]
        assert verify(folder).faults == []

    def test_a_number_that_somebody_has_taken(self, folder: AuditFolder) -> None:
        writer = opened(folder, max_file_bytes=1)
        writer.append([begin()])
        folder.file(99_999_999).touch(mode=0o600)
        writer.append([begin()])
        writer.close()
        assert folder.numbers() == [1, 99_999_999, 100_000_000]
        assert found_by_next(folder) == {}

    def test_a_single_file_is_kept(self, folder: AuditFolder) -> None:
        writer = opened(folder, max_file_bytes=1, keep_files=1)
        for _ in range(3):
            writer.append([begin()])
        writer.close()
        assert folder.numbers() == [3]
        assert verify(folder).faults == []

    def test_the_next_writer_removes_what_was_said_to_be(self, folder: AuditFolder) -> None:
        """It died between saying so and doing it."""
        writer = opened(folder, max_file_bytes=1, keep_files=2)
        for _ in range(2):
            writer.append([begin()])
        oldest = folder.file(1).read_bytes()
        writer.append([begin()])
        writer.close()
        folder.file(1).write_bytes(oldest)
        assert verify(folder).faults == []
        writer = opened(folder, max_file_bytes=1, keep_files=2)
        writer.append([begin()])
        writer.close()
        assert folder.numbers() == [3, 4]
        assert verify(folder).faults == []


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: what fits is written, then it fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestDiskFull:
    @pytest.mark.parametrize("room", [0, 1, 100, 350, 399])
    def test_nothing_is_left_of_what_failed(self, folder: AuditFolder, room: int) -> None:
        writer = opened(folder)
        writer.append([begin("a")])
        before = folder.file(1).read_bytes()
        with disk_full_at(len(before) + room):
            for _ in range(2):
                with pytest.raises(OSError, match="File too large"):
                    writer.append([begin("b"), begin("c")])
        assert folder.file(1).read_bytes() == before
        writer.append([begin("d")])
        writer.close()
        assert [line["op"] for line in written(folder)] == ["a", "d"]
        assert verify(folder).faults == []

    def test_what_an_attempt_could_not_take_back_goes_later(self, folder: AuditFolder) -> None:
        writer = opened(folder)
        writer.append([begin("a")])
        with folder.file(1).open("ab") as file:
            file.write(b'{"seq":2,"ti')
        writer.append([begin("b")])
        writer.close()
        assert [line["op"] for line in written(folder)] == ["a", "b"]

    def test_while_rotating(self, folder: AuditFolder) -> None:
        writer = opened(folder, max_file_bytes=1)
        writer.append([begin("a")])
        for _ in range(2):
            with disk_full_at(10), pytest.raises(OSError, match="File too large"):
                writer.append([begin("b")])
        writer.append([begin("c")])
        writer.close()
        assert [line.get("op") for line in written(folder)] == ["a", "c"]
        assert folder.numbers() == [1, 2]
        assert verify(folder).faults == []


class Unwritable:
    """JSON cannot express it, and neither can text."""

    def __str__(self) -> str:
        raise ValueError("no words for it")


@pytest.mark.parametrize("value", [Unwritable(), "\udcff", {"x": "y" * 300_000}])
def test_a_record_that_cannot_be_written_keeps_no_other_back(
    folder: AuditFolder, value: Any
) -> None:
    writer = opened(folder)
    writer.append([begin("a"), begin("b", args={"value": value}), begin("c")])
    writer.close()
    lines = written(folder)
    assert [line["op"] for line in lines] == ["a", "b", "c"]
    assert "args" not in lines[1]
    assert "unwritable" in lines[1]["facts"]
    assert verify(folder).faults == []
