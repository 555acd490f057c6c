"""Ending jobs from outside: by their callers, by others, by time, and by the server's end."""

from __future__ import annotations

from signal import SIGINT, SIGKILL, SIGTERM

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed

from sockserv.errors import CallError, DeadlineExceeded, PermissionDenied, Unavailable
from sockserv.execution.outcome import Outcome
from sockserv.testing import Link
from sockserv.testing.processes import ScriptedProcess, SignalReceived, prints
from sockserv.trust.audit import Record
from tests.services.execution.live import ALICE, BOB, LiveServer

GRADED = [SIGINT, SIGTERM, SIGKILL]


async def tidy(process: ScriptedProcess) -> int:
    """Takes three seconds to tidy up when it is told to stop."""
    process.catch("INT")
    process.ignore("TERM")
    try:
        await process.sleep(3600)
    except SignalReceived:
        await process.write(b"tidying\n")
        await process.sleep(3)
        await process.write(b"done\n")
    return 0


class Log:
    """An audit log that keeps records."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def record(self, record: Record) -> None:
        self.records.append(record)

    def write(self, record: Record) -> Deferred[None]:
        self.records.append(record)
        return succeed(None)

    def ends(self, op: str) -> list[tuple[str | None, str | None, str | None]]:
        """Outcome of the call, rule, and outcome of the job, of each call that has ended."""
        return [
            (each.outcome, each.rule, (each.facts or {}).get("outcome"))
            for each in self.records
            if each.op == op and each.outcome is not None
        ]


class TestGradedStop:
    def test_one_that_ends_at_once(self) -> None:
        with LiveServer() as server:
            running = server.begin("sleep", job="a")
            outcome = server.call("kill", {"job": "a"}, kind=Outcome)
            running.check("killed(cancelled)")
            assert outcome == running.outcome
            assert server.child.signals == [SIGINT]

    def test_one_that_takes_its_time_to_tidy_up(self) -> None:
        with LiveServer({"tidy": tidy}) as server:
            running = server.begin("tidy", job="a")
            answers = server.ask("kill", {"job": "a"})
            server.memory.advance(3)
            running.check("killed(cancelled)")
            assert running.stdout == b"tidying\ndone\n"
            assert answers[0]["kind"] == "killed"
            assert SIGKILL not in server.child.signals

    def test_one_that_ends_at_the_end_of_its_input(self) -> None:
        async def shell(process: ScriptedProcess) -> int:
            process.ignore("INT", "TERM")
            while await process.read():
                pass
            return 0

        with LiveServer({"shell": shell}) as server:
            running = server.begin("shell", end=False, job="a")
            server.ask("kill", {"job": "a"})
            server.memory.advance(1.9)
            assert not running.has_ended
            server.memory.advance(0.2)
            running.check("killed(cancelled)")
            assert server.child.signals == [SIGINT]

    def test_one_that_ignores_everything(self) -> None:
        with LiveServer() as server:
            running = server.begin("stubborn", end=False, job="a")
            server.ask("kill", {"job": "a"})
            server.memory.advance(6)
            running.check("killed(cancelled)")
            assert server.child.signals == GRADED

    def test_by_force(self) -> None:
        with LiveServer() as server:
            running = server.begin("stubborn", job="a")
            server.call("kill", {"job": "a", "force": True})
            running.check("killed(cancelled)")
            assert server.child.signals == [SIGKILL]

    def test_by_force_after_all(self) -> None:
        with LiveServer() as server:
            running = server.begin("stubborn", job="a")
            gently = server.ask("kill", {"job": "a"})
            server.call("kill", {"job": "a", "force": True})
            running.check("killed(cancelled)")
            assert gently[0]["reason"] == "cancelled"
            assert server.child.signals == [SIGINT, SIGKILL]

    def test_input_that_breaks_off_is_no_end_of_input(self) -> None:
        """Who copies its input must not take a part for all of it."""
        seen: list[bytes] = []

        async def copy(process: ScriptedProcess) -> int:
            while data := await process.read():
                seen.append(data)
            seen.append(b"complete")
            return 0

        link = Link()
        with LiveServer({"copy": copy}) as server:
            server.begin("copy", body=b"half", end=False, link=link)
            link.cut()
            server.memory.advance(10)
            assert seen == [b"half"]


class TestReasons:
    @pytest.mark.parametrize(
        ("asked", "default", "most", "seconds", "whose"),
        [
            (3.0, None, None, 3, "that it was given"),
            (None, 4.0, None, 4, "that this server gives"),
            (9.0, 4.0, 5.0, 5, "that this server allows"),
            (None, None, 6.0, 6, "that this server allows"),
        ],
    )
    def test_the_smallest_time_counts(
        self,
        asked: float | None,
        default: float | None,
        most: float | None,
        seconds: float,
        whose: str,
    ) -> None:
        with LiveServer(default_timeout_seconds=default, max_timeout_seconds=most) as server:
            running = server.begin("sleep", timeout_seconds=asked)
            server.memory.advance(seconds - 0.1)
            assert not running.has_ended
            server.memory.advance(0.1)
            running.check("killed(timeout)")
            assert running.outcome is not None
            said = f"it ran longer than the {seconds} seconds {whose}"
            assert running.outcome.message.startswith(said)

    def test_the_caller_cancels(self) -> None:
        log = Log()
        with LiveServer({"tidy": tidy}, audit=log) as server:
            running = server.begin("tidy")
            running.call.cancel()
            server.memory.advance(2.9)
            assert not log.ends("exec.run")
            server.memory.advance(0.1)
            assert log.ends("exec.run") == [("cancelled", "any", "killed(cancelled)")]

    def test_the_deadline_of_the_call(self) -> None:
        log = Log()
        with LiveServer(audit=log) as server:
            running = server.begin("stubborn", deadline_seconds=5.0)
            server.memory.advance(11)
            assert isinstance(running.failure, DeadlineExceeded)
            assert log.ends("exec.run") == [("deadline-exceeded", "any", "killed(cancelled)")]
            assert server.child.is_gone

    def test_the_connection_is_cut(self) -> None:
        log = Log()
        link = Link()
        with LiveServer(audit=log) as server:
            server.begin("stubborn", link=link)
            link.cut()
            server.memory.advance(3)
            assert server.jobs(), "it is there until it has ended"
            server.memory.advance(3)
            assert log.ends("exec.run") == [("disconnected", "any", "killed(disconnect)")]
            assert server.child.is_gone
            assert not server.jobs()

    def test_the_caller_is_revoked(self) -> None:
        log = Log()
        with LiveServer(audit=log) as server:
            running = server.begin("stubborn", who=ALICE)
            server.memory.server.reconsider(lambda who: None if who == ALICE else who)
            server.memory.advance(6)
            assert isinstance(running.failure, PermissionDenied)
            assert log.ends("exec.run") == [("permission-denied", "any", "killed(revoked)")]
            assert server.child.is_gone

    @pytest.mark.parametrize(
        ("rules", "goes_on"),
        [(("any", "/bin/df"), True), (("shell",), True), (("/bin/df",), False), ((), False)],
    )
    def test_the_callers_rules_are_others(self, rules: tuple[str, ...], *, goes_on: bool) -> None:
        with LiveServer() as server:
            alice = attrs.evolve(ALICE, exec=("any",))
            running = server.begin("stubborn", who=alice, job="a")
            waiting = server.ask("wait", {"job": "a"}, who=alice)
            server.memory.server.reconsider(lambda who: attrs.evolve(who, exec=rules))
            server.memory.advance(6)
            assert server.child.is_gone is not goes_on
            if goes_on:
                assert (running.has_ended, waiting) == (False, [])
            else:
                assert isinstance(running.failure, PermissionDenied)
                assert [outcome["reason"] for outcome in waiting] == ["revoked"]

    def test_the_first_reason_counts(self) -> None:
        log = Log()
        link = Link()
        with LiveServer(audit=log) as server:
            server.begin("stubborn", job="a", link=link)
            server.ask("kill", {"job": "a"})
            server.memory.advance(1)
            link.cut()
            server.memory.advance(6)
            assert log.ends("exec.run") == [("disconnected", "any", "killed(cancelled)")]

    def test_a_caller_that_goes_twice(self) -> None:
        link = Link()
        with LiveServer(audit=(log := Log())) as server:
            running = server.begin("stubborn", link=link)
            running.call.cancel()
            server.memory.advance(1)
            link.cut()
            server.memory.advance(6)
            assert log.ends("exec.run") == [("disconnected", "any", "killed(cancelled)")]

    def test_one_that_ends_while_it_is_told_to_has_been_killed(self) -> None:
        with LiveServer({"tidy": tidy}) as server:
            running = server.begin("tidy", job="a")
            server.ask("kill", {"job": "a"})
            server.memory.advance(3)
            assert running.outcome is not None
            assert (str(running.outcome), running.outcome.code) == ("killed(cancelled)", 0)

    def test_a_cut_connection_after_the_end_changes_nothing(self) -> None:
        link = Link()
        with LiveServer({"much": prints(b"x" * 3_000_000)}, audit=(log := Log())) as server:

            async def linger(process: ScriptedProcess) -> int:
                await process.write(b"x" * 1000)
                return 0

            server.spawner.programs["linger"] = linger
            server.begin("linger", reads=False, link=link)
            link.cut()
            server.memory.advance(10)
            assert log.ends("exec.run")[0][2] == "exited(0)"


class TestUnreadOutput:
    def test_of_a_killed_job_is_not_waited_for(self) -> None:
        async def endless(process: ScriptedProcess) -> int:
            while True:
                await process.write(b"x" * 10_000)

        with LiveServer({"endless": endless}) as server:
            running = server.begin("endless", reads=False, job="a")
            answers = server.ask("kill", {"job": "a"})
            server.memory.advance(10)
            assert answers[0]["reason"] == "cancelled"
            server.read(running)
            running.check("killed(cancelled)")

    def test_of_a_job_that_is_killed_after_its_end_is_cut_and_said_to_be(self) -> None:
        async def much(process: ScriptedProcess) -> int:
            process.child.output.capacity_bytes = 4_000_000
            await process.write(b"x" * 4_000_000)
            return 0

        with LiveServer({"much": much}) as server:
            running = server.begin("much", reads=False, job="a")
            server.memory.advance(10)
            answers = server.ask("kill", {"job": "a"})
            server.memory.advance(10)
            server.read(running)
            running.check("killed(cancelled)")
            assert len(running.stdout) < 4_000_000
            assert answers[0]["stdout_bytes"] == len(running.stdout)

    def test_that_was_all_sent_is_no_reason_to_call_it_killed(self) -> None:
        with LiveServer() as server:
            link = Link()
            running = server.begin("hello", job="a", link=link)
            running.check("exited(3)")


class TestBeforeItRuns:
    def test_killed_while_it_waits_for_room(self) -> None:
        with LiveServer(max_jobs=1) as server:
            first = server.begin("sleep", job="first")
            second = server.begin("sleep", job="second")
            assert [job.pid for job in server.jobs()] == [1000, None]
            server.call("kill", {"job": "second"})
            second.check("killed(cancelled)")
            assert len(server.spawner.started) == 1
            assert not first.has_ended

    def test_killed_while_it_starts(self) -> None:
        with LiveServer(delay_seconds=5) as server:
            running = server.begin("sleep", job="a")
            answers = server.ask("kill", {"job": "a"})
            server.memory.advance(4)
            # It may run already: nobody can say that it has not begun.
            assert not running.has_ended
            server.memory.advance(1)
            running.check("killed(cancelled)")
            (killed,) = answers
            assert (killed["signal"], killed.get("message", "")) == ("INT", "")
            server.run("true", max_seconds=5).check("exited(0)")

    def test_killed_by_force_while_it_starts(self) -> None:
        with LiveServer({"tidy": tidy}, delay_seconds=5) as server:
            running = server.begin("tidy", job="a")
            server.ask("kill", {"job": "a"})
            server.ask("kill", {"job": "a", "force": True})
            server.memory.advance(5)
            running.check("killed(cancelled)")
            assert running.outcome is not None
            assert running.outcome.signal == "KILL"

    def test_a_caller_who_gives_up_while_it_starts(self) -> None:
        with LiveServer(
            {"chatty": prints(b"x" * 10_000)}, delay_seconds=5, audit=(log := Log())
        ) as server:
            running = server.begin("chatty")
            running.call.cancel()
            server.memory.advance(10)
            assert log.ends("exec.run") == [("cancelled", "any", "killed(cancelled)")]

    def test_a_signal_that_ends_most_programs_ends_one_that_waits_for_room(self) -> None:
        with LiveServer(max_jobs=1) as server:
            server.begin("sleep", job="first")
            second = server.begin("sleep", job="second")
            server.call("signal", {"job": "second", "signal": "INT"})
            second.check("signalled(INT)")
            assert len(server.spawner.started) == 1

    @pytest.mark.parametrize("signal", ["INT", "KILL"])
    def test_a_signal_while_it_starts_waits_for_it(self, signal: str) -> None:
        with LiveServer(delay_seconds=5) as server:
            running = server.begin("sleep", job="a")
            server.ask("signal", {"job": "a", "signal": signal})
            server.memory.advance(4)
            assert not running.has_ended
            server.memory.advance(1)
            running.check(f"signalled({signal})")

    def test_another_one_waits_for_it(self) -> None:
        async def wait_for_it(process: ScriptedProcess) -> int:
            process.catch("USR1")
            try:
                await process.sleep(100)
            except SignalReceived:
                return 9
            return 0

        with LiveServer({"w": wait_for_it}, delay_seconds=5) as server:
            running = server.begin("w", job="a")
            answers = server.ask("signal", {"job": "a", "signal": "USR1"})
            assert not answers
            server.memory.advance(5)
            running.check("exited(9)")
            assert answers == [None]

    def test_a_cut_connection(self) -> None:
        link = Link()
        with LiveServer(delay_seconds=5, max_jobs=1) as server:
            server.begin("sleep", link=link)
            link.cut()
            server.memory.advance(10)
            server.run("true", max_seconds=5).check("exited(0)")


class TestSignals:
    def test_a_job_that_dies_of_one(self) -> None:
        with LiveServer() as server:
            running = server.begin("sleep", job="a")
            server.call("signal", {"job": "a", "signal": "TERM"})
            running.check("signalled(TERM)")

    def test_one_that_does_not_exist(self) -> None:
        with LiveServer() as server:
            server.begin("sleep", job="a")
            with pytest.raises(CallError, match="there is no signal FOO"):
                server.call("signal", {"job": "a", "signal": "FOO"})


class TestTheServerStops:
    def test_jobs_are_stopped_and_callers_told(self) -> None:
        with LiveServer({"tidy": tidy}, audit=(log := Log()), max_jobs=2) as server:
            running = [server.begin(name, who=who) for name, who in NAMES]
            stopped: list[None] = []
            server.service.stop().addCallback(stopped.append)
            server.memory.flush()
            running[2].check("killed(shutdown)")
            server.memory.advance(5)
            for each in running:
                each.check("killed(shutdown)")
            assert stopped == [None]
            assert len(log.ends("exec.run")) == 3

    def test_it_starts_nothing_more(self) -> None:
        with LiveServer() as server:
            server.memory.run(server.service.stop())
            assert isinstance(server.run("true").failure, Unavailable)
            server.memory.run(server.service.stop())

    def test_who_waits_for_it_learns_after_the_log(self) -> None:
        with LiveServer(audit=(log := Log())) as server:
            server.begin("sleep", link=(link := Link()))
            seen: list[int] = []
            stopping = server.service.stop()
            stopping.addCallback(lambda _: seen.append(len(log.ends("exec.run"))))
            link.cut()
            server.memory.advance(10)
            assert seen == [1]


NAMES = [("tidy", ALICE), ("stubborn", BOB), ("sleep", ALICE)]
