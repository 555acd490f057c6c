"""What is written down of a kept job."""

from __future__ import annotations

import os
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
def test_what_makes_no_sense(tmp_path: Path, content: bytes) -> None:
    folder = JobFolder(tmp_path)
    folder.record.write_bytes(content)
    folder.outcome.write_bytes(content)
    with pytest.raises(ValueError, match=r"record\.json"):
        read_record(folder)
    with pytest.raises(ValueError, match=r"outcome\.json"):
        read_outcome(folder)


def test_what_a_job_of_the_same_account_can_put_there(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    os.mkfifo(folder.record)
    with pytest.raises(ValueError, match="makes no sense"):
        read_record(folder)
    (tmp_path / "elsewhere").write_bytes(b"{}")
    folder.outcome.symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        read_outcome(folder)


def test_what_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.outcome.write_bytes(b'{"kind": "exited", "code": 0, "weather": "fine"}')
    outcome = read_outcome(folder)
    assert outcome is not None
    assert outcome.is_success
