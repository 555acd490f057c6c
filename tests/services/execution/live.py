"""An execution service in memory, with scripted programs, and what tests say to it."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from sockserv.client import Client, OutgoingCall
from sockserv.execution.arguments import Command
from sockserv.execution.errors import Refused
from sockserv.execution.outcome import Explanation, Job, Outcome
from sockserv.limits import ExecutionLimits
from sockserv.services.execution.child import Program, StartFailed
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.service import Execution
from sockserv.services.threads import InThread
from sockserv.testing import OWNER, Link, MemoryNetwork, MemoryServer
from sockserv.testing.processes import (
    Script,
    ScriptedChild,
    ScriptedSpawner,
    cat,
    exits,
    prints,
    sleeps,
)
from sockserv.trust import Identity
from sockserv.trust.audit import AuditSink

__all__ = ["ALICE", "BOB", "LiveServer", "Permissive", "Running"]

ALICE = Identity("alice", frozenset({"exec"}))
BOB = Identity("bob", frozenset({"exec"}))

PROGRAMS: Mapping[str, Script | StartFailed] = {
    "true": exits(),
    "false": exits(1),
    "cat": cat,
    "hello": prints(b"hello\n", b"world\n", code=3),
    "sleep": sleeps(3600.0),
    "stubborn": sleeps(3600.0, ignoring=("INT", "TERM", "HUP", "QUIT")),
    "locked": StartFailed(errno.EACCES),
    "nowhere": StartFailed(errno.ENOENT, "directory"),
}


class Permissive:
    """A policy that allows everything but some programs."""

    def __init__(self) -> None:
        self.forbidden = {"forbidden"}

    async def decide(self, identity: Identity, command: Command, in_thread: InThread) -> Decision:
        if command.argv[0] in self.forbidden:
            raise Refused(f"no rule allows {command.argv[0]}", details={"rule": "any"})
        await in_thread(bool)
        return Decision(
            rule="any",
            program=Program(
                argv=command.argv,
                environment={"HOME": "/home/somebody", **command.env},
                directory="/home/somebody",
                terminal=command.terminal,
            ),
            command=" ".join(command.argv),
            timeout_seconds=command.timeout_seconds,
            output_limit_bytes=command.output_limit_bytes,
            takes_stdin=command.argv[0] != "no-stdin",
        )

    async def explain(
        self, identity: Identity, command: Command, in_thread: InThread
    ) -> Explanation:
        return Explanation(
            allowed=True,
            rule="any",
            why=f"{identity.name} may",
            argv=command.argv,
            warnings=("any is everything",),
        )


@attrs.define
class Running:
    """A job that was asked for: its `streams` as they have come, and at the end `outcome` or `failure`."""

    call: OutgoingCall
    streams: dict[int, bytearray] = attrs.field(factory=lambda: {1: bytearray(), 2: bytearray()})
    outcome: Outcome | None = None
    failure: Exception | None = None

    @property
    def stdout(self) -> bytes:
        return bytes(self.streams[1])

    @property
    def stderr(self) -> bytes:
        return bytes(self.streams[2])

    @property
    def has_ended(self) -> bool:
        return self.outcome is not None or self.failure is not None

    def check(self, said: str) -> None:
        """The job has ended like this, and all that it has written has come."""
        assert self.failure is None, repr(self.failure)
        assert self.outcome is not None, "the job has not ended"
        assert str(self.outcome) == said
        self.check_counts()

    def check_counts(self) -> None:
        assert self.outcome is not None
        counts = (self.outcome.stdout_bytes, self.outcome.stderr_bytes)
        assert counts == (len(self.stdout), len(self.stderr))


class LiveServer:
    """A memory server with an execution service, and clients of it; use it in a `with` block.

    `programs` are scripts by name, besides `PROGRAMS`; `settings` are those of `ExecutionLimits`.
    """

    def __init__(
        self,
        programs: Mapping[str, Script | StartFailed] | None = None,
        *,
        audit: AuditSink | None = None,
        delay_seconds: float = 0.0,
        kept: Any = None,
        **settings: Any,
    ) -> None:
        network = MemoryNetwork()
        self.spawner = ScriptedSpawner(
            network.clock, {**PROGRAMS, **(programs or {})}, delay_seconds=delay_seconds
        )
        self.policy = Permissive()
        self.service = Execution(
            self.policy,
            self.spawner,
            limits=ExecutionLimits(**settings),
            kept=kept,
            identity_of={"alice": ALICE, "bob": BOB}.get,
        )
        self.memory = MemoryServer([self.service], network=network, audit=audit)
        self._clients: dict[Identity, Client] = {}

    def __enter__(self) -> LiveServer:
        self.memory.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for child in self.spawner.started:
            child.end()
        self.memory.__exit__(*error)

    def client(self, who: Identity = OWNER, link: Link | None = None) -> Client:
        if link is not None:
            return self.memory.connect(who, link=link)
        if who not in self._clients:
            self._clients[who] = self.memory.connect(who)
        return self._clients[who]

    def begin(
        self,
        *argv: str,
        body: bytes = b"",
        end: bool = True,
        reads: bool = True,
        who: Identity = OWNER,
        link: Link | None = None,
        deadline_seconds: float | None = None,
        **args: Any,
    ) -> Running:
        """Ask for a job, and let happen what happens without time passing."""

        async def ask() -> OutgoingCall:
            call = await self.client(who, link).open(
                "exec.run", {"argv": argv, **args}, timeout_seconds=deadline_seconds
            )
            running.append(Running(call))
            if reads:
                Deferred.fromCoroutine(self._read(running[0]))
            if body:
                await call.send(body)
            if end:
                call.end()
            return call

        running: list[Running] = []
        asking = Deferred.fromCoroutine(ask())
        asking.addErrback(lambda failure: None)  # who reads is told, too
        self.memory.flush()
        return running[0]

    def run(self, *argv: str, max_seconds: float = 0.0, **more: Any) -> Running:
        """Ask for a job, and let it come to its end."""
        running = self.begin(*argv, **more)
        self.memory.advance(max_seconds)
        return running

    def read(self, running: Running) -> None:
        """Read now what was not read from the beginning."""
        Deferred.fromCoroutine(self._read(running))
        self.memory.flush()

    async def _read(self, running: Running) -> None:
        try:
            while (taken := await running.call.body.take()) is not None:
                stream, piece = taken
                running.streams[stream] += piece
            running.outcome = await running.call.result(Outcome)
        except Exception as error:
            running.failure = error

    def call(self, op: str, args: Any = None, *, who: Identity = OWNER, kind: Any = Any) -> Any:
        """Ask for another operation; gives its result."""

        async def ask() -> Any:
            call = await self.client(who).open(f"exec.{op}", args or {}, end=True)
            return await call.result(kind)

        try:
            return self.memory.run(ask())
        finally:
            self.memory.flush()

    def ask(self, op: str, args: Any = None, *, who: Identity = OWNER) -> list[Any]:
        """Ask for an operation without waiting; gives a list that its result, or its error, will be in."""
        answers: list[Any] = []

        async def ask() -> None:
            try:
                call = await self.client(who).open(f"exec.{op}", args or {}, end=True)
                answers.append(await call.result())
            except Exception as error:
                answers.append(error)

        Deferred.fromCoroutine(ask())
        self.memory.flush()
        return answers

    def jobs(self, who: Identity = OWNER) -> Sequence[Job]:
        """The list of jobs."""
        from msgspec import json

        reply = self.memory.run(self.client(who).call("exec.jobs", {}))
        return [json.decode(line, type=Job) for line in reply.body.splitlines()]

    @property
    def child(self) -> ScriptedChild:
        """The child that was started last."""
        return self.spawner.started[-1]
