"""The execution service as docs/exec.md has it, with jobs that are functions: for the client and the commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred

from sockserv.errors import AuditUnavailable
from sockserv.execution.arguments import (
    AttachArguments,
    Command,
    ExplainArguments,
    JobArguments,
    KillArguments,
    ResizeArguments,
    RunArguments,
    SignalArguments,
    StartArguments,
)
from sockserv.execution.errors import (
    JobExists,
    JobNotFound,
    JobRunning,
    OutcomeUnknown,
    OutputGone,
    Refused,
    StandardInputBusy,
    TooManyJobs,
)
from sockserv.execution.outcome import (
    Explanation,
    Job,
    KillReason,
    Outcome,
    OutcomeKind,
    Started,
)
from sockserv.services import Call, Service, operation
from sockserv.services.api import NoArguments


def exited(code: int = 0, **facts: Any) -> Outcome:
    return Outcome(kind=OutcomeKind.EXITED, code=code, **facts)


class FakeJob:
    """One that runs: what it was asked for, what it has written, and what was done to it."""

    def __init__(self, command: Command, name: str, send: Callable[..., Awaitable[None]]) -> None:
        self.command = command
        self.name = name
        self.written = {1: 0, 2: 0}
        self.signals: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.ended: Outcome | None = None
        self.is_over: Deferred[Outcome] = Deferred()
        self._send = send

    @property
    def args(self) -> tuple[str, ...]:
        return self.command.argv[1:]

    async def write(self, data: bytes, stream: int = 1) -> None:
        self.written[stream] += len(data)
        await self._send(data, stream=stream)

    def end(self, outcome: Outcome) -> None:
        """End it from outside."""
        if not self.is_over.called:
            self.is_over.callback(outcome)


Body: TypeAlias = Any
Script: TypeAlias = Callable[[FakeJob, Body], Awaitable[Outcome]]


async def _echo(job: FakeJob, stdin: Body) -> Outcome:
    await job.write(" ".join(job.args).encode() + b"\n")
    return exited()


async def _cat(job: FakeJob, stdin: Body) -> Outcome:
    size = 0
    async for piece in stdin:
        size += len(piece)
        await job.write(piece)
    return exited(stdin_bytes=size)


async def _both(job: FakeJob, stdin: Body) -> Outcome:
    for _ in range(int(job.args[0])):
        await job.write(b"out\n")
        await job.write(b"error\n", 2)
    return exited()


async def _play(job: FakeJob, stdin: Body) -> Outcome:
    """Writes pieces: for each word `1:500` so many bytes to this stream, so that none can be mistaken."""
    for word in job.args:
        stream, size = map(int, word.split(":"))
        start = job.written[stream]
        await job.write(numbered(start, start + size), stream)
    return exited()


def numbered(start: int, end: int) -> bytes:
    """Bytes of an endless row, in which each piece of some length is another one."""
    return b"".join(b"%08x" % n for n in range(start // 8, end // 8 + 1))[start % 8 :][
        : end - start
    ]


async def _exit(job: FakeJob, stdin: Body) -> Outcome:
    return exited(int(job.args[0]))


async def _wait(job: FakeJob, stdin: Body) -> Outcome:
    await job.write(b"ready\n")
    return await job.is_over


async def _flood(job: FakeJob, stdin: Body) -> Outcome:
    stream = int(job.args[0]) if job.args else 1
    while True:
        await job.write(b"y\n" * 32_768, stream)


async def _lie(job: FakeJob, stdin: Body) -> Outcome:
    """Tells of more than it has sent."""
    await job.write(b"123")
    job.written[1] += int(job.args[0])
    return exited()


async def _refuse(job: FakeJob, stdin: Body) -> Outcome:
    raise Refused("nobody may run that", details={"rule": "none"})


async def _refuse_by_rule(job: FakeJob, stdin: Body) -> Outcome:
    raise Refused("flash: port: expected a number", details={"rule": "flash"})


async def _unaudited(job: FakeJob, stdin: Body) -> Outcome:
    """Could not be written down: with a word, only when it was over."""
    raise AuditUnavailable("no audit log", details={"done": True} if job.args else {})


async def _too_many(job: FakeJob, stdin: Body) -> Outcome:
    raise TooManyJobs("too many jobs run already", details={"rule": "max_jobs"})


async def _exists(job: FakeJob, stdin: Body) -> Outcome:
    raise JobExists("there is such a job already")


async def _unknown(job: FakeJob, stdin: Body) -> Outcome:
    await job.write(b"x")
    raise OutcomeUnknown("what watched the job was lost")


async def _missing(job: FakeJob, stdin: Body) -> Outcome:
    return Outcome(kind=OutcomeKind.FAILED_TO_START, errno="ENOENT", message="there is no missing")


async def _slow(job: FakeJob, stdin: Body) -> Outcome:
    return Outcome(kind=OutcomeKind.KILLED, reason=KillReason.TIMEOUT)


async def _crash(job: FakeJob, stdin: Body) -> Outcome:
    return Outcome(kind=OutcomeKind.SIGNALLED, signal="SEGV")


async def _limited(job: FakeJob, stdin: Body) -> Outcome:
    limit = job.command.output_limit_bytes
    assert limit is not None
    await job.write(b"z" * limit)
    return Outcome(kind=OutcomeKind.KILLED, reason=KillReason.OUTPUT_LIMIT, signal="INT")


async def _strange(job: FakeJob, stdin: Body) -> Outcome:
    """An end that is none."""
    return msgspec.json.decode(job.args[0], type=Outcome)


async def _stray(job: FakeJob, stdin: Body) -> Outcome:
    await job._send(b"x", stream=int(job.args[0]))
    return exited()


SCRIPTS: Final[dict[str, Script]] = {
    "echo": _echo,
    "cat": _cat,
    "both": _both,
    "play": _play,
    "exit": _exit,
    "wait": _wait,
    "flood": _flood,
    "lie": _lie,
    "refuse": _refuse,
    "refuse-by-rule": _refuse_by_rule,
    "unaudited": _unaudited,
    "too-many": _too_many,
    "exists": _exists,
    "unknown": _unknown,
    "missing": _missing,
    "no such thing": _missing,
    "slow": _slow,
    "crash": _crash,
    "limited": _limited,
    "strange": _strange,
    "stray": _stray,
}


@attrs.define
class Kept:
    """A kept job: its output so far, how it has ended, and what it was given."""

    command: Command
    name: str
    stdout: bytes = b""
    stderr: bytes = b""
    outcome: Outcome | None = None
    stdin: bytes = b""
    waiting: list[Deferred[None]] = attrs.field(factory=list)
    sizes: list[tuple[int, int]] = attrs.field(factory=list)
    signals: list[str] = attrs.field(factory=list)

    def end(self, outcome: Outcome) -> None:
        self.outcome = attrs.evolve(
            outcome,
            job=self.name,
            stdout_bytes=len(self.stdout),
            stderr_bytes=len(self.stderr),
            stdin_bytes=len(self.stdin),
        )
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(None)

    async def feed(self, body: Body) -> None:
        async for piece in body:
            self.stdin += piece

    async def ended(self) -> Outcome:
        while self.outcome is None:
            waiting: Deferred[None] = Deferred(self.waiting.remove)
            self.waiting.append(waiting)
            await waiting
        return self.outcome


class FakeExecution(Service):
    """Runs `SCRIPTS`, and keeps jobs that do nothing. `jobs` are those that run, `commands` all that was asked for.

    While it `is_deaf`, signals end nothing, and who starts something hears nothing of it.
    """

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.jobs: dict[str, FakeJob] = {}
        self.kept: dict[str, Kept] = {}
        self.ends: list[str] = []
        self.is_deaf = False

    @operation("exec.run", args=RunArguments, permission="exec")
    async def run(self, call: Call[RunArguments]) -> Outcome:
        command = call.args
        self.commands.append(command)
        job = self.jobs[command.job] = FakeJob(command, command.job, call.send)
        name = "shell" if command.shell else command.argv[0]
        script = SCRIPTS.get(name, _wait)
        try:
            outcome = await script(job, call.body)
        except CancelledError:
            self.ends.append("cancelled")
            raise
        finally:
            del self.jobs[command.job]
        self.ends.append(str(outcome))
        return attrs.evolve(
            outcome,
            job=job.name,
            rule="any",
            stdout_bytes=job.written[1],
            stderr_bytes=job.written[2],
        )

    @operation("exec.signal", args=SignalArguments, permission="exec")
    def signal(self, call: Call[SignalArguments]) -> None:
        job = self._find(call)
        job.signals.append(call.args.signal)
        if not self.is_deaf:
            job.end(Outcome(kind=OutcomeKind.SIGNALLED, signal=call.args.signal))

    @operation("exec.kill", args=KillArguments, permission="exec")
    def kill(self, call: Call[KillArguments]) -> Outcome:
        job = self._find(call)
        job.signals.append("kill by force" if call.args.force else "kill")
        outcome = Outcome(kind=OutcomeKind.KILLED, reason=KillReason.CANCELLED, job=job.name)
        if not self.is_deaf:
            job.end(outcome)
        return outcome

    @operation("exec.resize", args=ResizeArguments, permission="exec")
    def resize(self, call: Call[ResizeArguments]) -> None:
        self._find(call).sizes.append((call.args.columns, call.args.rows))

    @operation("exec.start", args=StartArguments, permission="exec")
    async def start(self, call: Call[StartArguments]) -> Started | Outcome:
        self.commands.append(call.args)
        if call.args.argv == ("missing",):
            return Outcome(kind=OutcomeKind.FAILED_TO_START, errno="ENOENT", message="not there")
        if call.args.argv == ("refuse",):
            raise Refused("nobody may run that", details={"rule": "none"})
        name = call.args.job
        if name in self.kept:
            raise JobExists(f"there is a job {name} already")
        self.kept[name] = Kept(call.args, name)
        if self.is_deaf:
            await Deferred()
        return Started(job=name, rule="any", pid=4711)

    @operation("exec.attach", args=AttachArguments, permission="exec")
    async def attach(self, call: Call[AttachArguments]) -> Outcome:
        kept = self._find_kept(call)
        if call.args.stdin and call.args.stdin_offset != len(kept.stdin):
            raise StandardInputBusy(
                f"it was given {len(kept.stdin)} bytes", details={"stdin_bytes": len(kept.stdin)}
            )
        if call.args.stdout_offset > len(kept.stdout):
            raise OutputGone(f"it has written {len(kept.stdout)} bytes")
        await call.send(kept.stdout[call.args.stdout_offset :], stream=1)
        await call.send(kept.stderr[call.args.stderr_offset :], stream=2)
        feeding = Deferred.fromCoroutine(kept.feed(call.body)) if call.args.stdin else None
        try:
            return await kept.ended()
        finally:
            if feeding is not None:
                feeding.addErrback(lambda failure: None).cancel()

    @operation("exec.wait", args=JobArguments, permission="exec")
    async def wait(self, call: Call[JobArguments]) -> Outcome:
        return await self._find_kept(call).ended()

    @operation("exec.remove", args=JobArguments, permission="exec")
    def remove(self, call: Call[JobArguments]) -> None:
        if self._find_kept(call).outcome is None:
            raise JobRunning(f"the job {call.args.job} runs")
        del self.kept[call.args.job]

    @operation("exec.jobs", args=NoArguments, permission="exec")
    async def list(self, call: Call[NoArguments]) -> None:
        for kept in self.kept.values():
            job = Job(
                job=kept.name,
                identity="owner",
                command=" ".join(kept.command.argv),
                rule="any",
                is_kept=True,
                has_terminal=kept.command.terminal is not None,
                started_at=0.0,
                stdin_bytes=len(kept.stdin),
                stdout_bytes=len(kept.stdout),
                stderr_bytes=len(kept.stderr),
                outcome=kept.outcome,
            )
            await call.send(msgspec.json.encode(job) + b"\n")

    @operation("exec.explain", args=ExplainArguments, permission="exec")
    def explain(self, call: Call[ExplainArguments]) -> Explanation:
        who = call.args.identity or "you"
        return Explanation(allowed=True, rule="any", why=f"{who} may", argv=call.args.argv)

    def _find(self, call: Call[Any]) -> Any:
        job = self.jobs.get(call.args.job) or self.kept.get(call.args.job)
        return job if job is not None and call.args.identity is None else _not_found(call)

    def _find_kept(self, call: Call[Any]) -> Kept:
        job = self.kept.get(call.args.job)
        return job if job is not None and call.args.identity is None else _not_found(call)


def _not_found(call: Call[Any]) -> Any:
    raise JobNotFound(f"there is no job {call.args.job} of {call.args.identity or 'yours'}")
