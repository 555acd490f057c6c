"""The execution service: what can be asked for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockserv.errors import InvalidArgument, PermissionDenied, Unavailable
from sockserv.execution.arguments import (
    AttachArguments,
    ExplainArguments,
    JobArguments,
    KillArguments,
    ResizeArguments,
    RunArguments,
    SignalArguments,
    StartArguments,
)
from sockserv.execution.errors import JobExists, JobNotFound, Refused
from sockserv.execution.outcome import Explanation, KillReason, Outcome, Started
from sockserv.execution.signals import number_of_signal
from sockserv.limits import ExecutionLimits
from sockserv.services.api import Audit, Call, NoArguments, Service, operation
from sockserv.services.execution.admission import Admission
from sockserv.services.execution.awaited import Awaited
from sockserv.services.execution.child import Child, Spawner
from sockserv.services.execution.deciding import Decision, Policy
from sockserv.services.execution.job import LiveJob, Start
from sockserv.services.execution.policy.rules import still_allows
from sockserv.services.execution.reaching import KeptJob, KeptJobs, ReachableJob
from sockserv.trust.identities import Identity

__all__ = ["Execution"]

R = TypeVar("R", bound=RunArguments)
J = TypeVar("J", bound=JobArguments)

_ADMIN = "admin"
_LIST_BYTES = 64 * 1024


class Execution(Service):
    """Runs commands for those who may. Making one touches nothing.

    `policy` decides what an identity may run, and `spawner` starts it. `kept` are the jobs that outlive their callers;
    without it there are none. `identity_of` finds an identity by its name, for those who ask what others may run.
    `new_name` makes the name of a job whose caller has none for it.
    """

    def __init__(
        self,
        policy: Policy,
        spawner: Spawner,
        *,
        kept: KeptJobs | None = None,
        limits: ExecutionLimits | None = None,
        identity_of: Callable[[str], Identity | None] = lambda name: None,
        new_name: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._policy = policy
        self._spawner = spawner
        self._kept = kept
        self._limits = limits or ExecutionLimits()
        self._identity_of = identity_of
        self._new_name = new_name
        self._admission = Admission(self._limits)
        self._live: dict[tuple[str, str], LiveJob] = {}
        # The names of those that are about to be kept.
        self._taken: set[tuple[str, str]] = set()
        self._stopped: Awaited[None] | None = None

    def stop(self) -> Deferred[None]:
        """Start nothing more, and end all jobs but those that are kept, by the graded stop.

        Fires when the last of them has ended, and its caller was answered or is gone.
        """
        if self._stopped is None:
            self._stopped = Awaited()
            if not self._live:
                self._stopped.tell(None)
            for job in tuple(self._live.values()):
                job.stop(KillReason.SHUTDOWN)
        return self._stopped.wait()

    # Starting jobs

    @operation("exec.run", args=RunArguments, permission="exec")
    async def run(self, call: Call[RunArguments]) -> Outcome:
        """Run a command whose caller waits: the body is its standard input, streams 1 and 2 of the answer what it
        writes.
        """
        identity = call.identity
        job = LiveJob(call, self._name(call), self._limits)
        self._live[job.identity, job.name] = job

        def spawn(decision: Decision) -> Deferred[Child]:
            return self._spawner.spawn(decision.program)

        start = Start(
            decide=lambda: self._decide(call, job.name),
            enter=lambda: self._admission.enter(identity.name, call.clock),
            leave=lambda: self._admission.leave(identity.name),
            spawn=spawn,
        )
        try:
            return await job.answer(start)
        finally:
            del self._live[job.identity, job.name]
            self._check_stopped(call.clock)

    @operation("exec.start", args=StartArguments, permission="exec")
    async def start(self, call: Call[StartArguments]) -> Started | Outcome:
        """Start a command that is kept; the outcome of one that could not be started."""
        kept = self._kept_jobs
        name = self._name(call)
        key = call.identity.name, name
        self._taken.add(key)
        try:
            decision = await self._decide(call, name)
            call.note(rule=decision.rule, job=name)
            started = await kept.start(call, name, decision)
        finally:
            self._taken.discard(key)
        if isinstance(started, Outcome):
            call.note(outcome=str(started))
            return started
        return Started(job=name, rule=decision.rule, pid=started.describe().pid or 0)

    # Looking after jobs

    @operation("exec.attach", args=AttachArguments, permission="exec")
    async def attach(self, call: Call[AttachArguments]) -> Outcome:
        """The output of a kept job from the offsets on, and how it ends."""
        return await self._find_kept(call).attach(call)

    @operation("exec.jobs", permission="exec", audit=Audit.READS)
    async def jobs(self, call: Call[NoArguments]) -> None:
        """The jobs of the caller, or of everybody for who is an admin: a line of JSON each."""
        lines = bytearray()
        for job in tuple(self._visible(call.identity)):
            lines += msgspec.json.encode(job.describe()) + b"\n"
            if len(lines) >= _LIST_BYTES:
                await call.send(bytes(lines))
                lines.clear()
        call.send_last(bytes(lines))

    @operation("exec.wait", args=JobArguments, permission="exec", audit=Audit.READS)
    async def wait(self, call: Call[JobArguments]) -> Outcome:
        """How a job has ended, when it has."""
        return await self._find(call).outcome()

    @operation("exec.signal", args=SignalArguments, permission="exec")
    async def signal(self, call: Call[SignalArguments]) -> None:
        """Send a signal to all processes of a job."""
        number = number_of_signal(call.args.signal)
        await self._find(call).signal(number)

    @operation("exec.resize", args=ResizeArguments, permission="exec", audit=Audit.READS)
    async def resize(self, call: Call[ResizeArguments]) -> None:
        """Tell a job's terminal its size."""
        await self._find(call).resize(call.args.columns, call.args.rows)

    @operation("exec.kill", args=KillArguments, permission="exec")
    async def kill(self, call: Call[KillArguments]) -> Outcome:
        """End a job; how it has ended then."""
        outcome = await self._find(call).kill(force=call.args.force)
        call.note(outcome=str(outcome))
        return outcome

    @operation("exec.remove", args=JobArguments, permission="exec")
    async def remove(self, call: Call[JobArguments]) -> None:
        """Forget a kept job that has ended."""
        await self._find_kept(call).remove()

    # Who may run what

    @operation("exec.explain", args=ExplainArguments, permission="exec", audit=Audit.READS)
    async def explain(self, call: Call[ExplainArguments]) -> Explanation:
        """What would become of a command of the caller, or of somebody else if the caller is an admin.

        Only admins are told where rules reach further than they seem: to others that would be advice.
        """
        identity = call.identity
        name = call.args.identity
        if name is not None and name != identity.name:
            if not identity.may(_ADMIN):
                raise PermissionDenied(
                    f"{identity.name} may not ask what others may run: that needs the permission {_ADMIN!r}",
                    details={"permission": _ADMIN},
                )
            other = self._identity_of(name)
            if other is None:
                raise InvalidArgument(f"identity: there is nobody whose name is {name[:80]!r}")
            identity = other
        explanation = await self._policy.explain(identity, call.args, call.in_thread)
        if call.identity.may(_ADMIN):
            return explanation
        return attrs.evolve(explanation, warnings=())

    # The jobs there are

    def _name(self, call: Call[R]) -> str:
        """The name of a new job; nobody of this identity has it. Raises `JobExists` and `Unavailable`."""
        if self._stopped is not None:
            raise Unavailable("the server is shutting down, and starts nothing more")
        name = call.args.job or self._new_name()
        key = call.identity.name, name
        if key in self._taken or self._job(*key) is not None:
            raise JobExists(
                f"{call.identity.name} has a job {name} already: choose another name",
                details={"job": name},
            )
        return name

    async def _decide(self, call: Call[R], job: str) -> Decision:
        """What the policy says about a command, for a job of this name."""
        try:
            decision = await self._policy.decide(call.identity, call.args, call.in_thread)
        except Refused as refused:
            call.note(rule=refused.details.get("rule"))
            raise
        call.goes_on_while(lambda identity: still_allows(identity, decision.rule))
        environment = {**decision.program.environment, "SOCKSERV_JOB": job}
        program = attrs.evolve(decision.program, environment=environment)
        return attrs.evolve(decision, program=program)

    def _job(self, identity: str, name: str) -> ReachableJob | None:
        kept = None if self._kept is None else self._kept.find(identity, name)
        return self._live.get((identity, name)) or kept

    def _visible(self, identity: Identity) -> Iterator[ReachableJob]:
        """The jobs that somebody may see."""
        kept = () if self._kept is None else self._kept.all()
        everybodys: Iterator[ReachableJob] = chain(self._live.values(), kept)
        if identity.may(_ADMIN):
            return everybodys
        return (job for job in everybodys if job.describe().identity == identity.name)

    def _find(self, call: Call[J]) -> ReachableJob:
        """The job that a call is about. Raises `JobNotFound`."""
        owner = _owner(call)
        job = None if owner is None else self._job(owner, call.args.job)
        # To look after a job takes the permission alone; what it runs by is the job's affair.
        call.goes_on_while(lambda identity: True)
        return job or _not_found(call)

    @property
    def _kept_jobs(self) -> KeptJobs:
        if self._kept is None:
            raise Unavailable("this server keeps no jobs")
        return self._kept

    def _find_kept(self, call: Call[J]) -> KeptJob:
        """The kept job that a call is about. Raises `JobNotFound`."""
        owner = _owner(call)
        job = None if owner is None else self._kept_jobs.find(owner, call.args.job)
        call.goes_on_while(lambda identity: True)
        return job or _not_found(call)

    def _check_stopped(self, clock: IReactorTime) -> None:
        """When the last job has gone, let the one know who waits, in a later turn: answer and audit log come first."""
        if self._stopped is not None and not self._live:
            clock.callLater(0, self._stopped.tell, None)


def _owner(call: Call[Any]) -> str | None:
    """Whose job a call is about; None for one that its caller may know nothing of."""
    owner: str = call.args.identity or call.identity.name
    return owner if owner == call.identity.name or call.identity.may(_ADMIN) else None


def _not_found(call: Call[Any]) -> Any:
    args = call.args
    whose = "" if args.identity in (None, call.identity.name) else f" of {args.identity[:80]!r}"
    raise JobNotFound(
        f"there is no job {args.job}{whose}, or not any more", details={"job": args.job}
    )
