"""Kept jobs whose supervisors a test plays: nothing runs, the folders are real, and time is moved by hand."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from sockserv.execution.arguments import AttachArguments, StartArguments, Terminal
from sockserv.execution.outcome import Outcome, OutcomeKind
from sockserv.keeping.folder import JobFolder
from sockserv.keeping.messages import Ended, Message, Order, Running
from sockserv.keeping.record import write_outcome
from sockserv.limits import KeptLimits
from sockserv.services.api import Call
from sockserv.services.execution.child import Program
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.kept.job import SupervisedJob
from sockserv.services.execution.kept.jobs import SupervisedJobs
from sockserv.services.execution.kept.link import Link, Listener
from sockserv.trust.identities import Identity

__all__ = [
    "PID",
    "Body",
    "FakeCall",
    "FakeSupervisor",
    "Kept",
    "ended",
    "failure_of",
    "in_thread",
    "now",
]

T = TypeVar("T")
M = TypeVar("M")

PID = 4711


def ended(code: int = 0, **fields: Any) -> Outcome:
    return Outcome(kind=OutcomeKind.EXITED, code=code, job="build", rule="any", **fields)


def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """What blocks is done at once."""
    try:
        return succeed(function(*args))
    except Exception:
        return fail()


def start(awaitable: Awaitable[T]) -> Deferred[T]:
    """Let something begin."""

    async def wait() -> T:
        return await awaitable

    return Deferred.fromCoroutine(wait())


def now(waiting: Deferred[T]) -> T:
    """What a Deferred has by now; raises what it failed with."""
    results: list[T] = []
    failures: list[Any] = []
    waiting.addCallbacks(results.append, failures.append)
    for failure in failures:
        failure.raiseException()
    assert results, "nothing has come yet"
    return results[0]


def failure_of(waiting: Deferred[Any], kind: type[M]) -> M:
    """What a Deferred has failed with by now."""
    failures: list[Any] = []
    waiting.addErrback(failures.append)
    assert failures, "it has not failed"
    assert isinstance(failures[0].value, kind), failures[0]
    return failures[0].value


class FakeSupervisor:
    """A supervisor at the other end of a link, which the test plays. `said` is what it was told."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.said: list[Message] = []
        self.is_closed = False

    # For the daemon

    def send(self, message: Message) -> None:
        assert not self.is_closed
        self.said.append(message)

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.listener.on_lost()

    # For the test

    def say(self, message: Message) -> None:
        self.listener.on_message(message)

    def take(self, kind: type[M]) -> list[M]:
        """What it was told of a kind, since this was asked last."""
        found: list[M] = [message for message in self.said if isinstance(message, kind)]
        self.said = [message for message in self.said if not isinstance(message, kind)]
        return found


class FakeSupervisors:
    """Whoever starts supervisors. `answer` is what each says first, None for nothing; `error` keeps it from starting
    any.

    `starting` fires when one has started, if that takes its time.
    """

    def __init__(self) -> None:
        self.answer: Message | None = Running(PID)
        self.error: OSError | None = None
        self.starting: Deferred[None] | None = None
        self.orders: list[Order] = []
        self.links: list[FakeSupervisor] = []
        self.locks: dict[str, int] = {}

    def start(self, order: Order, lock: int, listener: Listener) -> Deferred[Link]:
        if self.error is not None:
            os.close(lock)
            return fail(self.error)
        self.orders.append(order)
        self.locks[order.record.job] = lock
        link = FakeSupervisor(listener)
        self.links.append(link)
        if self.answer is not None:
            link.say(self.answer)
        if self.starting is not None:
            return self.starting.addCallback(lambda _: link)
        return succeed(link)

    def reach(self, folder: JobFolder, listener: Listener) -> Link:
        if self.error is not None:
            raise self.error
        link = FakeSupervisor(listener)
        self.links.append(link)
        return link

    def die(self, job: str) -> None:
        """The supervisor of a job is no more; nobody was told."""
        os.close(self.locks.pop(job))


class Body:
    """A request's body that comes as the test says."""

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self.pieces = [*pieces]
        self.is_ended = False
        self._waiting: Deferred[None] | None = None

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        while not self.pieces:
            if self.is_ended:
                raise StopAsyncIteration
            self._waiting = Deferred()
            await self._waiting
        return self.pieces.pop(0)

    def come(self, *pieces: bytes, end: bool = False) -> None:
        self.pieces += pieces
        self.is_ended = end
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


class FakeCall:
    """A call of somebody. `sent` is the answer by stream; `is_slow` keeps the sender waiting until `take` is called."""

    def __init__(self, args: Any, identity: str = "alice", body: Body | None = None) -> None:
        self.args = args
        self.identity = Identity(identity, frozenset({"exec"}))
        self.body = body or Body()
        self.sent: dict[int, bytes] = {}
        self.is_slow = False
        self._waiting: Deferred[None] | None = None

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        self.sent[stream] = self.sent.get(stream, b"") + data
        if self.is_slow:
            self._waiting = Deferred()
            await self._waiting

    def take(self) -> None:
        assert self._waiting is not None
        self._waiting.callback(None)

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


class Kept:
    """Kept jobs on a folder of the test's own."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.folder = folder / "jobs"
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.supervisors = FakeSupervisors()
        self.limits = KeptLimits(**limits)
        self.identities = {
            name: Identity(name, frozenset({"exec"}), exec=("any",)) for name in ("alice", "bob")
        }
        self.told: list[tuple[str, str, str]] = []
        self.jobs = self.again()

    def again(self) -> SupervisedJobs:
        """What the next daemon has."""
        self.jobs = SupervisedJobs(
            self.folder,
            clock=self.clock,
            supervisors=self.supervisors,
            in_thread=in_thread,
            on_end=lambda record, outcome: self.told.append(
                (record.identity, record.job, str(outcome))
            ),
            limits=self.limits,
            pause_seconds=2.0,
            identity_of=self.identities.get,
        )
        return self.jobs

    def start(
        self,
        job: str = "build",
        identity: str = "alice",
        *,
        terminal: Terminal | None = None,
        timeout_seconds: float | None = None,
        output_limit_bytes: int | None = None,
        rule: str = "any",
        takes_stdin: bool = True,
        **args: Any,
    ) -> Deferred[SupervisedJob | Outcome]:
        program = Program(
            argv=("make", "all"), environment={"PATH": "/bin"}, directory="/", terminal=terminal
        )
        decision = Decision(
            rule=rule,
            program=program,
            command="make all",
            timeout_seconds=timeout_seconds,
            output_limit_bytes=output_limit_bytes,
            takes_stdin=takes_stdin,
        )
        call = FakeCall(StartArguments(argv=("make", "all"), **args), identity)
        return start(self.jobs.start(cast("Call[StartArguments]", call), job, decision))

    def run(self, job: str = "build", identity: str = "alice", **args: Any) -> SupervisedJob:
        """A job that runs."""
        started = now(self.start(job, identity, **args))
        assert isinstance(started, SupervisedJob)
        return started

    @property
    def link(self) -> FakeSupervisor:
        """The newest one."""
        return self.supervisors.links[-1]

    def attach(self, job: SupervisedJob, call: FakeCall) -> Deferred[Outcome]:
        return start(job.attach(cast("Call[AttachArguments]", call)))

    def write(self, job: SupervisedJob, stdout: bytes = b"", stderr: bytes = b"") -> None:
        """The job writes, and nobody is told."""
        for path, data in ((job.folder.stdout, stdout), (job.folder.stderr, stderr)):
            with open(path, "ab") as file:
                file.write(data)

    def end(self, job: SupervisedJob, outcome: Outcome | None = None) -> None:
        """The job ends as it should: the disk has its outcome, and then the daemon is told."""
        stdout_bytes, stderr_bytes = job.folder.spooled_bytes()
        told = outcome or ended(stdout_bytes=stdout_bytes, stderr_bytes=stderr_bytes)
        write_outcome(job.folder, told)
        os.utime(job.folder.outcome, (self.clock.seconds(),) * 2)
        link = self.link
        self.supervisors.die(job.record.job)
        link.say(Ended(told))
