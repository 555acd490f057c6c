"""What became of a job where the server has not said it, and whether what it says can be believed."""

from __future__ import annotations

import attrs

from sockserv.client.execution.errors import OutputMismatch
from sockserv.errors import ConnectionEnded, PermissionDenied, Unavailable, UnexpectedResult
from sockserv.execution.errors import OutcomeUnknown, Refused, TooManyJobs
from sockserv.execution.outcome import KillReason, Outcome, OutcomeKind

__all__ = ["check_complete", "ended_by", "lost", "settled"]

_MAX_CODE = 255


def lost(job: str, why: object) -> Outcome:
    """The outcome of a job of which nobody here will hear any more."""
    return Outcome(kind=OutcomeKind.LOST, message=str(why), job=job)


def ended_by(
    error: Exception,
    job: str,
    *,
    stdout_bytes: int = 0,
    stderr_bytes: int = 0,
    is_kept: bool = False,
) -> Outcome:
    """How a job has ended whose call has failed with `error`, after so many bytes. Raises what is no end of a job.

    One that `is_kept` has not ended when the server goes.
    """
    match error:
        case ConnectionEnded() | OutcomeUnknown():
            outcome = lost(job, error)
        case Unavailable() if is_kept:
            outcome = lost(job, error)
        case Refused() | TooManyJobs():
            rule = str(error.details.get("rule", ""))
            outcome = _refused(job, error, rule)
        case PermissionDenied() if error.details.get("revoked"):
            outcome = Outcome(
                kind=OutcomeKind.KILLED, reason=KillReason.REVOKED, message=str(error), job=job
            )
        case PermissionDenied():
            outcome = _refused(job, error, "permission")
        case _:
            raise error
    return attrs.evolve(outcome, stdout_bytes=stdout_bytes, stderr_bytes=stderr_bytes)


def settled(outcome: Outcome, *, stdout_bytes: int, stderr_bytes: int) -> Outcome:
    """The outcome that the server has told, after so many bytes.

    Raises `UnexpectedResult` for one that lacks what its kind needs, and `OutputMismatch` if other numbers of bytes
    have come than the server says. Where it does not know how the job has ended, it knows no numbers either.
    """
    check_complete(outcome)
    if outcome.kind is not OutcomeKind.LOST and (stdout_bytes, stderr_bytes) != (
        outcome.stdout_bytes,
        outcome.stderr_bytes,
    ):
        raise OutputMismatch(outcome, stdout_bytes=stdout_bytes, stderr_bytes=stderr_bytes)
    return outcome


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


def _refused(job: str, error: Exception, rule: str) -> Outcome:
    # The server's sentence begins with the rule, which the outcome has besides.
    message = str(error).removeprefix(f"{rule}: ")
    return Outcome(kind=OutcomeKind.REFUSED, rule=rule, message=message, job=job)
