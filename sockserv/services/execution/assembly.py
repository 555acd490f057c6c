"""The execution service of a daemon with all that it needs, opened and ended together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from sockserv.execution.outcome import Outcome
from sockserv.keeping.record import Record
from sockserv.limits import ExecutionLimits, KeptLimits
from sockserv.services.execution.deciding import Policy
from sockserv.services.execution.guardian import GuardianSpawner
from sockserv.services.execution.kept.jobs import SupervisedJobs
from sockserv.services.execution.kept.supervisors import SupervisorProcesses
from sockserv.services.execution.service import Execution
from sockserv.services.threads import InThread
from sockserv.trust.audit import AuditSink, Event
from sockserv.trust.audit import Record as AuditRecord
from sockserv.trust.identities import Identity

__all__ = ["ExecutionAssembly"]


class ExecutionAssembly:
    """The service, the kept jobs in `folder`, and the processes that start both kinds. Making one touches nothing.

    `identity_of` finds an identity by its name; `audit` is told how kept jobs have ended. `open_files` is how many
    files a job may have open that has no limit for that; `in_thread` calls a blocking function in a thread.
    """

    def __init__(
        self,
        reactor: Any,
        policy: Policy,
        folder: Path,
        *,
        limits: ExecutionLimits,
        kept_limits: KeptLimits,
        identity_of: Callable[[str], Identity | None],
        open_files: int,
        in_thread: InThread,
        audit: AuditSink | None = None,
    ) -> None:
        self._audit = audit
        self._spawner = GuardianSpawner(reactor, open_files=open_files)
        self._kept = SupervisedJobs(
            folder,
            clock=reactor,
            supervisors=SupervisorProcesses(reactor, in_thread=in_thread, open_files=open_files),
            in_thread=in_thread,
            limits=kept_limits,
            pause_seconds=limits.stop_pause_seconds,
            identity_of=identity_of,
            on_end=self._tell_end,
        )
        self.service = Execution(
            policy, self._spawner, kept=self._kept, limits=limits, identity_of=identity_of
        )

    def open(self) -> None:
        """Find the jobs that were kept. Blocks for a moment; raises `OSError`."""
        self._kept.open()

    def reconsider(self) -> None:
        """End the kept jobs that their owners may not run any more: to be called when it has changed who may what."""
        self._kept.reconsider()

    def end_jobs(self) -> Deferred[None]:
        """Start nothing more, end all jobs that are not kept, and let go of those that are: who waits for one is told.

        Fires when all callers were told, or are gone.
        """
        let_go = self._kept.stop()
        return self.service.stop().addBoth(lambda _: let_go)

    def close(self) -> Deferred[None]:
        """Let go of everything; the jobs that are kept go on."""
        closed = self._kept.stop()
        closed.addBoth(lambda _: self._spawner.stop())
        return closed

    def _tell_end(self, job: Record, outcome: Outcome) -> None:
        if self._audit is not None:
            facts = {"job": job.job, "outcome": str(outcome), "seconds_run": outcome.seconds}
            self._audit.record(
                AuditRecord(
                    event=Event.JOB,
                    identity=job.identity,
                    op="exec.start",
                    rule=job.rule,
                    why=outcome.message or None,
                    facts=facts,
                )
            )
