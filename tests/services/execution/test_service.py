"""The operations on jobs: whose they are, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from sockserv.errors import CallError, InvalidArgument, PermissionDenied, Unavailable
from sockserv.execution.arguments import StartArguments
from sockserv.execution.errors import JobExists, JobNotFound, NoTerminal
from sockserv.execution.outcome import Explanation, Job, Outcome, OutcomeKind, Started
from sockserv.services.execution.deciding import Decision
from tests.services.execution.live import ALICE, BOB, LiveServer

TERMINAL = {"columns": 100, "rows": 30}
MORE: Mapping[str, Mapping[str, Any]] = {"signal": {"signal": "INT"}, "resize": TERMINAL}

EXITED = Outcome(kind=OutcomeKind.EXITED, code=0)


@attrs.define
class KeptThing:
    """A kept job that notes what is asked of it."""

    identity: str
    name: str
    decision: Decision | None = None
    asked: list[Any] = attrs.field(factory=list)

    def describe(self) -> Job:
        return Job(
            job=self.name,
            identity=self.identity,
            command="" if self.decision is None else self.decision.command,
            rule="any",
            is_kept=True,
            started_at=1.0,
            pid=77,
        )

    async def outcome(self) -> Outcome:
        return EXITED

    async def kill(self, *, force: bool) -> Outcome:
        self.asked.append(("kill", force))
        return EXITED

    async def signal(self, number: int) -> None:
        self.asked.append(("signal", number))

    async def resize(self, columns: int, rows: int) -> None:
        self.asked.append(("resize", columns, rows))

    async def attach(self, call: Any) -> Outcome:
        await call.send(b"output", stream=1)
        return EXITED

    async def remove(self) -> None:
        self.asked.append("remove")


class KeptThings:
    """Kept jobs that do nothing; those of `there` exist already, by the names of their owners."""

    def __init__(self, there: Mapping[str, str] | None = None) -> None:
        self.things = {
            (identity, name): KeptThing(identity, name) for identity, name in (there or {}).items()
        }

    async def start(self, call: Any, job: str, decision: Decision) -> KeptThing | Outcome:
        if call.args.argv[0] == "locked":
            return Outcome(kind=OutcomeKind.FAILED_TO_START, errno="EACCES")
        thing = self.things[call.identity.name, job] = KeptThing(call.identity.name, job, decision)
        return thing

    def find(self, identity: str, job: str) -> KeptThing | None:
        return self.things.get((identity, job))

    def all(self) -> list[KeptThing]:
        return list(self.things.values())

    def stop(self) -> Any:
        raise NotImplementedError


class TestNames:
    def test_one_is_made_where_there_is_none(self) -> None:
        with LiveServer() as server:
            names = {getattr(server.run("true").outcome, "job", "") for _ in range(10)}
            assert len(names) == 10

    def test_one_that_is_taken(self) -> None:
        with LiveServer() as server:
            server.begin("sleep", job="a", who=ALICE)
            failure = server.run("true", job="a", who=ALICE).failure
            assert isinstance(failure, JobExists)
            server.run("true", job="a", who=BOB).check("exited(0)")

    def test_one_is_free_again_when_the_job_has_ended(self) -> None:
        with LiveServer() as server:
            for _ in range(2):
                server.run("true", job="a").check("exited(0)")

    def test_one_of_a_kept_job_is_taken(self) -> None:
        with LiveServer(kept=KeptThings()) as server:
            server.call("start", {"argv": ["true"], "job": "a"})
            assert isinstance(server.run("true", job="a").failure, JobExists)
            with pytest.raises(JobExists):
                server.call("start", {"argv": ["true"], "job": "a"})

    def test_one_of_a_job_that_is_about_to_be_kept_is_taken(self) -> None:
        with LiveServer(kept=KeptThings()) as server:
            client = server.client()
            starting = client.call("exec.start", {"argv": ["true"], "job": "a"})
            running = client.call("exec.run", {"argv": ["true"], "job": "a"})
            server.memory.run(starting)
            with pytest.raises(JobExists):
                server.memory.run(running)

    def test_one_is_free_again_when_it_could_not_be_kept(self) -> None:
        with LiveServer(kept=KeptThings()) as server:
            server.call("start", {"argv": ["locked"], "job": "a"})
            server.run("true", job="a").check("exited(0)")


class TestWhose:
    @pytest.mark.parametrize("op", ["wait", "kill", "signal", "resize", "attach", "remove"])
    @pytest.mark.parametrize("identity", [None, "alice"])
    def test_those_of_others_are_not_there(self, op: str, identity: str | None) -> None:
        more = MORE.get(op, {})
        with LiveServer(kept=KeptThings()) as server:
            server.begin("sleep", job="a", who=ALICE)
            with pytest.raises(JobNotFound):
                server.call(op, {"job": "a", "identity": identity, **more}, who=BOB)

    def test_an_admin_reaches_those_of_everybody_by_whose_they_are(self) -> None:
        with LiveServer() as server:
            running = server.begin("sleep", job="a", who=ALICE)
            with pytest.raises(JobNotFound):
                server.call("kill", {"job": "a"})
            server.call("kill", {"job": "a", "identity": "alice"})
            running.check("killed(cancelled)")

    def test_a_list_has_ones_own_and_for_an_admin_all(self) -> None:
        with LiveServer(kept=KeptThings()) as server:
            server.begin("sleep", job="a", who=ALICE)
            server.begin("sleep", job="b", who=BOB)
            server.call("start", {"argv": ["true"], "job": "k"}, who=BOB)
            assert [job.job for job in server.jobs(ALICE)] == ["a"]
            assert [job.job for job in server.jobs(BOB)] == ["b", "k"]
            assert [(job.identity, job.is_kept) for job in server.jobs()] == [
                ("alice", False),
                ("bob", False),
                ("bob", True),
            ]

    def test_a_list_may_be_longer_than_any_header(self) -> None:
        with LiveServer(max_jobs=400, max_identity_jobs=400) as server:
            for number in range(100):
                server.begin("sleep", "x" * 1000, job=f"j{number}", link=None)
            jobs = server.jobs()
            assert [job.job for job in jobs] == [f"j{number}" for number in range(100)]


class TestAskingLiveJobs:
    def test_what_is_told_of_one(self) -> None:
        with LiveServer() as server:
            server.memory.advance(5)
            server.begin("cat", "-", body=b"abc", end=False, job="a", terminal=TERMINAL)
            assert server.jobs() == [
                Job(
                    job="a",
                    identity="owner",
                    command="cat -",
                    rule="any",
                    is_kept=False,
                    started_at=5.0,
                    has_terminal=True,
                    pid=1000,
                    stdin_bytes=3,
                    stdout_bytes=3,
                )
            ]

    def test_waiting(self) -> None:
        with LiveServer() as server:
            running = server.begin("cat", end=False, job="a")
            answers = server.ask("wait", {"job": "a"})
            assert not answers
            running.call.end()
            server.memory.flush()
            assert answers[0]["kind"] == "exited"
            with pytest.raises(JobNotFound):
                server.call("wait", {"job": "a"})

    def test_its_terminal(self) -> None:
        with LiveServer() as server:
            server.begin("sleep", job="a", terminal=TERMINAL)
            server.call("resize", {"job": "a", "columns": 80, "rows": 24})
            assert server.child.sizes == [(100, 30), (80, 24)]

    def test_without_a_terminal(self) -> None:
        with LiveServer() as server:
            server.begin("sleep", job="a")
            with pytest.raises(NoTerminal):
                server.call("resize", {"job": "a", **TERMINAL})

    @pytest.mark.parametrize("op", ["attach", "remove"])
    def test_what_only_kept_jobs_can_do(self, op: str) -> None:
        with LiveServer(kept=KeptThings()) as server:
            server.begin("sleep", job="a")
            with pytest.raises(JobNotFound):
                server.call(op, {"job": "a"})


class TestKeptJobs:
    def test_all_that_can_be_asked(self) -> None:
        kept = KeptThings()
        with LiveServer(kept=kept) as server:
            started = server.call("start", {"argv": ["x"], "job": "k"}, kind=Started)
            assert started == Started(job="k", rule="any", pid=77)
            thing = kept.things["owner", "k"]
            assert thing.decision is not None
            assert thing.decision.program.environment["SOCKSERV_JOB"] == "k"
            assert server.call("wait", {"job": "k"}, kind=Outcome) == EXITED
            server.call("kill", {"job": "k", "force": True})
            server.call("signal", {"job": "k", "signal": "HUP"})
            server.call("resize", {"job": "k", **TERMINAL})
            server.call("remove", {"job": "k"})
            assert thing.asked == [("kill", True), ("signal", 1), ("resize", 100, 30), "remove"]
            reply = server.memory.run(server.client().call("exec.attach", {"job": "k"}))
            assert reply.body == b"output"

    def test_one_that_cannot_start(self) -> None:
        with LiveServer(kept=KeptThings()) as server:
            outcome = server.call("start", {"argv": ["locked"]}, kind=Outcome)
            assert str(outcome) == "failed-to-start(EACCES)"

    @pytest.mark.parametrize("op", ["start", "attach", "remove"])
    def test_a_server_that_keeps_none(self, op: str) -> None:
        args: dict[str, Any] = {"argv": ["true"]} if op == "start" else {"job": "a"}
        with LiveServer() as server, pytest.raises(Unavailable, match="keeps no jobs"):
            server.call(op, args)

    def test_its_arguments(self) -> None:
        assert StartArguments(argv=("a",)).spool_bytes is None


class TestExplaining:
    def test_ones_own(self) -> None:
        with LiveServer() as server:
            explanation = server.call("explain", {"argv": ["x"]}, who=ALICE, kind=Explanation)
            assert explanation.why == "alice may"

    def test_warnings_are_for_admins(self) -> None:
        with LiveServer() as server:
            explanation = server.call("explain", {"argv": ["x"]}, who=ALICE, kind=Explanation)
            assert explanation.warnings == ()
            args = {"argv": ["x"], "identity": "bob"}
            assert server.call("explain", args, kind=Explanation).warnings == ("any is everything",)

    def test_that_of_another_for_an_admin(self) -> None:
        with LiveServer() as server:
            args = {"argv": ["x"], "identity": "bob"}
            assert server.call("explain", args, kind=Explanation).why == "bob may"
            with pytest.raises(PermissionDenied):
                server.call("explain", args, who=ALICE)

    def test_that_of_nobody(self) -> None:
        with LiveServer() as server, pytest.raises(InvalidArgument, match="'carol'"):
            server.call("explain", {"argv": ["x"], "identity": "carol"})


@pytest.mark.parametrize("job", ["", "a/b", "-a", "a" * 65, "é", "a\n"])
def test_a_name_that_is_none(job: str) -> None:
    with LiveServer() as server, pytest.raises((CallError, JobNotFound)):
        server.call("wait", {"job": job})
