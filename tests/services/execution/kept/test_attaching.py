"""Being attached to a kept job: its output from any offset on, and writing to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.errors import CallEnded, Unavailable
from sockserv.execution.arguments import AttachArguments
from sockserv.execution.errors import OutputGone, StandardInputBusy
from sockserv.execution.outcome import Outcome
from sockserv.keeping.messages import (
    INPUT_WINDOW_BYTES,
    EndInput,
    Input,
    InputOpened,
    InputTaken,
    LeaveInput,
    OpenInput,
    Progress,
    Running,
    Watch,
)
from sockserv.keeping.spool import PIECE_BYTES
from sockserv.services.execution.kept.job import SupervisedJob
from tests.services.execution.kept.kit import PID, Body, FakeCall, Kept, failure_of, now, start


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    now(made.jobs.stop())


def call_for(body: Body | None = None, **args: Any) -> FakeCall:
    return FakeCall(AttachArguments(job="build", **args), body=body)


def tell(kept: Kept, job: SupervisedJob) -> None:
    kept.link.say(Progress(0, *job.folder.spooled_bytes()))


class TestOutput:
    def test_of_a_job_that_runs(self, kept: Kept) -> None:
        job, call = kept.run(), call_for()
        kept.write(job, b"before ")
        attached = kept.attach(job, call)
        assert call.sent == {1: b"before "}
        assert kept.link.take(Watch) == [Watch(7, 0)]
        kept.write(job, b"after", b"oh")
        assert call.sent == {1: b"before "}
        tell(kept, job)
        assert call.sent == {1: b"before after", 2: b"oh"}
        # It is asked for more only when all of that has gone.
        assert kept.link.take(Watch) == [Watch(12, 2)]
        kept.write(job, b"!")
        kept.end(job)
        outcome = now(attached)
        assert call.sent == {1: b"before after!", 2: b"oh"}
        assert (outcome.stdout_bytes, outcome.stderr_bytes) == (13, 2)

    @pytest.mark.parametrize("offsets", [(0, 0), (3, 1), (10, 2)])
    def test_of_a_job_that_has_ended(self, kept: Kept, offsets: tuple[int, int]) -> None:
        job = kept.run()
        kept.write(job, b"0123456789", b"ab")
        kept.end(job)
        call = call_for(stdout_offset=offsets[0], stderr_offset=offsets[1])
        outcome = now(kept.attach(job, call))
        assert call.sent.get(1, b"") == b"0123456789"[offsets[0] :]
        assert call.sent.get(2, b"") == b"ab"[offsets[1] :]
        # An offset and what came from there on make up the number of its stream.
        assert (outcome.stdout_bytes, outcome.stderr_bytes) == (10, 2)

    @pytest.mark.parametrize("offsets", [(11, 0), (0, 3)])
    @pytest.mark.parametrize("has_ended", [False, True])
    def test_that_it_has_not_written(
        self, kept: Kept, offsets: tuple[int, int], has_ended: bool
    ) -> None:
        job = kept.run()
        kept.write(job, b"0123456789", b"ab")
        if has_ended:
            kept.end(job)
        call = call_for(stdout_offset=offsets[0], stderr_offset=offsets[1])
        error = failure_of(kept.attach(job, call), OutputGone)
        assert error.details == {"stdout_bytes": 10, "stderr_bytes": 2}
        assert call.sent == {}

    def test_that_is_removed_meanwhile(self, kept: Kept) -> None:
        job, call = kept.run(), call_for()
        kept.write(job, b"x" * PIECE_BYTES + b"rest")
        kept.end(job)
        call.is_slow = True
        attached = kept.attach(job, call)
        now(start(job.remove()))
        call.take()
        failure_of(attached, OutputGone)

    def test_both_streams_take_turns(self, kept: Kept) -> None:
        job, call = kept.run(), call_for()
        kept.write(job, b"o" * (PIECE_BYTES + 1), b"e")
        kept.end(job)
        call.is_slow = True
        attached = kept.attach(job, call)
        assert {stream: len(data) for stream, data in call.sent.items()} == {1: PIECE_BYTES}
        call.take()
        assert call.sent[2] == b"e"
        call.is_slow = False
        call.take()
        assert len(call.sent[1]) == PIECE_BYTES + 1
        now(attached)

    def test_nobody_waits_for_a_slow_reader(self, kept: Kept) -> None:
        job, slow, fast = kept.run(), call_for(), call_for()
        slow.is_slow = True
        kept.write(job, b"one ")
        attached, other = kept.attach(job, slow), kept.attach(job, fast)
        kept.write(job, b"two ")
        tell(kept, job)
        assert (slow.sent, fast.sent) == ({1: b"one "}, {1: b"one two "})
        kept.write(job, b"three")
        kept.end(job)
        assert now(other).stdout_bytes == 13
        assert not attached.called
        slow.is_slow = False
        slow.take()
        assert slow.sent == {1: b"one two three"}
        now(attached)

    def test_one_question_for_all(self, kept: Kept) -> None:
        job = kept.run()
        attached = [kept.attach(job, call_for()) for _ in range(3)]
        assert kept.link.take(Watch) == [Watch(0, 0)]
        for each in attached:
            each.cancel()
            failure_of(each, CancelledError)
        kept.write(job, b"x")
        tell(kept, job)
        # Nobody wants to know more.
        assert kept.link.take(Watch) == []

    def test_of_a_job_that_is_reached_again(self, kept: Kept) -> None:
        job, call = kept.run(), call_for()
        attached = kept.attach(job, call)
        kept.link.close()
        kept.write(job, b"meanwhile")
        kept.clock.advance(1)
        kept.link.say(Running(PID, 0, 9, 0))
        assert call.sent == {1: b"meanwhile"}
        assert kept.link.take(Watch) == [Watch(9, 0)]
        kept.end(job)
        now(attached)

    def test_of_a_job_that_is_lost(self, kept: Kept) -> None:
        job, call = kept.run(), call_for()
        kept.write(job, b"something")
        attached = kept.attach(job, call)
        kept.write(job, b" more")
        kept.supervisors.die("build")
        kept.link.close()
        assert str(now(attached)) == "lost(build)"
        assert call.sent == {1: b"something more"}

    def test_while_the_server_goes(self, kept: Kept) -> None:
        attached = kept.attach(kept.run(), call_for())
        now(kept.jobs.stop())
        failure_of(attached, Unavailable)


class TestInput:
    def test_it_is_passed_on(self, kept: Kept) -> None:
        body = Body([b"one"])
        job, call = kept.run(), call_for(body, stdin=True)
        attached = kept.attach(job, call)
        assert kept.link.take(Input) == []
        self.answer(kept, 0)
        assert kept.link.take(Input) == [Input(b"one")]
        body.come(b"two", end=True)
        assert kept.link.take(Input) == [Input(b"two")]
        assert kept.link.take(EndInput) == [EndInput()]
        assert kept.link.take(LeaveInput) == [LeaveInput()]
        # The output goes on.
        kept.write(job, b"done")
        kept.end(job)
        now(attached)
        assert call.sent == {1: b"done"}

    def answer(self, kept: Kept, next_offset: int | None, *, taken: int = 0) -> None:
        """What a supervisor says to whoever wants to write."""
        *_, last = kept.link.take(OpenInput)
        is_open = last.offset == next_offset
        kept.link.say(InputTaken(taken, is_open=next_offset is not None))
        kept.link.say(InputOpened(is_open, next_offset, last.number))

    def open(
        self, kept: Kept, job: SupervisedJob, body: Body, offset: int = 0
    ) -> Deferred[Outcome]:
        attached = kept.attach(job, call_for(body, stdin=True, stdin_offset=offset))
        self.answer(kept, offset, taken=offset)
        return attached

    def test_a_job_that_does_not_read(self, kept: Kept) -> None:
        body = Body([b"x" * (INPUT_WINDOW_BYTES + 10), b"y"])
        job = kept.run()
        attached = self.open(kept, job, body)
        assert sum(len(each.data) for each in kept.link.take(Input)) == INPUT_WINDOW_BYTES
        assert body.pieces == [b"y"]
        kept.link.say(InputTaken(4))
        assert kept.link.take(Input) == [Input(b"x" * 4)]
        kept.link.say(InputTaken(100))
        assert kept.link.take(Input) == [Input(b"x" * 6), Input(b"y")]
        kept.end(job)
        now(attached)

    def test_going_on_where_somebody_has_stopped(self, kept: Kept) -> None:
        job = kept.run()
        first = self.open(kept, job, Body([b"12345"]))
        first.cancel()
        failure_of(first, CancelledError)
        assert kept.link.take(LeaveInput) == [LeaveInput()]
        assert kept.link.take(EndInput) == []
        second = self.open(kept, job, Body([b"67"]), offset=5)
        assert kept.link.take(Input)[-1] == Input(b"67")
        second.cancel()
        failure_of(second, CancelledError)

    def test_from_the_wrong_byte_on(self, kept: Kept) -> None:
        job, call = kept.run(), call_for(stdin=True, stdin_offset=3)
        kept.write(job, b"output")
        attached = kept.attach(job, call)
        self.answer(kept, 5, taken=1)
        error = failure_of(attached, StandardInputBusy)
        assert error.details == {"stdin_bytes": 5}
        assert call.sent == {}
        # Somebody else may try.
        self.open(kept, job, Body([b"x"]), offset=5)
        assert kept.link.take(Input) == [Input(b"x")]

    def test_to_a_job_that_reads_no_more(self, kept: Kept) -> None:
        attached = kept.attach(kept.run(), call_for(stdin=True))
        self.answer(kept, None)
        failure_of(attached, StandardInputBusy)

    def test_two_at_once(self, kept: Kept) -> None:
        job = kept.run()
        first = self.open(kept, job, Body())
        failure_of(kept.attach(job, call_for(stdin=True)), StandardInputBusy)
        assert kept.link.take(OpenInput) == []
        # One who only watches is welcome.
        watching = kept.attach(job, call_for())
        kept.end(job)
        now(first)
        now(watching)

    def test_a_job_that_stops_reading(self, kept: Kept) -> None:
        body = Body([b"x"])
        job = kept.run()
        attached = self.open(kept, job, body)
        kept.link.say(InputTaken(0, is_open=False))
        body.come(b"more")
        assert kept.link.take(Input) == [Input(b"x")]
        assert kept.link.take(EndInput) == []
        kept.end(job)
        now(attached)

    def test_a_body_that_breaks_off_is_no_end(self, kept: Kept) -> None:
        class Broken(Body):
            async def __anext__(self) -> bytes:
                raise CallEnded("the caller is gone")

        job = kept.run()
        attached = self.open(kept, job, Broken())
        assert kept.link.take(EndInput) == []
        assert kept.link.take(LeaveInput) == [LeaveInput()]
        kept.end(job)
        now(attached)

    def test_to_a_job_that_has_ended(self, kept: Kept) -> None:
        job, call = kept.run(), call_for(stdin=True)
        kept.write(job, b"done")
        kept.end(job)
        now(kept.attach(job, call))
        assert call.sent == {1: b"done"}

    def test_to_a_job_that_ends_just_then(self, kept: Kept) -> None:
        job, call = kept.run(), call_for(stdin=True)
        attached = kept.attach(job, call)
        kept.write(job, b"done")
        kept.end(job)
        assert str(now(attached)) == "exited(0)"
        assert call.sent == {1: b"done"}

    def test_a_caller_who_goes_before_it_may_write(self, kept: Kept) -> None:
        job = kept.run()
        attached = kept.attach(job, call_for(stdin=True))
        attached.cancel()
        failure_of(attached, CancelledError)
        other = kept.attach(job, call_for(Body([b"x"]), stdin=True, stdin_offset=7))
        first, second = kept.link.take(OpenInput)
        # The answer is not for the one who waits now, who is at another place.
        kept.link.say(InputOpened(True, 0, first.number))
        assert kept.link.take(Input) == []
        kept.link.say(InputOpened(False, 0, second.number))
        failure_of(other, StandardInputBusy)
