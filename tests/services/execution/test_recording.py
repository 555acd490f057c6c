"""Jobs and the audit log: nothing runs that is not in it, though all is prepared before."""

from __future__ import annotations

import pytest

from sockserv.errors import AuditUnavailable
from sockserv.execution.errors import Refused
from tests.server.test_audited import Sink
from tests.services.execution.live import LiveServer


@pytest.fixture
def sink() -> Sink:
    return Sink()


def test_nothing_is_started_before_the_log_has_it(sink: Sink) -> None:
    with LiveServer(audit=sink) as server:
        server.client()
        sink.is_slow = True
        running = server.begin("true")
        assert server.spawner.started == []
        sink.flush()
        server.memory.flush()
        assert len(server.spawner.started) == 1
        assert not running.has_ended
        sink.flush()
        server.memory.flush()
        running.check("exited(0)")


def test_nothing_is_started_that_it_cannot_have(sink: Sink) -> None:
    with LiveServer(audit=sink) as server:
        server.client()
        sink.error = AuditUnavailable("the disk is full")
        running = server.begin("true")
        assert isinstance(running.failure, AuditUnavailable)
        assert running.failure.details == {}
        assert server.spawner.started == []
        sink.error = None
        # The place that it had is free again.
        server.run("true").check("exited(0)")


def test_who_may_not_learns_it_after_one_wait(sink: Sink) -> None:
    with LiveServer(audit=sink) as server:
        server.client()
        sink.is_slow = True
        running = server.begin("forbidden")
        assert not running.has_ended
        sink.flush()
        server.memory.flush()
        assert isinstance(running.failure, Refused)


def test_one_that_is_killed_before_the_log_has_it_never_runs(sink: Sink) -> None:
    with LiveServer(audit=sink) as server:
        server.client()
        sink.is_slow = True
        running = server.begin("true")
        server.service.stop()
        while sink.waiting:
            sink.flush()
            server.memory.flush()
        running.check("killed(shutdown)")
        assert server.spawner.started == []
