"""`sockserv audit`: what it shows of a log, and that it says what is wrong with one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sockserv.cli.exits import ExitStatus
from sockserv.trust.audit import Event, Record
from sockserv.trust.audit.folder import AuditLogError
from sockserv.trust.audit.writer import AuditWriter
from tests.cli.fakes import invoke

RECORDS = [
    Record(event=Event.START, time="2026-11-22T10:00:00.000000Z"),
    Record(
        event=Event.LOGIN,
        time="2026-11-22T11:00:00.000000Z",
        identity="alice",
        credential="token:12345678",
        origin="192.0.2.7 port 4711",
        outcome="ok",
    ),
    Record(
        event=Event.BEGIN,
        time="2026-11-22T12:00:00.000000Z",
        identity="alice",
        op="files.put",
        args={"path": "a b", "mode": None, "limits": {"files": None}, "env": {}, "from": 0},
    ),
    Record(
        event=Event.END,
        time="2026-11-22T13:00:00.000000Z",
        identity="alice",
        op="files.put",
        outcome="ok",
        rule="files",
        received_bytes=5,
        sent_bytes=0,
        seconds=0.25,
    ),
    Record(
        event=Event.REFUSED,
        time="2026-11-22T14:00:00.000000Z",
        identity="李雷",
        op="exec",
        outcome="permission-denied",
        why="no \x1b[2J",
        rule="exec",
    ),
]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    writer = AuditWriter(tmp_path / "audit", max_file_bytes=10**9, keep_files=2)
    writer.open()
    writer.append(RECORDS)
    writer.close()
    return tmp_path


def audit(state: Path, *arguments: str) -> Any:
    return invoke(["audit", *arguments, "--state", str(state)])


def test_a_line_for_each(state: Path) -> None:
    result = audit(state, "show")
    assert result.exception is None
    assert result.stdout == (
        "2026-11-22T10:00:00Z  -           start         -                       -\n"
        "2026-11-22T11:00:00Z  alice       login         -                       ok        "
        "token:12345678, from 192.0.2.7 port 4711\n"
        '2026-11-22T12:00:00Z  alice       begin         files.put               -         {"path":"a b","from":0}\n'
        "2026-11-22T13:00:00Z  alice       end           files.put               ok        "
        "by files, 5 bytes in, 0.25 s\n"
        "2026-11-22T14:00:00Z  李雷        refused       exec                    permission-denied  "
        "no \\x1b[2J, needs exec\n"
    )


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], [0, 1, 2, 3, 4]),
        (["--identity", "alice"], [1, 2, 3]),
        (["--op", "files.put"], [2, 3]),
        (["--op", "files.*"], [2, 3]),
        (["--op", "*"], [0, 1, 2, 3, 4]),
        (["--event", "login"], [1]),
        (["--outcome", "ok"], [1, 3]),
        (["--outcome", "permission-denied"], [4]),
        (["--since", "2026-11-22T13:00"], [3, 4]),
        (["--since", "2026-11-22T14:00:00+01:00"], [3, 4]),
        (["--since", "2026-11-23"], []),
        (["--since", "1m"], []),
        (["--since", "90w", "--identity", "alice", "--event", "end"], [3]),
    ],
)
def test_what_was_asked_for(state: Path, options: list[str], shown: list[int]) -> None:
    result = audit(state, "show", "--json", *options)
    assert [json.loads(line)["seq"] - 1 for line in result.stdout.splitlines()] == shown


@pytest.mark.parametrize("event", Event)
def test_each_event_can_be_asked_for(state: Path, event: Event) -> None:
    assert audit(state, "show", "--event", event.value).exception is None


def test_the_lines_as_they_stand_there(state: Path) -> None:
    log = (state / "audit" / "00000001.jsonl").read_bytes()
    assert audit(state, "show", "--json").stdout_bytes == log


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01", "0h", ""])
def test_no_moment(state: Path, when: str) -> None:
    result = audit(state, "show", "--since", when)
    assert "is neither a time ago, as 30m, 12h or 7d, nor a moment" in str(result.exception)


def test_a_damaged_line_is_shown_as_such(state: Path) -> None:
    log = state / "audit" / "00000001.jsonl"
    log.write_bytes(log.read_bytes().replace(b"files.put", b"files.get", 1))
    assert "00000001.jsonl line 3 was changed: " in audit(state, "show").stdout
    lines = audit(state, "show", "--json").stdout.splitlines()
    assert json.loads(lines[2]) == {
        "damaged": {
            "file": "00000001.jsonl",
            "line": 3,
            "what": "was changed: its hash is not that of what it says",
        }
    }


def test_a_log_that_is_well(state: Path) -> None:
    head = (state / "audit" / "head").read_text().split()[1]
    result = audit(state, "verify")
    assert not result.return_value
    assert result.stdout == f"{state}/audit: ok, 5 records in 1 file\nhead {head} (record 5)\n"
    assert json.loads(audit(state, "verify", "--json").stdout) == {
        "ok": True,
        "files": 1,
        "records": 5,
        "head": {"seq": 5, "hash": head},
        "faults": [],
        "notes": [],
    }
    assert not audit(state, "verify", "--head", head).return_value


def test_a_log_that_is_not(state: Path) -> None:
    log = state / "audit" / "00000001.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    result = audit(state, "verify")
    assert result.return_value == ExitStatus.FAILED
    assert result.stdout.startswith(
        f"00000001.jsonl line 3: record 3 is missing before this line\n{state}/audit: 1 fault\n"
    )
    result = audit(state, "verify", "--json")
    assert result.return_value == ExitStatus.FAILED
    assert json.loads(result.stdout)["faults"] == [
        {"what": "record 3 is missing before this line", "file": "00000001.jsonl", "line": 3}
    ]


def test_a_hash_that_is_not_there(state: Path) -> None:
    result = audit(state, "verify", "--head", "0" * 64)
    assert result.return_value == ExitStatus.FAILED
    assert re.match("no record has the hash 0{64}: all was written anew", result.stdout)
    result = audit(state, "verify", "--head", "ABC")
    assert "takes the 64 hexadecimal digits of a hash" in str(result.exception)


def test_older_files_that_were_removed(tmp_path: Path) -> None:
    writer = AuditWriter(tmp_path / "audit", max_file_bytes=1, keep_files=2)
    writer.open()
    for record in RECORDS:
        writer.append([record])
    writer.close()
    assert "the first is record 6: older files were removed" in audit(tmp_path, "verify").stdout


@pytest.mark.parametrize("command", ["show", "verify"])
def test_no_log(tmp_path: Path, command: str) -> None:
    error = audit(tmp_path, command).exception
    assert isinstance(error, AuditLogError)
    assert str(error) == (
        f"there is no audit log in {tmp_path}/audit: name the daemon's state directory with --state"
    )


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_log_that_cannot_be_read(tmp_path: Path, command: str) -> None:
    (tmp_path / "audit").touch()
    error = audit(tmp_path, command).exception
    assert isinstance(error, AuditLogError)
    assert str(error).endswith("/audit cannot be read: not a directory")
