"""Kept jobs that really run, without a daemon around them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from sockserv.execution.arguments import AttachArguments, ResourceLimits, StartArguments, Terminal
from sockserv.execution.outcome import Outcome
from sockserv.limits import KeptLimits
from sockserv.processes.table import Machine
from sockserv.services.api import Call
from sockserv.services.execution.child import Program
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.kept.job import SupervisedJob
from sockserv.services.execution.kept.jobs import SupervisedJobs
from sockserv.services.execution.kept.supervisors import SupervisorProcesses
from sockserv.trust.identities import Identity
from tests.integration.waiting import until_so

__all__ = ["Attached", "Keeper", "Typed", "kept", "marked", "supervisor_of"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/bin"


def marked(job: SupervisedJob) -> set[int]:
    """All processes that are marked as those of a job, its supervisor among them."""
    machine = Machine(adopts=False)
    return {
        process.pid
        for process in machine.all().values()
        if machine.mark(process.pid) == job.record.mark
    }


def supervisor_of(job: SupervisedJob) -> int:
    """The process that looks after a job."""
    table = Machine(adopts=False).all()
    assert job.pid is not None
    return table[job.pid].parent


class Typed:
    """A request's body that a test types; it never ends by itself."""

    def __init__(self, *pieces: bytes, end: bool = False) -> None:
        self._pieces = [*pieces]
        self._is_ended = end
        self._waiting: Deferred[None] | None = None

    def __aiter__(self) -> Typed:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._is_ended:
                raise StopAsyncIteration
            self._waiting = Deferred()
            await self._waiting
        return self._pieces.pop(0)

    def type(self, *pieces: bytes, end: bool = False) -> None:
        self._pieces += pieces
        self._is_ended = end
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


class Attached:
    """Somebody who is attached: `outcome` fires at the end, `output` and `errors` are what came by now."""

    def __init__(self, job: SupervisedJob, body: Typed | None = None, **args: Any) -> None:
        self.output = b""
        self.errors = b""
        self.args = AttachArguments(job=job.record.job, stdin=body is not None, **args)
        self.identity = Identity(job.record.identity)
        self.body = body
        self.outcome = Deferred.fromCoroutine(job.attach(cast("Call[AttachArguments]", self)))

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        if stream == 1:
            self.output += data
        else:
            self.errors += data

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await deferToThread(function, *args)


@attrs.frozen
class _StartCall:
    args: StartArguments
    identity: Identity


class Keeper:
    """Who starts kept jobs, as a daemon does; `again` lets go of all, and is the next daemon."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.folder = folder
        self.limits = KeptLimits(**limits)
        self.started: list[SupervisedJob] = []
        self.jobs = self._open()

    def _open(self) -> SupervisedJobs:
        jobs = SupervisedJobs(
            self.folder,
            clock=reactor,
            supervisors=SupervisorProcesses(reactor, in_thread=deferToThread),
            in_thread=deferToThread,
            limits=self.limits,
            pause_seconds=0.3,
        )
        jobs.open()
        return jobs

    async def again(self) -> None:
        await self.jobs.stop()
        self.jobs = self._open()

    def find(self, name: str = "build") -> SupervisedJob:
        job = self.jobs.find("alice", name)
        assert job is not None
        return job

    async def start(
        self,
        *argv: str,
        name: str = "build",
        environment: dict[str, str] | None = None,
        terminal: Terminal | None = None,
        limits: ResourceLimits | None = None,
        nice: int | None = None,
        timeout_seconds: float | None = None,
        **args: Any,
    ) -> SupervisedJob | Outcome:
        program = Program(
            argv=argv,
            environment={"PATH": PATH} | (environment or {}),
            directory="/",
            terminal=terminal,
            limits=limits or ResourceLimits(),
            nice=nice,
        )
        decision = Decision(
            rule="any", program=program, command=" ".join(argv), timeout_seconds=timeout_seconds
        )
        call = cast(
            "Call[StartArguments]", _StartCall(StartArguments(argv=argv, **args), Identity("alice"))
        )
        started = await self.jobs.start(call, name, decision)
        if isinstance(started, SupervisedJob):
            self.started.append(started)
        return started

    async def shell(self, script: str, **options: Any) -> SupervisedJob:
        started = await self.start("sh", "-c", script, **options)
        assert isinstance(started, SupervisedJob), started
        return started


@asynccontextmanager
async def kept(folder: Path, **limits: Any) -> AsyncIterator[Keeper]:
    """Kept jobs in this folder; whatever still runs at the end is killed."""
    keeper = Keeper(folder, **limits)
    try:
        yield keeper
    finally:
        await keeper.jobs.stop()
        for job in keeper.started:
            for pid in marked(job):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await until_so(lambda: not any(map(marked, keeper.started)))
        shutil.rmtree(folder, ignore_errors=True)
