"""The log in the reactor's thread: batches, their order, and what becomes of those who wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import capturedLogs, formatEvent

from sockserv.errors import AuditUnavailable, StateError
from sockserv.testing import MemoryNetwork
from sockserv.trust.audit import Event, Record
from sockserv.trust.audit.folder import AuditFolder
from sockserv.trust.audit.log import AuditLog, OnFailure
from sockserv.trust.audit.verify import verify
from sockserv.trust.audit.writer import AuditWriter


class Disk:
    """The thread that writes; a test says when it gets on, and how."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self.batches: list[int] = []
        self.is_stuck = False
        self.error: Exception | None = None
        self._held: list[Callable[[], None]] = []

    def in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def work() -> None:
            if self.is_stuck:
                self._held.append(work)
                return
            self.batches.append(len(args[0]))
            maybeDeferred(self._call, function, *args).chainDeferred(done)

        self._network.call_soon(work)
        return done

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.error is not None:
            raise self.error
        return function(*args)

    def come_back(self) -> None:
        self.is_stuck = False
        for work in self._held:
            work()


class Bench:
    """A log, its disk, and the time."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.network = MemoryNetwork()
        self.network.clock.advance(1_000_000_000)
        self.disk = Disk(self.network)
        self.folder = AuditFolder(path / "audit")
        self.log = AuditLog(
            self.network.clock,
            AuditWriter(self.folder.path, max_file_bytes=10**9, keep_files=3),
            in_thread=self.disk.in_thread,
            **settings,
        )
        self.log.open()

    def lines(self) -> list[Any]:
        return [json.loads(line.content) for line in self.folder.lines(1)]

    def events(self) -> list[str]:
        return [line.get("op", line["event"]) for line in self.lines()]

    def close(self) -> None:
        self.network.run(self.log.close())
        assert self.network.clock.getDelayedCalls() == []
        assert verify(self.folder).faults == []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def begin(op: str) -> Record:
    return Record(event=Event.BEGIN, op=op)


def outcome_of(waiting: Deferred[None]) -> list[Any]:
    outcome: list[Any] = []
    waiting.addCallbacks(outcome.append, lambda failure: outcome.append(failure.value))
    return outcome


def test_it_begins_and_ends(bench: Bench) -> None:
    bench.network.flush()
    assert bench.lines()[0]["event"] == "start"
    bench.close()
    assert bench.events() == ["start", "stop"]
    assert [line["time"] for line in bench.lines()] == ["2001-09-09T01:46:40.000000Z"] * 2


def test_a_record_that_nobody_waits_for(bench: Bench) -> None:
    bench.log.record(begin("a"))
    bench.network.flush()
    assert bench.events() == ["start", "a"]
    bench.close()


def test_whoever_waits_goes_on_when_the_disk_has_it(bench: Bench) -> None:
    bench.disk.is_stuck = True
    outcome = outcome_of(bench.log.write(begin("a")))
    bench.network.flush()
    assert outcome == []
    bench.disk.come_back()
    assert outcome == [None]
    assert bench.events() == ["start", "a"]
    bench.close()


def test_the_records_of_one_turn_share_a_batch_and_so_do_those_that_come_meanwhile(
    bench: Bench,
) -> None:
    for number in range(64):
        bench.log.write(begin(str(number)))
    bench.disk.is_stuck = True
    bench.network.flush()
    for number in range(64, 96):
        bench.log.write(begin(str(number)))
    bench.network.flush()
    bench.disk.come_back()
    bench.network.flush()
    assert bench.disk.batches == [65, 32]
    assert bench.events() == ["start", *map(str, range(96))]
    bench.close()


def test_the_time_is_when_it_happened(bench: Bench) -> None:
    bench.network.flush()
    bench.disk.is_stuck = True
    bench.log.record(begin("a"))
    bench.network.advance(2.5)
    bench.disk.come_back()
    assert bench.lines()[-1]["time"] == "2001-09-09T01:46:40.000000Z"
    bench.close()


def test_who_goes_away_takes_nothing_back(bench: Bench) -> None:
    waiting = bench.log.write(begin("a"))
    outcome = outcome_of(waiting)
    waiting.cancel()
    bench.network.flush()
    assert isinstance(outcome[0], CancelledError)
    assert bench.events() == ["start", "a"]
    bench.close()


def test_one_log_for_one_folder(bench: Bench) -> None:
    other = AuditLog(
        bench.network.clock,
        AuditWriter(bench.folder.path, max_file_bytes=1, keep_files=1),
        in_thread=bench.disk.in_thread,
    )
    with pytest.raises(StateError, match="another process writes"):
        other.open()
    bench.close()


def test_nothing_is_written_once_it_is_closed(bench: Bench) -> None:
    """A call may outlive its server, as one that waits for a thread."""
    bench.network.flush()
    bench.close()
    bench.log.record(begin("late"))
    with pytest.raises(AuditUnavailable, match="it is closed"):
        bench.network.run(bench.log.write(begin("late")))
    bench.network.flush()
    assert bench.events() == ["start", "stop"]


def test_one_that_nobody_has_used(bench: Bench) -> None:
    bench.log.abandon()
    assert bench.network.clock.getDelayedCalls() == []
    assert bench.events() == []


class TestAFullDisk:
    def test_whoever_waits_is_refused(self, bench: Bench) -> None:
        bench.disk.error = OSError(28, "No space left on device")
        outcome = outcome_of(bench.log.write(begin("a")))
        bench.network.flush()
        (error,) = outcome
        assert isinstance(error, AuditUnavailable)
        assert str(error) == (
            "the audit log cannot be written (no space left on device), so this was not done"
        )
        bench.disk.error = None
        bench.close()

    def test_what_was_lost_is_said_as_soon_as_it_can_be(self, bench: Bench) -> None:
        bench.network.flush()
        bench.disk.error = OSError(28, "No space left on device")
        for number in range(3):
            bench.log.record(begin(str(number)))
            bench.network.flush()
            bench.network.advance(1)
        bench.disk.error = None
        bench.network.run(bench.log.write(begin("a")))
        bench.network.run(bench.log.write(begin("b")))
        assert bench.events() == ["start", "lost", "a", "b"]
        assert bench.lines()[1]["facts"] == {
            "records": 3,
            "since": "2001-09-09T01:46:40.000000Z",
        }
        bench.close()

    def test_at_the_start(self, bench: Bench) -> None:
        """The daemon runs, and says later what it found."""
        bench.disk.error = OSError(28, "No space left on device")
        bench.network.flush()
        bench.disk.error = None
        bench.log.record(begin("a"))
        bench.network.flush()
        assert bench.events() == ["start", "a"]
        bench.close()

    def test_at_the_end(self, bench: Bench) -> None:
        bench.network.flush()
        bench.disk.error = OSError(28, "No space left on device")
        bench.network.run(bench.log.close())
        assert bench.events() == ["start"]

    def test_the_daemons_log_hears_of_it_once(self, bench: Bench) -> None:
        with capturedLogs() as events:
            bench.disk.error = OSError(28, "No space left on device")
            for _ in range(3):
                bench.log.record(begin("a"))
                bench.network.flush()
            bench.disk.error = None
            bench.log.record(begin("b"))
            bench.network.flush()
        assert [(event["log_level"].name, formatEvent(event)) for event in events] == [
            (
                "critical",
                "the audit log cannot be written: no space left on device; "
                "operations that change something are refused",
            ),
            ("info", "the audit log can be written again"),
        ]
        bench.close()

    def test_where_it_is_to_be_passed_over(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, on_failure=OnFailure.CONTINUE)
        bench.disk.error = OSError(28, "No space left on device")
        assert bench.network.run(bench.log.write(begin("a"))) is None
        bench.disk.error = None
        bench.close()
        assert bench.events() == ["start", "lost", "stop"]


class TestADiskThatDoesNotAnswer:
    def test_nobody_waits_for_ever(self, bench: Bench) -> None:
        bench.network.flush()
        bench.disk.is_stuck = True
        outcomes = outcome_of(bench.log.write(begin("a")))
        bench.network.flush()
        later = outcome_of(bench.log.write(begin("b")))
        bench.network.advance(9.9)
        assert outcomes + later == []
        bench.network.advance(0.1)
        assert [str(error) for error in outcomes + later] == [
            "the audit log cannot be written (the disk has not answered in time), "
            "so this was not done"
        ] * 2
        # From now on nobody waits at all.
        assert isinstance(outcome_of(bench.log.write(begin("c")))[0], AuditUnavailable)
        bench.disk.come_back()
        bench.network.flush()
        assert bench.events() == ["start", "a", "lost", "b"]
        assert bench.network.run(bench.log.write(begin("d"))) is None
        bench.close()

    def test_the_end_is_not_held_up_for_ever(self, bench: Bench) -> None:
        bench.network.flush()
        bench.disk.is_stuck = True
        closing = outcome_of(bench.log.close())
        bench.network.advance(10)
        assert closing == [None]


class TestAsManyWaitAsMayAndNotOneMore:
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        bench = Bench(tmp_path, max_waiting_records=100)
        bench.network.flush()
        bench.disk.is_stuck = True
        bench.log.record(begin("first"))
        bench.network.flush()
        return bench

    def end(self, bench: Bench) -> None:
        bench.disk.come_back()
        bench.network.flush()
        bench.close()

    def test_of_those_who_wait(self, bench: Bench) -> None:
        outcomes = [outcome_of(bench.log.write(begin("x"))) for _ in range(100)]
        with capturedLogs() as events:
            for _ in range(2):
                (error,) = outcome_of(bench.log.write(begin("one more")))
                assert isinstance(error, AuditUnavailable)
        (said,) = events
        assert "too many records wait for the disk; operations" in (formatEvent(said) or "")
        assert not any(outcomes)
        self.end(bench)
        assert all(outcome == [None] for outcome in outcomes)
        assert bench.events() == ["start", "first", "lost", *["x"] * 100, "stop"]

    def test_of_others(self, bench: Bench) -> None:
        """They leave places for those who wait."""
        for _ in range(51):
            bench.log.record(begin("x"))
        outcomes = [outcome_of(bench.log.write(begin("y"))) for _ in range(50)]
        bench.log.record(begin("z"))
        assert not any(outcomes)
        self.end(bench)
        lines = ["start", "first", "lost", *["x"] * 50, *["y"] * 50, "stop"]
        assert bench.events() == lines
        assert bench.lines()[2]["facts"]["records"] == 2
