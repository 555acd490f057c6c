"""What can be done with a job that is there, whoever looks after it: one whose caller waits, and one that is kept.

The service finds jobs and asks them; `KeptJobs` is its interface to those that are kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred

from sockserv.execution.arguments import AttachArguments, StartArguments
from sockserv.execution.outcome import Job, Outcome
from sockserv.services.api import Call
from sockserv.services.execution.deciding import Decision

__all__ = ["KeptJob", "KeptJobs", "ReachableJob"]


class ReachableJob(Protocol):
    """A job of somebody.

    What waits here may be cancelled, which changes nothing for the job.
    """

    def describe(self) -> Job:
        """What is told of it in a list."""

    def outcome(self) -> Awaitable[Outcome]:
        """How it has ended, when it has; lost, for a kept one of which nobody can tell.

        Raises `OutcomeUnknown` for a live one.
        """

    def kill(self, *, force: bool) -> Awaitable[Outcome]:
        """End it, by the graded stop or at once by force; how it has ended then, which may be another way."""

    def signal(self, number: int) -> Awaitable[None]:
        """Send a signal to all its processes; does nothing when none is left."""

    def resize(self, columns: int, rows: int) -> Awaitable[None]:
        """Tell its terminal the size. Raises `NoTerminal`."""


class KeptJob(ReachableJob, Protocol):
    """A job that goes on whatever becomes of its caller, and is there after its end until it is removed."""

    def attach(self, call: Call[AttachArguments]) -> Awaitable[Outcome]:
        """Answer a call with the job's output from the offsets on, and its outcome.

        Raises `OutputGone`, `StandardInputBusy`, and `Unavailable` when the server goes.
        """

    def remove(self) -> Awaitable[None]:
        """Forget it, with its output. Raises `JobRunning`."""


class KeptJobs(Protocol):
    """All jobs that are kept."""

    def start(
        self, call: Call[StartArguments], job: str, decision: Decision
    ) -> Awaitable[KeptJob | Outcome]:
        """Start a job of the caller by this name; gives the outcome of one that could not be started.

        The name is taken from the moment of the call on. Raises `JobExists`, `TooManyJobs` when the identity has no
        room for one more that is kept, and `Unavailable` when the disk has none. Cancelling it ends what may have been
        started.
        """

    def find(self, identity: str, job: str) -> KeptJob | None:
        """The job of an identity by its name."""

    def all(self) -> Iterable[KeptJob]:
        """Those of everybody, the oldest first."""

    def stop(self) -> Deferred[None]:
        """Let go of the jobs, which go on; calls that are attached end with `Unavailable`. Fires when that is done."""
