"""What can go wrong with remote commands on this side."""

from __future__ import annotations

from sockserv.errors import LocalError
from sockserv.execution.outcome import Outcome

__all__ = ["InvalidCommand", "NotStarted", "OutputDiscarded", "OutputMismatch"]


class InvalidCommand(LocalError):
    """The command cannot be sent, as it is too long, or holds what is no text; nothing was run."""


class NotStarted(LocalError):
    """A job that was to be kept could not be started; its `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome}: {outcome.message}" if outcome.message else str(outcome))
        self.outcome = outcome


class OutputDiscarded(LocalError):
    """Nobody had begun to read this output when the outcome was waited for: it was counted, and thrown away."""


class OutputMismatch(LocalError):
    """The server has told of an end, but not as many bytes have come as it says to have sent: some of them are missing.

    `outcome` is what the server has told; it must not be taken for the truth. The bytes are those that have come.
    """

    def __init__(self, outcome: Outcome, *, stdout_bytes: int, stderr_bytes: int) -> None:
        super().__init__(
            f"the output of the job {outcome.job} is not whole: of {outcome.stdout_bytes} bytes of its standard output "
            f"{stdout_bytes} have come, and of {outcome.stderr_bytes} of its standard error {stderr_bytes}"
        )
        self.outcome = outcome
        self.stdout_bytes = stdout_bytes
        self.stderr_bytes = stderr_bytes
