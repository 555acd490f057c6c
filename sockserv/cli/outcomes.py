"""How a remote command has ended, for whoever has typed it: the exit status, and a line where that is not enough.

The statuses are those of the shell and of timeout(1): whatever the command exits with is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import IntEnum
from signal import Signals
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from sockserv.cli.exits import EndedBySignal, EndedWithStatus
from sockserv.cli.output import as_json_line, printable
from sockserv.errors import (
    CallError,
    ConnectionEnded,
    InternalError,
    PermissionDenied,
    ProtocolError,
    RemoteError,
    SockservError,
)

if TYPE_CHECKING:
    from sockserv.cli.options import App
    from sockserv.cli.session import Session
    from sockserv.execution.outcome import Outcome

__all__ = ["EPILOG", "JobStatus", "run_job", "say_how_it_ended", "status_of_outcome"]

EPILOG: Final = """\
Exit status: that of the command, or
  124  it ran longer than --timeout
  125  nothing was run: no connection, no such job, ...
  126  refused, or no program that can be run
  127  there is no such program, or folder to run it in
  128+N  signal N ended it; 137 too when the daemon did
  255  it is not known how it ended (the connection broke)
  2  this command line is wrong"""

_SIGNALS: Final = 128
_QUIET_SIGNALS: Final = {"INT", "PIPE"}


class JobStatus(IntEnum):
    """The exit statuses that are not the command's own."""

    TIMEOUT = 124
    NOT_RUN = 125
    REFUSED = 126
    NOT_FOUND = 127
    KILLED = 137
    LOST = 255


def status_of_outcome(outcome: Outcome) -> int:
    """The exit status that says how a job has ended."""
    # Imported late: the help needs none of it.
    from sockserv.execution.outcome import KillReason, OutcomeKind

    match outcome.kind:
        case OutcomeKind.EXITED:
            assert outcome.code is not None
            return outcome.code
        case OutcomeKind.SIGNALLED:
            return _SIGNALS + _number_of(outcome.signal or "")
        case OutcomeKind.KILLED if outcome.reason is KillReason.TIMEOUT:
            return JobStatus.TIMEOUT
        case OutcomeKind.KILLED:
            return JobStatus.KILLED
        case OutcomeKind.REFUSED:
            return JobStatus.REFUSED
        case OutcomeKind.FAILED_TO_START if outcome.errno == "ENOENT":
            return JobStatus.NOT_FOUND
        case OutcomeKind.FAILED_TO_START:
            return JobStatus.REFUSED
        case OutcomeKind.LOST:
            return JobStatus.LOST


def _number_of(signal: str) -> int:
    """The number of a signal by its name; that of KILL for one that this machine does not have."""
    try:
        return Signals[f"SIG{signal}"]
    except KeyError:
        return Signals.SIGKILL


async def say_how_it_ended(
    session: Session, outcome: Outcome, *, advice: str = "", is_on_a_line: bool = False
) -> None:
    """A line on standard error about an outcome that the status alone does not tell; for programs, about each.

    `is_on_a_line` says that the terminal's line has something else on it.
    """
    from sockserv.execution.outcome import OutcomeKind

    if session.options.json:
        await session.errors.write(as_json_line({"outcome": as_values(outcome)}))
    elif outcome.kind is OutcomeKind.SIGNALLED and outcome.signal in _QUIET_SIGNALS:
        return
    elif outcome.kind is not OutcomeKind.EXITED:
        more = f": {outcome.message}" if outcome.message else ""
        start = "\n" if is_on_a_line else ""
        await session.remark(f"{start}sockserv: {printable(f'{outcome}{more}')}")
        if advice:
            await session.remark(advice)


def as_values(outcome: Outcome) -> dict[str, Any]:
    """An outcome for programs, without what it does not have."""
    return attrs.asdict(outcome, filter=lambda field, value: value not in (None, ""))


def run_job(app: App, work: Callable[[Session], Coroutine[Any, Any, int]]) -> None:
    """Do work that ends with the status of a job, and end the command with that.

    An error gets a status that cannot be taken for the command's own.
    """
    status: int = JobStatus.LOST

    async def work_to_status(session: Session) -> None:
        nonlocal status
        status = await work(session)

    try:
        app.run(app.options, work_to_status)
    except (click.UsageError, EndedBySignal, EndedWithStatus):
        raise
    except Exception as error:
        raise EndedWithStatus(error, _status_of_error(error)) from error
    click.get_current_context().exit(status)


def _status_of_error(error: Exception) -> JobStatus:
    from sockserv.cli.stdio import StreamError
    from sockserv.client.execution import NotStarted, OutputMismatch
    from sockserv.errors import AuditUnavailable, CallCancelled, DeadlineExceeded, UnexpectedResult
    from sockserv.execution.errors import OutcomeUnknown, Refused, TooManyJobs

    match error:
        case NotStarted():
            return JobStatus(status_of_outcome(error.outcome))
        case PermissionDenied() | Refused() | TooManyJobs():
            return JobStatus.REFUSED
        case ConnectionEnded() | ProtocolError() | OutputMismatch() | UnexpectedResult():
            return JobStatus.LOST
        case AuditUnavailable() if not error.details.get("done"):
            return JobStatus.NOT_RUN
        case InternalError() | RemoteError() | AuditUnavailable() | OutcomeUnknown():
            return JobStatus.LOST
        case CallCancelled() | DeadlineExceeded() | StreamError():
            return JobStatus.LOST
        case CallError() | SockservError():
            # They are raised before anything is run: on the way to the server, or at its door.
            return JobStatus.NOT_RUN
        case _:
            return JobStatus.LOST
