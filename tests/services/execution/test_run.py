"""Jobs whose callers wait: what they are given, what they write, and how they end."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest

from sockserv.errors import CallError, InternalError
from sockserv.execution.errors import OutcomeUnknown, Refused
from sockserv.services.execution.child import StartFailed
from sockserv.testing.processes import ScriptedProcess, prints
from tests.services.execution.live import ALICE, LiveServer

KIB = 1024
BINARY = bytes(range(256)) * 2000


async def outlived(process: ScriptedProcess) -> int:
    """Leaves somebody behind who writes a little later, and ends at TERM."""

    async def left(process: ScriptedProcess) -> int:
        await process.write(b"from behind\n")
        await process.sleep(3600)
        return 0

    process.fork(left)
    return 7


class TestOutcomes:
    @pytest.mark.parametrize(
        ("program", "said"),
        [
            ("true", "exited(0)"),
            ("false", "exited(1)"),
            ("locked", "failed-to-start(EACCES)"),
            ("not-there", "failed-to-start(ENOENT)"),
            ("nowhere", "failed-to-start(ENOENT)"),
        ],
    )
    def test_each_is_told(self, program: str, said: str) -> None:
        with LiveServer() as server:
            server.run(program).check(said)

    def test_a_program_that_dies_of_its_own_fault(self) -> None:
        async def crash(process: ScriptedProcess) -> int:
            await process.write(b"so far\n")
            process.die(11)

        with LiveServer({"crash": crash}) as server:
            running = server.run("crash")
            running.check("signalled(SEGV)")
            assert running.stdout == b"so far\n"

    def test_what_could_not_be_used_is_said(self) -> None:
        with LiveServer({"busy": StartFailed(errno.EAGAIN, "process")}) as server:
            messages = [
                getattr(server.run(name).outcome, "message", None)
                for name in ("not-there", "nowhere", "busy")
            ]
            assert messages == [
                "the program not-there cannot be run: there is no such file",
                "the directory /home/somebody cannot be used: there is no such file",
                "there is no room for one more process: resource temporarily unavailable",
            ]

    def test_a_refusal_is_an_error_that_names_the_rule(self) -> None:
        with LiveServer() as server:
            failure = server.run("forbidden").failure
            assert isinstance(failure, Refused)
            assert failure.details == {"rule": "any"}

    def test_the_rule_and_the_name_are_told(self) -> None:
        with LiveServer() as server:
            outcome = server.run("true", job="build-7").outcome
            assert outcome is not None
            assert (outcome.job, outcome.rule) == ("build-7", "any")

    def test_how_long_it_ran_is_told(self) -> None:
        async def nap(process: ScriptedProcess) -> int:
            await process.sleep(1.5)
            return 0

        with LiveServer({"nap": nap}, delay_seconds=1.0) as server:
            outcome = server.run("nap", max_seconds=10).outcome
            assert outcome is not None
            assert outcome.seconds == 1.5

    def test_nobody_knows_when_what_watched_it_was_lost(self) -> None:
        with LiveServer() as server:
            running = server.begin("sleep", job="gone")
            server.child.lose()
            server.memory.advance(10)
            assert isinstance(running.failure, OutcomeUnknown)
            assert running.failure.details == {"job": "gone"}

    def test_nor_when_it_was_being_killed(self) -> None:
        with LiveServer() as server:
            running = server.begin("stubborn", job="gone")
            answers = server.ask("kill", {"job": "gone"})
            server.child.lose()
            server.memory.advance(10)
            assert isinstance(running.failure, OutcomeUnknown)
            assert isinstance(answers[0], OutcomeUnknown)


class TestStreams:
    def test_outputs_are_apart_and_complete(self) -> None:
        with LiveServer() as server:
            running = server.run("hello")
            running.check("exited(3)")
            assert (running.stdout, running.stderr) == (b"hello\n", b"world\n")

    def test_binary_input_comes_back(self) -> None:
        with LiveServer() as server:
            running = server.run("cat", body=BINARY)
            running.check("exited(0)")
            assert running.stdout == BINARY
            assert running.outcome is not None
            assert running.outcome.stdin_bytes == len(BINARY)

    def test_output_comes_as_it_is_written(self) -> None:
        with LiveServer() as server:
            running = server.begin("cat", body=b"one", end=False)
            assert running.stdout == b"one"
            server.memory.run(running.call.send(b"two"))
            server.memory.flush()
            assert running.stdout == b"onetwo"
            running.call.end()
            server.memory.flush()
            running.check("exited(0)")

    def test_a_program_that_never_reads_ends_all_the_same(self) -> None:
        with LiveServer() as server:
            running = server.run("hello", body=BINARY * 4)
            running.check("exited(3)")

    def test_one_that_takes_no_input_is_given_none(self) -> None:
        async def count(process: ScriptedProcess) -> int:
            return len(await process.read())

        with LiveServer({"no-stdin": count}) as server:
            running = server.run("no-stdin", body=b"abc")
            running.check("exited(0)")

    def test_one_that_closes_its_input_is_not_given_the_rest(self) -> None:
        async def first(process: ScriptedProcess) -> int:
            await process.read(3)
            process.close_input()
            await process.sleep(5)
            return 0

        with LiveServer({"first": first}) as server:
            running = server.run("first", body=BINARY, max_seconds=5)
            running.check("exited(0)")

    def test_output_that_is_written_after_the_end_of_the_first_process_comes_too(self) -> None:
        with LiveServer({"outlived": outlived}) as server:
            running = server.run("outlived", max_seconds=5)
            running.check("exited(7)")
            assert running.stdout == b"from behind\n"

    def test_a_program_that_closes_its_outputs_early(self) -> None:
        async def quiet(process: ScriptedProcess) -> int:
            await process.write(b"last words")
            process.close_outputs()
            await process.sleep(5)
            return 4

        with LiveServer({"quiet": quiet}) as server:
            running = server.begin("quiet")
            assert not running.has_ended
            server.memory.advance(5)
            running.check("exited(4)")
            assert running.stdout == b"last words"

    def test_a_slow_reader_makes_the_program_wait_and_loses_nothing(self) -> None:
        written = [0]

        async def endless(process: ScriptedProcess) -> int:
            process.catch("USR1")
            try:
                while True:
                    await process.write(b"x" * 10_000)
                    written[0] += 10_000
            except Exception:
                return 0

        with LiveServer({"endless": endless}) as server:
            running = server.begin("endless", reads=False, job="e")
            server.memory.advance(60)
            paused_at = written[0]
            assert paused_at < 4 * 1024 * KIB
            server.memory.advance(60)
            assert written[0] == paused_at
            server.call("signal", {"job": "e", "signal": "USR1"})
            server.read(running)
            server.memory.advance(5)
            running.check("exited(0)")
            assert paused_at <= len(running.stdout) < paused_at + 10_000

    def test_a_slow_reader_of_a_job_that_has_ended_gets_all(self) -> None:
        with LiveServer({"much": prints(b"x" * 3_000_000)}) as server:
            running = server.begin("much", reads=False)
            server.memory.advance(600)
            server.read(running)
            running.check("exited(0)")
            assert len(running.stdout) == 3_000_000


class Broken:
    """A source that cannot be read."""

    async def read(self) -> bytes:
        raise OSError(errno.EIO, "broken")

    def close(self) -> None:
        """It is."""


def test_output_that_cannot_be_read_is_no_success() -> None:
    async def break_it(process: ScriptedProcess) -> int:
        process.child.stdout = cast(Any, Broken())
        return 0

    with LiveServer({"x": break_it}) as server:
        running = server.run("x", max_seconds=5)
        assert isinstance(running.failure, InternalError)
        assert [type(failure) for failure in server.memory.take_failures()] == [OSError]


class TestOutputLimit:
    @pytest.mark.parametrize(
        ("limit", "said"),
        [(101, "exited(0)"), (100, "exited(0)"), (99, "killed(output-limit)")],
    )
    def test_the_border(self, limit: int, said: str) -> None:
        with LiveServer({"hundred": prints(b"x" * 60, b"y" * 40)}) as server:
            running = server.run("hundred", output_limit_bytes=limit)
            running.check(said)
            assert len(running.stdout) + len(running.stderr) == min(limit, 100)
            assert running.outcome is not None
            begins = "it wrote more than the 99 bytes that it was given" if limit < 100 else ""
            assert running.outcome.message[: len(begins) or None] == begins

    def test_the_program_is_stopped(self) -> None:
        async def chatter(process: ScriptedProcess) -> int:
            process.ignore("INT", "TERM")
            while True:
                await process.write(b"x" * 100)
                await process.sleep(1)

        with LiveServer({"chatter": chatter}) as server:
            running = server.run("chatter", output_limit_bytes=250, max_seconds=30)
            running.check("killed(output-limit)")
            assert len(running.stdout) == 250
            assert server.child.is_gone


class TestLeftovers:
    def test_what_ignores_term_is_killed(self) -> None:
        async def daemonize(process: ScriptedProcess) -> int:
            async def stubborn(process: ScriptedProcess) -> int:
                process.ignore("INT", "TERM", "HUP")
                await process.sleep(3600)
                return 0

            process.fork(stubborn)
            return 0

        with LiveServer({"daemonize": daemonize}) as server:
            running = server.run("daemonize", max_seconds=5)
            running.check("exited(0)")
            assert server.child.is_gone

    def test_what_ends_by_itself_at_once_is_not_told_to(self) -> None:
        async def pipeline(process: ScriptedProcess) -> int:
            async def last(process: ScriptedProcess) -> int:
                await process.sleep(0.01)
                await process.write(b"done")
                return 0

            process.fork(last)
            return 0

        with LiveServer({"pipeline": pipeline}) as server:
            running = server.run("pipeline", max_seconds=1)
            running.check("exited(0)")
            assert running.stdout == b"done"
            assert not server.child.signals

    def test_what_nobody_can_reach_does_not_hold_the_outcome_back(self) -> None:
        async def escape(process: ScriptedProcess) -> int:
            async def outside(process: ScriptedProcess) -> int:
                while True:
                    await process.sleep(1)
                    await process.write(b"x")

            process.fork(outside, is_in_reach=False)
            await process.write(b"mine")
            return 0

        with LiveServer({"escape": escape}) as server:
            running = server.run("escape", max_seconds=6)
            running.check("exited(0)")
            assert running.stdout.startswith(b"mine")

    def test_nor_what_writes_without_end(self) -> None:
        async def escape(process: ScriptedProcess) -> int:
            async def outside(process: ScriptedProcess) -> int:
                while True:
                    await process.write(b"x" * 60_000)
                    await process.sleep(0.01)

            process.fork(outside, is_in_reach=False)
            return 0

        with LiveServer({"escape": escape}) as server:
            server.run("escape", max_seconds=10).check("exited(0)")


class TestPlaces:
    def test_the_job_is_told_its_name(self) -> None:
        with LiveServer() as server:
            server.run("true", job="a", env={"LANG": "C"}, who=ALICE)
            environment = server.child.program.environment
            assert environment == {"HOME": "/home/somebody", "LANG": "C", "SOCKSERV_JOB": "a"}

    def test_an_argument_that_is_none(self) -> None:
        with LiveServer() as server:
            failure = server.run("true", nice=99).failure
            assert isinstance(failure, CallError)
            assert "nice" in str(failure)
