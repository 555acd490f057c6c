"""What the audit log is told of connections that nobody is logged in on."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.task import Clock

from sockserv.errors import AuthenticationFailed
from sockserv.net.peer import Peer
from sockserv.server.origins import Origins
from sockserv.server.trail import AuditTrail
from sockserv.trust import Origin
from sockserv.trust.audit import Event, Record
from tests.server.test_audited import Sink

WRONG = AuthenticationFailed("the token is not valid here")


def take(sink: Sink) -> list[Record]:
    """What was recorded since the last time."""
    taken, sink.records = sink.records, []
    return taken


class Stranger:
    """What of a connection is looked at."""

    identity = None
    transport = None


def stranger() -> Peer:
    return cast(Peer, Stranger())


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trail(clock: Clock, sink: Sink) -> AuditTrail:
    return AuditTrail(clock, sink, Origins(lambda transport: Origin("192.0.2.7", 4711)))


def test_a_failed_login(trail: AuditTrail, sink: Sink) -> None:
    trail.login_failed(stranger(), "x" * 500, WRONG, user="y" * 500)
    (record,) = take(sink)
    assert record == Record(
        event=Event.LOGIN_FAILED,
        origin="192.0.2.7 port 4711",
        connection=1,
        outcome="authentication-failed",
        why="the token is not valid here",
        facts={"method": "x" * 80, "user": "y" * 256 + "... (500 characters)"},
    )


def test_each_connection_has_a_number(trail: AuditTrail, sink: Sink) -> None:
    first, second = stranger(), stranger()
    for peer in (first, second, first):
        trail.login_failed(peer, "token", WRONG)
    assert [record.connection for record in take(sink)] == [1, 2, 1]


def others(count: int) -> list[Any]:
    return [Record(event=Event.LOGIN_FAILED, facts={"others": count})]


class TestManyFailedLogins:
    """Strangers can come from as many places as they like, so it is all of them together that count."""

    @pytest.mark.parametrize(
        ("count", "untold"), [(600, []), (601, others(1)), (5000, others(4400))]
    )
    def test_some_are_told_and_the_others_counted(
        self, trail: AuditTrail, sink: Sink, count: int, untold: list[Any]
    ) -> None:
        for _ in range(count):
            trail.login_failed(stranger(), "token", WRONG)
        assert len(take(sink)) == 600
        trail.stopped()
        assert take(sink) == untold
        trail.stopped()
        assert take(sink) == []

    @pytest.mark.parametrize(("seconds", "told"), [(59.9, 0), (60.0, 2)])
    def test_after_a_minute_they_are_told_again(
        self, trail: AuditTrail, sink: Sink, clock: Clock, seconds: float, told: int
    ) -> None:
        for _ in range(610):
            trail.login_failed(stranger(), "token", WRONG)
        take(sink)
        clock.advance(seconds)
        trail.login_failed(stranger(), "token", WRONG)
        taken = take(sink)
        assert len(taken) == told
        assert taken[:1] == others(10)[:told]

    def test_a_login_tells_how_many_there_were(
        self, trail: AuditTrail, sink: Sink, clock: Clock
    ) -> None:
        for _ in range(610):
            trail.login_failed(stranger(), "token", WRONG)
        take(sink)
        clock.advance(60.0)
        trail.logged_in(stranger(), "token")
        assert [record.event for record in take(sink)] == [Event.LOGIN_FAILED, Event.LOGIN]


def test_without_a_log_nobody_is_told(clock: Clock) -> None:
    trail = AuditTrail(clock, None, Origins(lambda transport: Origin()))
    for _ in range(700):
        trail.login_failed(stranger(), "token", WRONG)
    trail.logged_in(stranger(), "token")
    trail.revoked(stranger(), "it was")
    trail.stopped()
