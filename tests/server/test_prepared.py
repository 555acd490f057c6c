"""Operations that prepare what they do while the audit log is still being written."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from sockserv.errors import AuditUnavailable, CallError
from sockserv.services import Audit, Call, NoArguments, Service, operation
from sockserv.testing import MemoryServer
from tests.server.test_audited import ALICE, Sink


class Refused(CallError):
    code = "work.refused"


class Work(Service):
    """Says what it has done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @operation("work", permission="work", audit=Audit.PREPARED)
    async def work(self, call: Call[NoArguments]) -> str:
        self.done.append("prepared")
        await call.recorded()
        await call.recorded()  # which costs nothing then
        self.done.append("done")
        return "well"

    @operation("work.refused", permission="work", audit=Audit.PREPARED)
    async def refused(self, call: Call[NoArguments]) -> None:
        raise Refused("it is not wanted")

    @operation("work.never", permission="work", audit=Audit.PREPARED)
    async def never(self, call: Call[NoArguments]) -> None:
        await call.recorded()
        await Deferred()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def work() -> Work:
    return Work()


def outcomes(sink: Sink) -> list[str | None]:
    return [line.get("outcome") for line in sink.take()]


def test_it_is_entered_at_once_and_does_nothing_before_it_is_written(
    sink: Sink, work: Work
) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.is_slow = True
        calling = client.call("work")
        memory.flush()
        assert work.done == ["prepared"]
        sink.flush()
        memory.flush()
        assert work.done == ["prepared", "done"]
        assert not calling.called
        sink.flush()
        assert memory.run(calling).result == "well"
        assert outcomes(sink) == [None, "ok"]


def test_without_a_log_it_does_not_wait(work: Work) -> None:
    with MemoryServer([work]) as memory:
        assert memory.run(memory.connect(ALICE).call("work")).result == "well"


def test_who_is_refused_waits_for_the_end_of_it_only(sink: Sink, work: Work) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.is_slow = True
        calling = client.call("work.refused")
        memory.flush()
        assert not calling.called
        sink.flush()
        with pytest.raises(Refused):
            memory.run(calling)
        assert outcomes(sink) == [None, "work.refused"]


def test_nothing_is_done_that_cannot_be_written(sink: Sink, work: Work) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.error = AuditUnavailable("the disk is full")
        with pytest.raises(AuditUnavailable, match="the disk is full") as caught:
            memory.run(client.call("work"))
        assert caught.value.details == {}
        assert work.done == ["prepared"]
        assert outcomes(sink) == ["audit-unavailable"]


def test_a_refusal_that_cannot_be_written_is_not_said_to_be_carried_out(
    sink: Sink, work: Work
) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.error = AuditUnavailable("the disk is full")
        with pytest.raises(AuditUnavailable, match="the disk is full") as caught:
            memory.run(client.call("work.refused"))
        assert caught.value.details == {}


def test_what_was_done_is_said_to_be(sink: Sink, work: Work) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.is_slow = True
        calling = client.call("work")
        memory.flush()
        sink.error = AuditUnavailable("the disk is full")
        sink.flush()
        with pytest.raises(AuditUnavailable, match="work was carried out, but how") as caught:
            memory.run(calling)
        assert caught.value.details == {"done": True}


@pytest.mark.parametrize("is_slow", [True, False])
def test_the_caller_is_gone(sink: Sink, work: Work, *, is_slow: bool) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.is_slow = is_slow
        call = memory.run(client.open("work" if is_slow else "work.never"))
        memory.flush()
        call.cancel()
        memory.flush()
        sink.flush()
        assert "done" not in work.done
        assert outcomes(sink) == [None, "cancelled"]
