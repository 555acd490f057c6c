"""What a command says when it fails."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs
import click

from sockserv.cli.exits import EndedWithStatus, ExitStatus, status_of
from sockserv.cli.output import as_json_line, printable
from sockserv.errors import CallError, SockservError

__all__ = ["DEBUG_VARIABLE", "Complaint", "complaint_about", "name_of"]

DEBUG_VARIABLE: Final = "SOCKSERV_DEBUG"
"""Set in the environment, it makes a failing command show where it failed."""

_WHILE_WRITING: Final = {errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC}
_ADVICE = re.compile(r"\. \(?Did (you mean .*\?)\)?$")
_INTEGER_RANGE = re.compile("is not a valid integer( range)?")
_INNER_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


@attrs.frozen(kw_only=True)
class Complaint:
    """One sentence, and the same for programs."""

    message: str
    code: str
    status: int
    details: Mapping[str, Any] = attrs.field(factory=dict)

    def line(self, *, as_json: bool) -> bytes:
        """What standard error shows."""
        if not as_json:
            return f"sockserv: {printable(self.message)}\n".encode()
        # The name of a file may hold bytes that are no text.
        message = self.message.encode("utf-8", "backslashreplace").decode("utf-8")
        error = {
            "code": self.code,
            "message": message,
            "details": self.details,
            "status": int(self.status),
        }
        return as_json_line({"error": error})


def complaint_about(error: Exception) -> Complaint:
    """What is to be said about an error that ended a command."""
    if isinstance(error, EndedWithStatus):
        return attrs.evolve(complaint_about(error.error), status=error.status)
    message, code = str(error), name_of(error)
    details: Mapping[str, Any] = {}
    status: int
    match error:
        case click.UsageError():
            message, code, status = _about_usage(error), "usage-error", ExitStatus.USAGE
        case CallError():
            code, details, status = error.wire_code, error.details, status_of(error)
        case SockservError():
            status = status_of(error)
        case OSError():
            message, status = _about_the_system(error), ExitStatus.FAILED
        case _:
            message = (
                f"this should not have happened: {type(error).__name__}: {error} "
                f"({DEBUG_VARIABLE}=1 in the environment shows where)"
            )
            status = ExitStatus.FAILED
    return Complaint(message=message, code=code, details=details, status=status)


def name_of(error: Exception) -> str:
    """`ConnectError` is `connect-error`."""
    return _INNER_CAPITAL.sub("-", type(error).__name__).lower()


def _about_the_system(error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    if error.errno in _WHILE_WRITING:
        # Only click, with the help, writes without saying what it is about.
        return f"cannot write to standard output: {reason}"
    about = f" {error.filename}" if isinstance(error.filename, str) else ""
    return f"the system refuses{about}: {reason}"


def _about_usage(error: click.UsageError) -> str:
    # click puts its advice after the full stop, in brackets or not, as its version has it.
    message = _ADVICE.sub(r" (did \1)", error.format_message().rstrip("."))
    message = _INTEGER_RANGE.sub("is not a whole number", message)
    command = error.ctx.command_path if error.ctx is not None else "sockserv"
    return f"{message[:1].lower()}{message[1:]}; see `{command} --help`"
