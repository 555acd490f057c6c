"""Kept jobs as their callers meet them: by the execution service, over a link with a window."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred

from sockserv.errors import Unavailable
from sockserv.execution.errors import JobExists, JobNotFound, JobRunning, OutputGone, TooManyJobs
from sockserv.execution.outcome import Outcome, OutcomeKind
from sockserv.keeping.messages import (
    Ended,
    EndInput,
    Input,
    InputOpened,
    InputTaken,
    Kill,
    LeaveInput,
    OpenInput,
)
from sockserv.keeping.spool import PIECE_BYTES
from sockserv.limits import KeptLimits
from sockserv.services.execution.kept.jobs import SupervisedJobs
from sockserv.services.execution.service import Execution
from sockserv.testing import OWNER, MemoryNetwork, MemoryServer
from sockserv.testing.processes import ScriptedSpawner
from sockserv.trust import Identity
from tests.services.execution.kept.kit import FakeSupervisors, ended, in_thread
from tests.services.execution.live import ALICE, BOB, PROGRAMS, Permissive

T = TypeVar("T")


class CountingNetwork(MemoryNetwork):
    """Counts what is read in its threads."""

    read_bytes = 0

    def in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        return super().in_thread(function, *args).addCallback(self._count)

    def _count(self, result: T) -> T:
        if isinstance(result, bytes):
            self.read_bytes += len(result)
        return result


class Keeping:
    """A memory server that keeps jobs, whose supervisors the test plays."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.supervisors = FakeSupervisors()
        self.memory: MemoryServer
        self._folder = folder
        self._limits = KeptLimits(**limits)

    def __enter__(self) -> Keeping:
        self.network = CountingNetwork()
        clock = self.network.clock
        self.jobs = SupervisedJobs(
            self._folder / "jobs",
            clock=clock,
            supervisors=self.supervisors,
            in_thread=in_thread,
            limits=self._limits,
            pause_seconds=1.0,
        )
        service = Execution(Permissive(), ScriptedSpawner(clock, PROGRAMS), kept=self.jobs)
        self.memory = MemoryServer([service], network=self.network).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.memory.run(self.jobs.stop())
        self.memory.__exit__(*error)

    def call(self, op: str, who: Identity = ALICE, **args: Any) -> Any:
        client = self.memory.connect(who)
        return self.memory.run(client.call(f"exec.{op}", args)).result

    def start(self, who: Identity = ALICE, job: str = "build", **args: Any) -> Any:
        return self.call("start", who, argv=["true"], job=job, **args)

    def listed(self, who: Identity) -> list[tuple[str, str]]:
        client = self.memory.connect(who)
        body = self.memory.run(client.call("exec.jobs")).body
        return [(job["identity"], job["job"]) for job in map(json.loads, body.splitlines())]


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    with Keeping(tmp_path) as made:
        yield made


def test_from_start_to_end(keeping: Keeping) -> None:
    started = keeping.start()
    assert (started["job"], started["rule"]) == ("build", "any")
    assert keeping.supervisors.orders[0].launch.environment[b"SOCKSERV_JOB"] == b"build"
    with pytest.raises(JobExists):
        keeping.start()
    with pytest.raises(JobRunning):
        keeping.call("remove", job="build")
    job = keeping.jobs.find("alice", "build")
    assert job is not None
    job.folder.stdout.write_bytes(b"hello")
    keeping.supervisors.links[0].say(Ended(ended(3, stdout_bytes=5)))
    assert keeping.call("wait", job="build")["code"] == 3
    with pytest.raises(OutputGone):
        keeping.call("attach", job="build", stdout_offset=6)
    keeping.call("remove", job="build")
    with pytest.raises(JobNotFound):
        keeping.call("wait", job="build")


def test_one_that_could_not_be_started(keeping: Keeping) -> None:
    keeping.supervisors.answer = Ended(
        Outcome(kind=OutcomeKind.FAILED_TO_START, errno="ENOENT", job="build")
    )
    assert keeping.start()["errno"] == "ENOENT"
    assert keeping.listed(ALICE) == []


def test_those_of_others(keeping: Keeping) -> None:
    keeping.start()
    keeping.start(BOB)
    assert keeping.listed(ALICE) == [("alice", "build")]
    assert sorted(keeping.listed(OWNER)) == [("alice", "build"), ("bob", "build")]
    for op in ("wait", "attach", "kill", "remove"):
        with pytest.raises(JobNotFound):
            keeping.call(op, ALICE, job="build", identity="bob")
    client = keeping.memory.connect(OWNER)
    killing = client.call("exec.kill", {"job": "build", "identity": "bob", "force": True})
    keeping.memory.flush()
    assert [link.take(Kill) != [] for link in keeping.supervisors.links] == [False, True]
    keeping.supervisors.links[1].say(Ended(ended()))
    keeping.memory.run(killing)


def test_no_room(tmp_path: Path) -> None:
    with Keeping(tmp_path, max_identity_jobs=1) as keeping:
        keeping.start()
        with pytest.raises(TooManyJobs) as caught:
            keeping.start(job="another")
        assert caught.value.details["rule"] == "kept.max_identity_jobs"


def test_a_reader_that_stops_reading(keeping: Keeping) -> None:
    """What it has not taken stays on the disk: two pieces, and one window, are all that it costs."""
    keeping.start()
    job = keeping.jobs.find("alice", "build")
    assert job is not None
    content = bytes(range(256)) * 4 * 16_384
    job.folder.stdout.write_bytes(content)
    client = keeping.memory.connect(ALICE)
    call = keeping.memory.run(client.open("exec.attach", {"job": "build"}, end=True))
    keeping.memory.flush()
    assert keeping.network.read_bytes <= 2 * PIECE_BYTES < len(content)
    received = keeping.memory.read(call, enough_bytes=len(content))
    assert received == content
    job.folder.stderr.write_bytes(b"more")
    keeping.supervisors.links[0].say(
        Ended(ended(stdout_bytes=len(content), stderr_bytes=len(b"more")))
    )
    assert keeping.memory.read(call) == b"more"
    assert keeping.memory.run(call.result())["stdout_bytes"] == len(content)


def test_writing_to_it(keeping: Keeping) -> None:
    keeping.start()
    client = keeping.memory.connect(ALICE)
    call = keeping.memory.run(client.open("exec.attach", {"job": "build", "stdin": True}))
    keeping.memory.flush()
    link = keeping.supervisors.links[0]
    (asked,) = link.take(OpenInput)
    link.say(InputTaken(0))
    link.say(InputOpened(True, 0, asked.number))
    keeping.memory.run(call.send(b"typed"))
    keeping.memory.flush()
    assert link.take(Input) == [Input(b"typed")]
    # Who goes without an end leaves the rest to others.
    call.cancel()
    keeping.memory.flush()
    assert (link.take(EndInput), link.take(LeaveInput)) == ([], [LeaveInput()])


def test_the_server_goes(keeping: Keeping) -> None:
    keeping.start()
    client = keeping.memory.connect(ALICE)
    waiting = client.call("exec.wait", {"job": "build"})
    keeping.memory.flush()
    keeping.memory.run(keeping.jobs.stop())
    with pytest.raises(Unavailable, match="goes on"):
        keeping.memory.run(waiting)
