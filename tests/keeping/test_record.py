"""What is written down of a kept job."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockserv.execution.outcome import KillReason, Outcome, OutcomeKind
from sockserv.keeping.folder import JobFolder
from sockserv.keeping.record import read_outcome, read_record, write_outcome, write_record
from tests.keeping.kit import record

OUTCOME = Outcome(kind=OutcomeKind.KILLED, reason=KillReason.TIMEOUT, signal="TERM", job="build")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    some = record(identity="张三", command="a\nb", pid=7, has_terminal=True)
    write_record(folder, some)
    write_outcome(folder, OUTCOME)
    assert read_record(folder) == some
    assert read_outcome(folder) == OUTCOME
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outcome.json", "record.json"]


def test_nothing_is_written(tmp_path: Path) -> None:
    assert read_record(JobFolder(tmp_path)) is None
    assert read_outcome(JobFolder(tmp_path)) is None


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"nonsense", b'{"kind": "flown"}', b"\xff\0", b"[]"]
)
def test_what_makes_no_sense_is_as_if_it_were_not_there(tmp_path: Path, content: bytes) -> None:
    folder = JobFolder(tmp_path)
    folder.record.write_bytes(content)
    folder.outcome.write_bytes(content)
    assert read_record(folder) is None
    assert read_outcome(folder) is None


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.outcome.write_bytes(b'{"kind": "exited", "code": 0, "weather": "fine"}')
    outcome = read_outcome(folder)
    assert outcome is not None
    assert outcome.is_success
