"""What became of a job where the server has not said it, and whether what it says can be believed."""

from __future__ import annotations

from sockserv.client.execution.errors import OutputMismatch
from sockserv.errors import ConnectionEnded, PermissionDenied, SockservError, UnexpectedResult
from sockserv.execution.errors import OutcomeUnknown, Refused, TooManyJobs
from sockserv.execution.outcome import KillReason, Outcome, OutcomeKind

__all__ = ["check_complete", "check_whole", "lost", "outcome_of"]

_MAX_CODE = 255


def lost(job: str, why: object, *, stdout_bytes: int = 0, stderr_bytes: int = 0) -> Outcome:
    """The outcome of a job of which nobody here will hear any more."""
    return Outcome(
        kind=OutcomeKind.LOST,
        message=str(why),
        job=job,
        stdout_bytes=stdout_bytes,
        stderr_bytes=stderr_bytes,
    )


def outcome_of(error: SockservError, job: str) -> Outcome | None:
    """How a job has ended whose call has failed with `error`; None for an error that is no end of a job."""
    match error:
        case ConnectionEnded() | OutcomeUnknown():
            return lost(job, error)
        case Refused() | TooManyJobs():
            rule = error.details.get("rule", "")
        case PermissionDenied() if error.details.get("revoked"):
            return Outcome(
                kind=OutcomeKind.KILLED, reason=KillReason.REVOKED, message=str(error), job=job
            )
        case PermissionDenied():
            rule = "permission"
        case _:
            return None
    return Outcome(kind=OutcomeKind.REFUSED, rule=str(rule), message=str(error), job=job)


def check_complete(outcome: Outcome) -> None:
    """Raise `UnexpectedResult` for an outcome that lacks what its kind needs."""
    match outcome.kind:
        case OutcomeKind.EXITED:
            is_complete = outcome.code is not None and 0 <= outcome.code <= _MAX_CODE
        case OutcomeKind.SIGNALLED:
            is_complete = bool(outcome.signal)
        case OutcomeKind.KILLED:
            is_complete = outcome.reason is not None
        case OutcomeKind.FAILED_TO_START:
            is_complete = bool(outcome.errno)
        case OutcomeKind.REFUSED | OutcomeKind.LOST:
            is_complete = True
    if not is_complete:
        raise UnexpectedResult(f"the server says of a job that it has {outcome}, which is no end")


def check_whole(outcome: Outcome, *, stdout_bytes: int, stderr_bytes: int) -> None:
    """Raise `OutputMismatch` if other numbers of bytes have come than the server says.

    Where it does not know how the job has ended, it knows no numbers either.
    """
    if outcome.kind is not OutcomeKind.LOST and (stdout_bytes, stderr_bytes) != (
        outcome.stdout_bytes,
        outcome.stderr_bytes,
    ):
        raise OutputMismatch(outcome, stdout_bytes=stdout_bytes, stderr_bytes=stderr_bytes)
