"""What can go wrong with jobs, besides how they end."""

from __future__ import annotations

from sockserv.errors import CallError

__all__ = [
    "ExecutionError",
    "JobExists",
    "JobNotFound",
    "JobRunning",
    "NoTerminal",
    "OutcomeUnknown",
    "OutputGone",
    "Refused",
    "StandardInputBusy",
    "TooManyJobs",
]


class ExecutionError(CallError):
    """The root of all errors about jobs."""


class Refused(ExecutionError):
    """No rule allows this command, or one forbids how it was asked for; `details["rule"]` names it."""

    code = "exec.refused"


class TooManyJobs(ExecutionError):
    """So many jobs run already that no more may be started, and no more may wait; `details["rule"]` names the limit."""

    code = "exec.too-many-jobs"


class JobNotFound(ExecutionError):
    """The identity has no job of this name, or not any more."""

    code = "exec.not-found"


class JobExists(ExecutionError):
    """The identity has a job of this name already."""

    code = "exec.exists"


class JobRunning(ExecutionError):
    """The job has not ended yet."""

    code = "exec.running"


class NoTerminal(ExecutionError):
    """The job has no terminal that could have a size."""

    code = "exec.no-terminal"


class StandardInputBusy(ExecutionError):
    """Somebody else writes to the job at this moment, or it was given more, or less, than the caller believes."""

    code = "exec.stdin-busy"


class OutcomeUnknown(ExecutionError):
    """The job was started, and nobody can say how it has ended, or whether: what watched it was lost."""

    code = "exec.unknown"


class OutputGone(ExecutionError):
    """The job has not written so much, or what it has written is not there any more."""

    code = "exec.output-gone"
