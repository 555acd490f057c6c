"""Starting kept jobs, finding them again, and what is left when something goes wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.errors import Unavailable
from sockserv.execution.arguments import Terminal
from sockserv.execution.errors import (
    JobExists,
    JobNotFound,
    JobRunning,
    NoTerminal,
    OutcomeUnknown,
    TooManyJobs,
)
from sockserv.execution.outcome import KillReason, Outcome, OutcomeKind
from sockserv.keeping.messages import Ended, Kill, Progress, Resize, Running, Signal
from sockserv.keeping.record import read_outcome, read_record, write_outcome
from sockserv.trust.identities import EVERYTHING, Identity
from tests.services.execution.kept.kit import PID, Kept, ended, failure_of, now, start


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    now(made.jobs.stop())
    assert not [call for call in made.clock.getDelayedCalls() if call.active()]


class TestStarting:
    def test_a_job_runs(self, kept: Kept) -> None:
        job = kept.run()
        described = job.describe()
        assert (described.job, described.identity, described.rule) == ("build", "alice", "any")
        assert (described.command, described.started_at, described.pid) == ("make all", 1000.0, PID)
        assert described.is_kept
        assert described.outcome is None
        assert described.expires_at is None
        assert kept.jobs.find("alice", "build") is job
        assert kept.jobs.find("bob", "build") is None
        assert [*kept.jobs.all()] == [job]

    def test_what_the_supervisor_is_told(self, kept: Kept) -> None:
        kept.run(terminal=Terminal(columns=132, rows=43), timeout_seconds=5.0, stdin=False)
        (order,) = kept.supervisors.orders
        assert order.launch.arguments == (b"make", b"all")
        assert order.launch.environment == {b"PATH": b"/bin"}
        assert order.launch.has_terminal
        assert (order.columns, order.rows) == (132, 43)
        assert order.time_limit is not None
        assert order.time_limit.seconds == 5.0
        assert (order.pause_seconds, order.has_input) == (2.0, False)
        assert Path(order.folder) == kept.folder / "alice" / "build"
        assert read_record(kept.jobs.find("alice", "build").folder) == order.record  # type: ignore[union-attr]

    def test_a_command_that_may_not_have_its_callers_input(self, kept: Kept) -> None:
        kept.run(takes_stdin=False)
        assert not kept.supervisors.orders[0].has_input

    def test_marks_are_never_the_same(self, kept: Kept) -> None:
        kept.run("one")
        kept.run("two")
        one, two = (order.record.mark for order in kept.supervisors.orders)
        assert one != two
        assert all(2**62 <= mark < 2**63 for mark in (one, two))

    @pytest.mark.parametrize(
        ("asked", "limit", "kept_bytes"),
        [(None, None, 50), (10, None, 10), (200, None, 100), (None, 20, 20), (10, 20, 10)],
    )
    def test_how_much_is_kept(
        self, tmp_path: Path, asked: int | None, limit: int | None, kept_bytes: int
    ) -> None:
        kept = Kept(tmp_path, spool_bytes=50, max_spool_bytes=100)
        job = kept.run(spool_bytes=asked, output_limit_bytes=limit)
        assert job.record.spool_bytes == kept_bytes

    @pytest.mark.parametrize(("asked", "seconds"), [(None, 50), (10, 10), (200, 100)])
    def test_how_long_it_is_kept(self, tmp_path: Path, asked: float | None, seconds: float) -> None:
        kept = Kept(tmp_path, expiry_seconds=50, max_expiry_seconds=100)
        assert kept.run(expiry_seconds=asked).record.expiry_seconds == seconds

    @pytest.mark.parametrize(("asked", "seconds"), [(None, 50), (10, 10), (200, 50)])
    def test_how_long_it_may_run(self, tmp_path: Path, asked: float | None, seconds: float) -> None:
        kept = Kept(tmp_path, max_timeout_seconds=50)
        kept.run(timeout_seconds=asked)
        limit = kept.supervisors.orders[0].time_limit
        assert limit is not None
        assert limit.seconds == seconds

    def test_a_name_is_taken_once(self, kept: Kept) -> None:
        kept.run()
        failure_of(kept.start(), JobExists)
        kept.run(identity="bob")
        kept.supervisors.answer = None
        kept.start("slow")
        failure_of(kept.start("slow"), JobExists)

    def test_a_program_that_is_not_there(self, kept: Kept) -> None:
        failed = Outcome(kind=OutcomeKind.FAILED_TO_START, errno="ENOENT")
        kept.supervisors.answer = Ended(failed)
        assert now(kept.start()) == failed
        assert [*kept.jobs.all()] == []
        assert not (kept.folder / "alice").exists()
        kept.supervisors.answer = Running(PID)
        kept.run()

    def test_a_job_that_has_ended_before_anybody_was_told_that_it_runs(self, kept: Kept) -> None:
        kept.supervisors.answer = None
        starting = kept.start()
        job = kept.supervisors.links[0].listener
        kept.link.say(Ended(ended()))
        assert now(starting) is job
        assert kept.jobs.find("alice", "build") is job

    def test_a_full_disk(self, kept: Kept) -> None:
        kept.supervisors.error = OSError(errno.ENOSPC, "No space left on device")
        error = failure_of(kept.start(), Unavailable)
        assert "no space left on device" in str(error)
        assert not (kept.folder / "alice").exists()

    def test_a_folder_that_cannot_be_made(self, kept: Kept) -> None:
        kept.folder.write_text("in the way")
        failure_of(kept.start(), Unavailable)

    def test_a_supervisor_that_dies_at_once(self, kept: Kept) -> None:
        kept.supervisors.answer = None
        starting = kept.start()
        kept.supervisors.die("build")
        kept.link.close()
        failure_of(starting, OutcomeUnknown)
        job = kept.jobs.find("alice", "build")
        assert job is not None
        assert str(job.describe().outcome) == "lost(build)"

    def test_a_caller_who_goes_meanwhile(self, kept: Kept) -> None:
        kept.supervisors.answer = None
        starting = kept.start()
        starting.cancel()
        failure_of(starting, CancelledError)
        kept.link.say(Running(PID))
        job = kept.jobs.find("alice", "build")
        assert job is not None
        assert kept.link.take(Kill) == [Kill(KillReason.CANCELLED, force=True)]
        kept.end(job)
        assert [*kept.jobs.all()] == []
        assert not (kept.folder / "alice").exists()

    def test_the_server_goes_meanwhile(self, kept: Kept) -> None:
        kept.supervisors.answer = None
        starting = kept.start()
        stopping = kept.jobs.stop()
        failure_of(starting, Unavailable)
        now(stopping)
        # The supervisor goes on, and the next daemon finds it.
        assert kept.link.is_closed
        kept.again().open()
        assert kept.jobs.find("alice", "build") is not None

    def test_the_server_goes_before_there_is_a_supervisor(self, kept: Kept) -> None:
        kept.supervisors.starting = Deferred()
        kept.supervisors.answer = None
        starting = kept.start()
        stopping = kept.jobs.stop()
        assert not stopping.called
        kept.supervisors.starting.callback(None)
        failure_of(starting, Unavailable)
        now(stopping)
        assert kept.link.is_closed


class TestRoom:
    @pytest.mark.parametrize(
        ("limits", "rule"),
        [
            ({"max_jobs": 2}, "kept.max_jobs"),
            ({"max_identity_jobs": 2}, "kept.max_identity_jobs"),
            ({"max_bytes": 209}, "kept.max_bytes"),
            ({"max_identity_bytes": 209}, "kept.max_identity_bytes"),
        ],
    )
    def test_there_is_none(self, tmp_path: Path, limits: dict[str, int], rule: str) -> None:
        kept = Kept(tmp_path, **limits)
        kept.run("one", spool_bytes=100)
        kept.run("two", spool_bytes=100)
        error = failure_of(kept.start("three", spool_bytes=10), TooManyJobs)
        assert error.details["rule"] == rule
        if "identity" in rule:
            kept.run("three", "bob", spool_bytes=100)

    def test_at_the_limit(self, tmp_path: Path) -> None:
        kept = Kept(tmp_path, max_jobs=2, max_identity_jobs=2, max_bytes=200)
        kept.run("one", spool_bytes=100)
        kept.run("two", spool_bytes=100)

    def test_one_that_has_ended_takes_what_it_has_written(self, tmp_path: Path) -> None:
        kept = Kept(tmp_path, max_bytes=100)
        job = kept.run("one", spool_bytes=100)
        failure_of(kept.start("two", spool_bytes=90), TooManyJobs)
        kept.write(job, b"1234567890")
        kept.end(job)
        failure_of(kept.start("two", spool_bytes=91), TooManyJobs)
        kept.run("two", spool_bytes=90)

    def test_one_that_is_just_starting_counts(self, tmp_path: Path) -> None:
        kept = Kept(tmp_path, max_jobs=1)
        kept.supervisors.answer = None
        kept.start("one")
        failure_of(kept.start("two"), TooManyJobs)

    def test_one_that_could_not_be_started_does_not(self, tmp_path: Path) -> None:
        kept = Kept(tmp_path, max_jobs=1)
        kept.supervisors.answer = Ended(Outcome(kind=OutcomeKind.FAILED_TO_START, errno="ENOENT"))
        now(kept.start("one"))
        kept.supervisors.answer = Running(PID)
        kept.run("two")


class TestLookingAfter:
    def test_waiting(self, kept: Kept) -> None:
        job = kept.run()
        waiting, other = start(job.outcome()), start(job.outcome())
        other.cancel()
        failure_of(other, CancelledError)
        assert not waiting.called
        kept.write(job, b"123", b"1")
        kept.end(job)
        outcome = now(waiting)
        assert (str(outcome), outcome.stdout_bytes) == ("exited(0)", 3)
        assert now(start(job.outcome())) is outcome
        described = job.describe()
        assert (described.pid, described.stdout_bytes, described.stderr_bytes) == (None, 3, 1)
        assert described.outcome is outcome
        assert described.expires_at == 1000 + job.record.expiry_seconds
        # Nobody holds on to what is over.
        assert kept.link.is_closed

    @pytest.mark.parametrize("force", [False, True])
    def test_killing(self, kept: Kept, force: bool) -> None:
        job = kept.run()
        killing = start(job.kill(force=force))
        assert kept.link.take(Kill) == [Kill(KillReason.CANCELLED, force=force)]
        assert not killing.called
        kept.end(job)
        assert str(now(killing)) == "exited(0)"
        assert str(now(start(job.kill(force=force)))) == "exited(0)"

    def test_signals(self, kept: Kept) -> None:
        job = kept.run()
        now(start(job.signal(10)))
        assert kept.link.take(Signal) == [Signal(10)]
        kept.end(job)
        now(start(job.signal(10)))
        assert kept.link.take(Signal) == []

    def test_the_size_of_a_terminal(self, kept: Kept) -> None:
        failure_of(start(kept.run("pipes").resize(80, 24)), NoTerminal)
        job = kept.run(terminal=Terminal())
        assert job.describe().has_terminal
        now(start(job.resize(20, 10)))
        assert kept.link.take(Resize) == [Resize(20, 10)]

    def test_what_it_has_written_by_now(self, kept: Kept) -> None:
        job = kept.run()
        kept.write(job, b"123", b"1")
        assert (job.describe().stdout_bytes, job.describe().stderr_bytes) == (3, 1)
        kept.link.say(Progress(0, 5, 1))
        assert job.describe().stdout_bytes == 5

    def test_removing(self, kept: Kept) -> None:
        job = kept.run()
        failure_of(start(job.remove()), JobRunning)
        kept.end(job)
        now(start(job.remove()))
        assert kept.jobs.find("alice", "build") is None
        assert not job.folder.path.exists()
        failure_of(start(job.remove()), JobNotFound)
        # The name is free, and what has it now is another job.
        other = kept.run()
        failure_of(start(job.remove()), JobNotFound)
        assert kept.jobs.find("alice", "build") is other
        assert other.folder.path.exists()


class TestAnotherDaemon:
    def test_a_job_that_runs(self, kept: Kept) -> None:
        kept.run()
        now(kept.jobs.stop())
        kept.again().open()
        job = kept.jobs.find("alice", "build")
        assert job is not None
        waiting = start(job.outcome())
        kept.link.say(Running(PID, 7, 3, 0))
        described = job.describe()
        assert (described.pid, described.stdin_bytes, described.stdout_bytes) == (PID, 7, 3)
        kept.end(job)
        assert str(now(waiting)) == "exited(0)"

    def test_a_job_that_has_ended_meanwhile(self, kept: Kept) -> None:
        job = kept.run()
        now(kept.jobs.stop())
        kept.write(job, b"12")
        write_outcome(job.folder, ended(3, stdout_bytes=2))
        os.utime(job.folder.outcome, (900, 900))
        kept.supervisors.die("build")
        kept.again().open()
        found = kept.jobs.find("alice", "build")
        assert found is not None
        assert str(now(start(found.outcome()))) == "exited(3)"
        assert found.describe().expires_at == 900 + found.record.expiry_seconds

    def test_a_job_whose_supervisor_was_killed(self, kept: Kept) -> None:
        job = kept.run()
        now(kept.jobs.stop())
        kept.write(job, b"12")
        kept.supervisors.die("build")
        kept.again().open()
        found = kept.jobs.find("alice", "build")
        assert found is not None
        outcome = now(start(found.outcome()))
        assert (str(outcome), outcome.stdout_bytes) == ("lost(build)", 2)
        assert not outcome.is_success
        # It stays lost.
        assert read_outcome(job.folder) == outcome
        now(start(found.remove()))

    def test_what_a_crash_has_left_before_there_was_a_job(self, kept: Kept) -> None:
        job = kept.run()
        job.folder.record.unlink()
        now(kept.jobs.stop())
        kept.again().open()
        # Somebody may still be about to write it.
        assert job.folder.path.exists()
        kept.supervisors.die("build")
        kept.again().open()
        assert [*kept.jobs.all()] == []
        assert not job.folder.path.exists()

    @pytest.mark.parametrize("is_supervised", [False, True])
    def test_what_another_version_has_written_is_left_alone(
        self, kept: Kept, is_supervised: bool
    ) -> None:
        job = kept.run()
        job.folder.record.write_text('{"written": "by another version"}')
        now(kept.jobs.stop())
        if not is_supervised:
            kept.supervisors.die("build")
        kept.again().open()
        assert [*kept.jobs.all()] == []
        assert job.folder.path.exists()
        failure_of(kept.start(), JobExists)

    def test_one_that_cannot_be_read_keeps_no_daemon_from_starting(self, kept: Kept) -> None:
        bad, good = kept.run("bad"), kept.run("good")
        now(kept.jobs.stop())
        bad.folder.record.unlink()
        bad.folder.record.symlink_to("/etc/passwd")
        os.mkfifo(good.folder.path / "pipe")
        good.folder.log.symlink_to("pipe")
        kept.supervisors.die("good")
        kept.again().open()
        assert [job.record.job for job in kept.jobs.all()] == ["good"]

    def test_an_outcome_that_another_version_has_written(self, kept: Kept) -> None:
        job = kept.run()
        job.folder.outcome.write_text('{"kind": "evaporated"}')
        now(kept.jobs.stop())
        kept.supervisors.die("build")
        kept.again().open()
        found = kept.jobs.find("alice", "build")
        assert found is not None
        assert str(now(start(found.outcome()))) == "lost(build)"
        assert "evaporated" in job.folder.outcome.read_text()

    def test_the_oldest_first(self, kept: Kept) -> None:
        for name in "cab":
            kept.run(name)
            kept.clock.advance(1)
        now(kept.jobs.stop())
        kept.again().open()
        assert [job.record.job for job in kept.jobs.all()] == [*"cab"]

    def test_who_waits_while_the_server_goes(self, kept: Kept) -> None:
        job = kept.run()
        waiting = start(job.outcome())
        now(kept.jobs.stop())
        failure_of(waiting, Unavailable)
        failure_of(start(job.outcome()), Unavailable)

    def test_who_waits_for_a_job_that_has_ended(self, kept: Kept) -> None:
        job = kept.run()
        kept.end(job)
        now(kept.jobs.stop())
        assert str(now(start(job.outcome()))) == "exited(0)"


class TestLosingTheSupervisor:
    def test_it_was_killed(self, kept: Kept) -> None:
        job = kept.run()
        waiting = start(job.outcome())
        kept.supervisors.die("build")
        kept.link.close()
        assert str(now(waiting)) == "lost(build)"

    def test_it_has_ended_without_a_word(self, kept: Kept) -> None:
        job = kept.run()
        waiting = start(job.outcome())
        write_outcome(job.folder, ended(3))
        kept.supervisors.die("build")
        kept.link.close()
        assert str(now(waiting)) == "exited(3)"

    def test_it_lives(self, kept: Kept) -> None:
        job = kept.run()
        waiting = start(job.outcome())
        kept.link.close()
        # Not at once: what made it hang up may do so again.
        kept.clock.advance(0.9)
        assert len(kept.supervisors.links) == 1
        kept.clock.advance(0.1)
        assert len(kept.supervisors.links) == 2
        kept.link.say(Running(PID))
        kept.end(job)
        assert str(now(waiting)) == "exited(0)"

    def test_it_lives_and_does_not_answer_at_once(self, kept: Kept) -> None:
        job = kept.run()
        kept.supervisors.error = OSError(errno.EAGAIN, "busy")
        kept.link.close()
        failure_of(start(job.signal(10)), Unavailable)
        killing = start(job.kill(force=False))
        kept.clock.advance(1.5)
        kept.supervisors.error = None
        assert len(kept.supervisors.links) == 1
        kept.clock.pump([1.0] * 3)
        kept.link.say(Running(PID))
        # What was to be said before is said now.
        assert kept.link.take(Kill) == [Kill(KillReason.CANCELLED)]
        kept.end(job)
        assert str(now(killing)) == "exited(0)"

    def test_the_server_goes_while_it_is_looked_for(self, kept: Kept) -> None:
        kept.run()
        kept.supervisors.error = OSError(errno.EAGAIN, "busy")
        kept.link.close()


class TestTakingBack:
    @pytest.mark.parametrize(
        ("rule", "identity", "is_ended"),
        [
            ("any", Identity("alice", frozenset({"exec"}), exec=("any",)), False),
            ("any", Identity("alice", frozenset({"exec"}), exec=("shell",)), False),
            ("any", Identity("alice", frozenset({EVERYTHING})), False),
            ("shell", Identity("alice", frozenset({"exec"}), exec=("any",)), True),
            ("/bin/df", Identity("alice", frozenset({"exec"}), exec=("x", "/bin/df")), False),
            ("/bin/df", Identity("alice", frozenset({"exec"}), exec=("x",)), True),
            ("any", Identity("alice", frozenset({"files"}), exec=("any",)), True),
            ("any", None, True),
        ],
    )
    def test_who_may_not_run_it_any_more(
        self, kept: Kept, rule: str, identity: Identity | None, is_ended: bool
    ) -> None:
        kept.identities["alice"] = Identity("alice", frozenset({"exec"}), exec=(rule,))
        job = kept.run(rule=rule)
        kept.run("other", "bob")
        mine, others = kept.supervisors.links
        assert mine.take(Kill) == []
        del kept.identities["alice"]
        if identity is not None:
            kept.identities["alice"] = identity
        kept.jobs.reconsider()
        assert mine.take(Kill) == ([Kill(KillReason.REVOKED)] if is_ended else [])
        assert others.take(Kill) == []
        assert job.describe().outcome is None

    def test_while_no_daemon_was_there(self, kept: Kept) -> None:
        kept.run()
        now(kept.jobs.stop())
        del kept.identities["alice"]
        kept.again().open()
        assert kept.link.take(Kill) == [Kill(KillReason.REVOKED)]

    def test_while_it_was_started(self, kept: Kept) -> None:
        kept.supervisors.answer = None
        starting = kept.start()
        del kept.identities["alice"]
        kept.jobs.reconsider()
        kept.link.say(Running(PID))
        now(starting)
        assert kept.link.take(Kill) == [Kill(KillReason.REVOKED)]

    def test_a_job_that_has_ended_stays(self, kept: Kept) -> None:
        job = kept.run()
        kept.end(job)
        del kept.identities["alice"]
        kept.jobs.reconsider()
        assert [*kept.jobs.all()] == [job]


class TestTellingHowTheyEnd:
    def test_of_those_that_end(self, kept: Kept) -> None:
        job = kept.run()
        assert kept.told == []
        kept.end(job)
        assert kept.told == [("alice", "build", "exited(0)")]
        now(kept.jobs.stop())
        kept.again().open()
        assert len(kept.told) == 1

    def test_of_those_that_have_ended_when_no_daemon_ran(self, kept: Kept) -> None:
        job = kept.run()
        now(kept.jobs.stop())
        kept.supervisors.die("build")
        write_outcome(job.folder, ended(3))
        for _ in range(2):
            kept.again().open()
            assert kept.told == [("alice", "build", "exited(3)")]
            now(kept.jobs.stop())


class TestExpiring:
    def test_a_job_goes_when_its_time_has_come(self, kept: Kept) -> None:
        job = kept.run(expiry_seconds=60)
        kept.clock.advance(1000)
        assert job.folder.path.exists()
        kept.end(job)
        kept.clock.advance(59.9)
        assert job.folder.path.exists()
        kept.clock.advance(0.1)
        assert not job.folder.path.exists()
        assert [*kept.jobs.all()] == []

    def test_the_first_one_first(self, kept: Kept) -> None:
        for name, seconds in (("late", 100), ("soon", 10)):
            kept.end(kept.run(name, expiry_seconds=seconds))
        kept.clock.advance(10)
        assert [job.record.job for job in kept.jobs.all()] == ["late"]
        kept.clock.advance(90)
        assert [*kept.jobs.all()] == []

    def test_one_that_has_expired_while_nobody_looked(self, kept: Kept) -> None:
        kept.end(kept.run(expiry_seconds=60))
        now(kept.jobs.stop())
        kept.clock.advance(1000)
        kept.again().open()
        assert len([*kept.jobs.all()]) == 1
        kept.clock.advance(1)
        assert [*kept.jobs.all()] == []

    def test_a_clock_that_was_wrong(self, kept: Kept) -> None:
        """What has ended in the future has ended now."""
        job = kept.run(expiry_seconds=60)
        kept.end(job)
        os.utime(job.folder.outcome, (1e9, 1e9))
        now(kept.jobs.stop())
        kept.again().open()
        kept.clock.advance(60)
        assert [*kept.jobs.all()] == []

    def test_one_that_cannot_be_removed_stays(self, kept: Kept) -> None:
        job = kept.run(expiry_seconds=60)
        kept.end(job)
        path = job.folder.path
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
        kept.clock.advance(60)
        assert [*kept.jobs.all()] == [job]
        # It is tried again, and not all the time.
        path.unlink()
        kept.clock.advance(1)
        assert [*kept.jobs.all()] == []
