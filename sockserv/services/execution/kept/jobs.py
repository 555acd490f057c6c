"""All kept jobs of a daemon: starting and finding them, and how many there may be."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sockserv.errors import Unavailable
from sockserv.execution.arguments import StartArguments
from sockserv.execution.bounds import time_limit
from sockserv.execution.errors import JobExists, OutcomeUnknown
from sockserv.execution.outcome import Outcome, OutcomeKind
from sockserv.keeping.folder import JobFolder
from sockserv.keeping.messages import Order
from sockserv.keeping.record import Record, write_record
from sockserv.limits import KeptLimits
from sockserv.processes.table import FIRST_MARK
from sockserv.services.api import Call
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.kept.expiring import Expiry
from sockserv.services.execution.kept.finding import find_all, new_job
from sockserv.services.execution.kept.job import SupervisedJob, Surroundings
from sockserv.services.execution.kept.link import Supervisors
from sockserv.services.execution.kept.room import Taken, check_room
from sockserv.services.execution.launching import launch_of
from sockserv.services.execution.policy.rules import still_allows
from sockserv.services.threads import InThread
from sockserv.trust.identities import Identity

__all__ = ["SupervisedJobs"]

T = TypeVar("T")

_MARK_BITS: Final = 62


class SupervisedJobs:
    """See `KeptJobs` of `sockserv.services.execution.reaching`. Making one touches nothing: `open` finds jobs.

    `folder` is where they are. `clock` is the time of day, too; `in_thread` calls a blocking function in a thread.
    `pause_seconds` is the time between the steps of a graded stop. `identity_of` says who somebody is now, by their
    name: who may not run a job any more has it ended. Without it everybody may. `on_end` is told of each job that has
    ended, and how; twice at worst, when the daemon dies just then.
    """

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        *,
        clock: IReactorTime,
        supervisors: Supervisors,
        in_thread: InThread,
        limits: KeptLimits,
        pause_seconds: float,
        identity_of: Callable[[str], Identity | None] | None = None,
        on_end: Callable[[Record, Outcome], None] = lambda record, outcome: None,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._in_thread = in_thread
        self._limits = limits
        self._pause_seconds = pause_seconds
        self._identity_of = identity_of
        self._tell_end = on_end
        self._surroundings = Surroundings(
            clock=clock,
            supervisors=supervisors,
            in_thread=in_thread,
            on_end=self._on_end,
            on_removed=self._on_removed,
        )
        self._jobs: dict[tuple[str, str], SupervisedJob] = {}
        self._starting: dict[tuple[str, str], int] = {}
        """By identity and name: how many bytes they may come to have."""
        self._starts: set[Deferred[SupervisedJob | Outcome]] = set()
        self._beginning: set[SupervisedJob] = set()
        self._expiry = Expiry(clock, self.all)
        self._is_stopping = False

    def open(self) -> None:
        """Find the jobs that there are, and connect to those that run; blocks for a moment. Raises `OSError`."""
        for found in find_all(self._folder):
            job = SupervisedJob(found, self._surroundings)
            self._jobs[job.key] = job
            if job.ended is None:
                job.reach()
            elif not job.folder.is_told:
                self._tell_end(job.record, job.ended)
                job.folder.note_told()
        self.reconsider()
        self._expiry.look()

    def reconsider(self) -> None:
        """End the jobs that their owners may not run any more: to be called when it has changed who may what."""
        if self._identity_of is None:
            return
        for job in self._jobs.values():
            if job.ended is None and not _may_run(self._identity_of, job.record):
                self._log.info(
                    "the kept job {job} of {identity} is ended: they may not run it any more",
                    job=job.record.job,
                    identity=job.record.identity,
                )
                job.revoke()

    def stop(self) -> Deferred[None]:
        """Let go of the jobs, which go on; see `KeptJobs`. May be called again."""
        self._is_stopping = True
        self._expiry.stop()
        starts = tuple(self._starts)
        jobs = (*self._jobs.values(), *self._beginning)
        gone: list[Deferred[Any]] = [*starts, *(job.let_go() for job in jobs)]
        return DeferredList(gone, consumeErrors=True).addCallback(lambda _: None)

    def find(self, identity: str, job: str) -> SupervisedJob | None:
        """The job of an identity by its name."""
        return self._jobs.get((identity, job))

    def all(self) -> Iterable[SupervisedJob]:
        """Those of everybody, the oldest first."""
        return sorted(self._jobs.values(), key=lambda job: job.record.started_at)

    async def start(
        self, call: Call[StartArguments], job: str, decision: Decision
    ) -> SupervisedJob | Outcome:
        """Start a job; see `KeptJobs`."""
        key = call.identity.name, job
        if key in self._jobs or key in self._starting:
            raise JobExists(f"there is a job {job} already: remove it, or choose another name")
        order = self._order(call, job, decision)
        check_room(self._limits, self._taken(), Taken(key[0], order.record.spool_bytes))
        self._starting[key] = order.record.spool_bytes
        start = Deferred.fromCoroutine(self._start(order))
        self._starts.add(start)

        def forget(result: T) -> T:
            self._starts.discard(start)
            del self._starting[key]
            return result

        # It goes on when the caller goes: half a start would leave nobody knows what.
        started: Deferred[SupervisedJob | Outcome] = Deferred()
        start.addBoth(forget).addCallbacks(
            lambda result: self._hand_over(started, result),
            lambda failure: None if started.called else started.errback(failure),
        )
        return await started

    def _hand_over(
        self, started: Deferred[SupervisedJob | Outcome], result: SupervisedJob | Outcome
    ) -> None:
        if not started.called:
            started.callback(result)
        elif isinstance(result, SupervisedJob):
            self._log.debug("a job is ended that nobody has waited for")
            result.discard()

    def _order(self, call: Call[StartArguments], job: str, decision: Decision) -> Order:
        args, limits, program = call.args, self._limits, decision.program
        spool_bytes = min(args.spool_bytes or limits.spool_bytes, limits.max_spool_bytes)
        if decision.output_limit_bytes is not None:
            spool_bytes = min(spool_bytes, decision.output_limit_bytes)
        expiry_seconds = args.expiry_seconds or limits.expiry_seconds
        terminal = program.terminal
        identity = call.identity.name
        return Order(
            folder=str(JobFolder.of(self._folder, identity=identity, job=job).path),
            record=Record(
                identity=identity,
                job=job,
                command=decision.command,
                rule=decision.rule,
                started_at=self._clock.seconds(),
                spool_bytes=spool_bytes,
                expiry_seconds=min(expiry_seconds, limits.max_expiry_seconds),
                mark=FIRST_MARK + secrets.randbits(_MARK_BITS),
                has_terminal=terminal is not None,
            ),
            launch=launch_of(program),
            pause_seconds=self._pause_seconds,
            has_input=args.stdin and decision.takes_stdin,
            time_limit=time_limit(
                rule=decision.rule,
                asked_seconds=args.timeout_seconds,
                decided_seconds=decision.timeout_seconds,
                max_seconds=limits.max_timeout_seconds,
            ),
            columns=0 if terminal is None else terminal.columns,
            rows=0 if terminal is None else terminal.rows,
        )

    def _taken(self) -> Iterator[Taken]:
        for job in self._jobs.values():
            yield Taken(job.record.identity, job.kept_bytes)
        for (identity, _), kept_bytes in self._starting.items():
            yield Taken(identity, kept_bytes)

    async def _start(self, order: Order) -> SupervisedJob | Outcome:
        record = order.record
        folder = JobFolder(Path(order.folder))
        try:
            lock = await self._in_thread(_prepare, folder, record)
        except FileExistsError:
            raise JobExists(f"what is left of another job {record.job} is still there") from None
        except OSError as error:
            raise _no_room(error) from error
        if self._is_stopping:
            os.close(lock)
            await self._in_thread(folder.remove)
            raise Unavailable("the server is shutting down, and starts nothing more")
        job = SupervisedJob(new_job(folder, record), self._surroundings)
        self._beginning.add(job)
        try:
            await job.begin(order, lock)
        except OSError as error:
            await self._in_thread(_remove_what_can_be, folder)
            raise _no_room(error) from error
        finally:
            self._beginning.discard(job)
        ended = job.ended
        if ended is not None and ended.kind is OutcomeKind.FAILED_TO_START:
            await self._in_thread(folder.remove)
            return ended
        self._jobs[job.key] = job
        self.reconsider()  # it may have been taken back meanwhile
        if ended is not None:
            self._expiry.look()
        if ended is not None and ended.kind is OutcomeKind.LOST:
            raise OutcomeUnknown(
                f"nobody knows whether the job {record.job} was started: what looked after it is gone",
                details={"job": record.job},
            )
        return job

    def _on_end(self, job: SupervisedJob) -> None:
        self._expiry.look()
        # What was never started is the outcome of the call that has asked for it.
        if job.ended is not None and job.ended.kind is not OutcomeKind.FAILED_TO_START:
            self._tell_end(job.record, job.ended)
            self._in_thread(job.folder.note_told)

    def _on_removed(self, job: SupervisedJob) -> None:
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]


def _may_run(identity_of: Callable[[str], Identity | None], record: Record) -> bool:
    """Whether the owner of a job may still run it."""
    identity = identity_of(record.identity)
    return identity is not None and still_allows(identity, record.rule)


def _prepare(folder: JobFolder, record: Record) -> int:
    """Make the folder of a job, and write down what that is; gives its lock. Blocks. Raises `OSError`."""
    lock = folder.make()
    try:
        write_record(folder, record)
    except BaseException:
        os.close(lock)
        _remove_what_can_be(folder)
        raise
    return lock


def _remove_what_can_be(folder: JobFolder) -> None:
    """Remove the folder of a job that will never be; what stays is for the next daemon. Blocks."""
    with suppress(OSError):  # why there is no job is what its caller hears
        folder.remove()


def _no_room(error: OSError) -> Unavailable:
    why = (error.strerror or str(error)).lower()
    return Unavailable(f"the server cannot keep a job now: {why}")
