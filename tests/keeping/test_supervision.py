"""The life of a kept job as decisions: nothing runs here, and time is a number."""

from __future__ import annotations

import errno
from signal import SIGCONT, SIGINT, SIGKILL, SIGTERM
from typing import Any

import pytest

from sockserv.execution.bounds import TimeLimit
from sockserv.execution.outcome import KillReason
from sockserv.keeping.spool import SpoolFull
from sockserv.keeping.supervision import Supervision
from sockserv.processes.table import Reaped, Usage
from tests.keeping.kit import record

END_OF_INPUT = "end of input"


class FakeJob:
    """Processes that note what is done to them."""

    stdin_bytes = 3
    has_input = True

    def __init__(self) -> None:
        self.seen: list[object] = []

    def signal(self, number: int) -> None:
        self.seen.append(number)

    def end_input(self) -> None:
        self.has_input = False
        self.seen.append(END_OF_INPUT)

    def take_seen(self) -> list[object]:
        seen, self.seen = self.seen, []
        return seen


class FakeSpool:
    """Room for so many bytes; `error` is raised instead of keeping any."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.stdout_bytes = self.stderr_bytes = 0
        self.error: OSError | None = None

    def add_stdout(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        kept = min(len(data), self.room - self.stdout_bytes)
        self.stdout_bytes += kept
        if kept < len(data):
            raise SpoolFull

    def add_stderr(self, data: bytes) -> None:
        self.stderr_bytes += len(data)


class Life:
    """A job under supervision, whose time the test moves."""

    def __init__(self, *, has_input: bool = True, room: int = 100, **fields: Any) -> None:
        self.now = 50.0
        self.job = FakeJob()
        self.job.has_input = has_input
        self.spool = FakeSpool(room)
        self.supervision = Supervision(
            record(),
            self.job,
            self.spool,
            **({"streams": 2, "now": self.now, "pause_seconds": 2.0} | fields),
        )

    def is_over(self) -> bool:
        return self.supervision.is_over

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.supervision.advance(self.now)

    def stop(self, reason: KillReason = KillReason.CANCELLED, *, force: bool = False) -> None:
        self.supervision.stop(reason, now=self.now, force=force)

    def end(self, code: int = 0) -> None:
        self.supervision.note_end(Reaped(7, code, Usage(0.5, 0.25, 1000)), now=self.now)

    def gone(self) -> None:
        self.supervision.note_gone(now=self.now)

    def end_streams(self) -> None:
        self.supervision.end_stream()
        self.supervision.end_stream()

    def write(self, data: bytes) -> None:
        self.supervision.add_stdout(data, self.now)


def test_a_job_that_ends_by_itself() -> None:
    life = Life()
    life.write(b"12345")
    life.supervision.add_stderr(b"1", life.now)
    life.pass_time(3)
    life.end(4)
    life.gone()
    assert not life.is_over()
    life.end_streams()
    assert life.is_over()
    assert life.supervision.next_step_at is None
    outcome = life.supervision.outcome()
    assert str(outcome) == "exited(4)"
    assert (outcome.stdin_bytes, outcome.stdout_bytes, outcome.stderr_bytes) == (3, 5, 1)
    assert (outcome.seconds, outcome.user_seconds, outcome.system_seconds) == (3.0, 0.5, 0.25)
    assert (outcome.job, outcome.rule) == ("build", "any")
    assert life.job.take_seen() == []


def test_the_streams_may_end_first() -> None:
    life = Life()
    life.end_streams()
    assert not life.is_over()
    life.end()
    life.gone()
    assert life.is_over()


def test_a_job_that_dies_by_a_signal() -> None:
    life = Life()
    life.end(-SIGTERM)
    life.gone()
    life.end_streams()
    assert str(life.supervision.outcome()) == "signalled(TERM)"


def test_the_graded_stop() -> None:
    life = Life()
    life.stop()
    assert life.job.take_seen() == [SIGINT]
    life.pass_time(1.9)
    assert life.job.take_seen() == []
    life.pass_time(0.1)
    assert life.job.take_seen() == [END_OF_INPUT]
    life.pass_time(2)
    assert life.job.take_seen() == [SIGTERM, SIGCONT]
    life.pass_time(2)
    assert life.job.take_seen() == [SIGKILL]
    assert life.supervision.next_step_at is None
    life.end(-SIGKILL)
    life.gone()
    life.end_streams()
    outcome = life.supervision.outcome()
    assert (str(outcome), outcome.signal) == ("killed(cancelled)", "KILL")


def test_no_step_for_an_input_that_has_ended() -> None:
    life = Life(has_input=False)
    life.stop()
    life.pass_time(2)
    assert life.job.take_seen() == [SIGINT, SIGTERM, SIGCONT]


def test_steps_are_left_out_when_it_has_ended() -> None:
    life = Life()
    life.stop()
    life.end(130)
    life.gone()
    life.end_streams()
    assert SIGKILL not in life.job.take_seen()
    assert str(life.supervision.outcome()) == "killed(cancelled)"


def test_force_is_at_once_also_while_it_is_stopped() -> None:
    life = Life()
    life.stop()
    life.stop(KillReason.SHUTDOWN, force=True)
    assert life.job.take_seen() == [SIGINT, SIGKILL]
    life.stop(force=True)
    life.stop()
    assert life.job.take_seen() == []
    life.end(-SIGKILL)
    # Nor is what is left asked.
    assert life.job.take_seen() == [SIGKILL]
    life.gone()
    life.end_streams()
    # The first reason is the one that counts.
    assert str(life.supervision.outcome()) == "killed(cancelled)"


@pytest.mark.parametrize(("seconds", "is_stopped"), [(9.9, False), (10.0, True)])
def test_its_time(seconds: float, is_stopped: bool) -> None:
    life = Life(time_limit=TimeLimit(10.0, "it ran too long"))
    assert life.supervision.next_step_at == life.now + 10
    life.pass_time(seconds)
    assert life.job.take_seen() == ([SIGINT] if is_stopped else [])
    life.end()
    life.gone()
    life.end_streams()
    outcome = life.supervision.outcome()
    said = ("killed(timeout)", "it ran too long") if is_stopped else ("exited(0)", "")
    assert (str(outcome), outcome.message) == said


def test_a_stop_that_comes_too_late() -> None:
    life = Life()
    life.end(0)
    life.stop(force=True)
    life.gone()
    life.end_streams()
    assert str(life.supervision.outcome()) == "exited(0)"


class TestOutput:
    def test_more_than_is_kept(self) -> None:
        life = Life(room=10)
        life.write(b"x" * 10)
        assert life.job.take_seen() == []
        life.write(b"x")
        assert life.job.take_seen() == [SIGINT]
        # What it still writes is dropped, so that it can end.
        life.write(b"x" * 1000)
        life.end(0)
        life.gone()
        life.end_streams()
        outcome = life.supervision.outcome()
        assert str(outcome) == "killed(output-limit)"
        assert outcome.stdout_bytes == 10
        assert "100 bytes" in outcome.message

    def test_a_full_disk(self) -> None:
        life = Life()
        life.spool.error = OSError(errno.ENOSPC, "No space left on device")
        life.write(b"x")
        assert life.job.take_seen() == [SIGINT]
        life.end(0)
        life.gone()
        life.end_streams()
        outcome = life.supervision.outcome()
        assert str(outcome) == "killed(output-limit)"
        assert "no space left on device" in outcome.message

    def test_what_was_left_in_the_pipe_may_be_too_much(self) -> None:
        """It has exited with 0, but who reads would take a part for all of it."""
        life = Life(room=10)
        life.end(0)
        life.gone()
        life.write(b"x" * 11)
        life.end_streams()
        assert str(life.supervision.outcome()) == "killed(output-limit)"

    def test_the_first_reason_stays(self) -> None:
        life = Life(room=10)
        life.stop()
        life.write(b"x" * 11)
        life.end(0)
        life.gone()
        life.end_streams()
        assert life.supervision.outcome().reason is KillReason.CANCELLED


class TestLeftovers:
    def test_they_are_asked_and_then_killed(self) -> None:
        life = Life()
        life.end(0)
        # The rest of a pipeline ends by itself.
        assert life.job.take_seen() == []
        life.pass_time(0.05)
        assert life.job.take_seen() == [SIGTERM, SIGCONT]
        life.pass_time(0.5)
        assert life.job.take_seen() == [SIGKILL]
        life.gone()
        life.end_streams()
        assert str(life.supervision.outcome()) == "exited(0)"

    def test_nobody_waits_for_ever_for_what_cannot_be_killed(self) -> None:
        life = Life()
        life.end(0)
        life.pass_time(0.05)
        life.pass_time(0.5)
        life.pass_time(5)
        assert not life.is_over()
        life.pass_time(2)
        assert life.is_over()

    def test_a_pipe_that_somebody_else_has(self) -> None:
        life = Life()
        life.end(0)
        life.gone()
        life.pass_time(1.9)
        life.write(b"still something")
        life.pass_time(1.9)
        life.write(b"more")
        life.pass_time(2)
        assert not life.is_over()
        life.pass_time(2)
        assert life.is_over()
        assert life.supervision.outcome().stdout_bytes == len("still something" + "more")

    def test_a_pipe_that_somebody_else_fills(self) -> None:
        life = Life(room=100_000_000)
        life.end(0)
        life.gone()
        life.write(b"x" * (4 * 1024 * 1024))
        assert not life.is_over()
        life.write(b"x")
        assert life.is_over()
