"""What a failing command says, to people and to programs, and its exit status."""

from __future__ import annotations

import json

import pytest

from sockserv import errors
from sockserv.cli.complaints import Complaint, complaint_about
from sockserv.cli.exits import EXPLANATION, ExitStatus, status_of
from sockserv.cli.stdio import StreamError
from sockserv.client.files import LocalFileError
from sockserv.errors import GoodbyeCode, ProtocolError, SockservError
from sockserv.files.errors import Exists, FilesDenied, ReadOnly


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.CallEnded("x"), 1),
        (errors.ConfigError("x"), 1),
        (errors.DeadlineExceeded("x"), 1),
        (errors.InternalError("x"), 1),
        (errors.RemoteError("x", code="y.z"), 1),
        (errors.UnknownOperation("x"), 1),
        (StreamError("x"), 1),
        (errors.ConnectError("x"), 3),
        (errors.StateError("x"), 3),
        (errors.AuthenticationFailed("x"), 4),
        (errors.PermissionDenied("x"), 4),
        (FilesDenied("x"), 4),
        (ReadOnly("x"), 4),
        (Exists("x"), 1),
        (LocalFileError("x"), 1),
        (errors.ConnectionEnded("x"), 5),
        (errors.Unavailable("x"), 5),
        (ProtocolError(GoodbyeCode.BAD_FRAME, "x"), 5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_exit_status_of_an_error(error: SockservError, status: int) -> None:
    assert status_of(error) == status
    assert complaint_about(error).status == status


def test_the_help_knows_every_status() -> None:
    for status in ExitStatus:
        assert f"\n  {int(status)}  " in EXPLANATION


def test_for_people() -> None:
    complaint = complaint_about(errors.ConnectError("cannot connect to tcp://a:1: refused"))
    assert complaint.line(as_json=False) == b"sockserv: cannot connect to tcp://a:1: refused\n"


def test_for_programs() -> None:
    error = errors.PermissionDenied("you may not", details={"needs": "echo"})
    assert json.loads(complaint_about(error).line(as_json=True)) == {
        "error": {
            "code": "permission-denied",
            "message": "you may not",
            "details": {"needs": "echo"},
            "status": 4,
        }
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConnectError("x"), "connect-error"),
        (errors.RemoteError("x", code="my.app"), "my.app"),
        (StreamError("x"), "stream-error"),
        (errors.ConnectionEnded("x"), "connection-ended"),
    ],
)
def test_the_code_of_an_error(error: SockservError, code: str) -> None:
    assert complaint_about(error).code == code


def test_a_peer_cannot_command_the_terminal() -> None:
    complaint = complaint_about(errors.RemoteError("\x1b[2J\n\x9b é 中", code="x"))
    assert complaint.line(as_json=False).decode() == "sockserv: \\x1b[2J\\n\\x9b é 中\n"


def test_a_file_name_that_is_no_text() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    complaint = Complaint(message=name, code="x", status=ExitStatus.FAILED)
    assert complaint.line(as_json=False) == b"sockserv: caf\\udce9\n"
    assert json.loads(complaint.line(as_json=True))["error"]["message"] == "caf\\udce9"


def test_help_that_cannot_be_written() -> None:
    complaint = complaint_about(OSError(28, "No space left on device"))
    assert complaint.message == "cannot write to standard output: no space left on device"
    assert complaint.status == 1


def test_too_much_for_the_system() -> None:
    complaint = complaint_about(OSError(24, "Too many open files"))
    assert complaint.message == "the system refuses: too many open files"
    assert complaint.status == 1


def test_a_file_that_the_system_refuses() -> None:
    complaint = complaint_about(PermissionError(13, "Permission denied", "/state/key.pem"))
    assert complaint.message == "the system refuses /state/key.pem: permission denied"


def test_a_mistake_of_ours() -> None:
    complaint = complaint_about(KeyError("x"))
    assert complaint.message.startswith("this should not have happened: KeyError: 'x'")
    assert complaint.status == 1
