"""How long the answers to failed logins are held back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from sockserv.limits import Limits
from sockserv.trust import Origin
from sockserv.trust.throttle import Throttle, source_of


def fail(throttle: Throttle, clock: Clock, source: str = "a") -> float:
    return throttle.failed(source, started=clock.seconds())


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        (Origin("192.0.2.7", 4711), "192.0.2.7"),
        (Origin("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (Origin("2001:db8:1:2:ffff::", 2), "2001:db8:1:2::/64"),
        (Origin("2001:db8:1:3::", 2), "2001:db8:1:3::/64"),
        (Origin("fe80::1%eth0"), "fe80::/64"),
        (Origin(uid=1000), "local 1000"),
        (Origin(), "local"),
        (Origin("somewhere"), "somewhere"),
    ],
)
def test_who_is_one_source(origin: Origin, source: str) -> None:
    assert source_of(origin) == source


def test_each_failure_doubles_the_wait_up_to_a_limit() -> None:
    clock = Clock()
    throttle = Throttle(clock, Limits(max_login_delay_seconds=1.0))
    waits = [fail(throttle, clock) for _ in range(6)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_sources_do_not_wait_for_each_other() -> None:
    clock = Clock()
    throttle = Throttle(clock, Limits())
    fail(throttle, clock)
    fail(throttle, clock)
    assert fail(throttle, clock, "b") == pytest.approx(0.1)


def test_failures_are_forgotten_with_time() -> None:
    clock = Clock()
    throttle = Throttle(clock, Limits())
    for _ in range(4):
        fail(throttle, clock)
    clock.advance(60)
    assert fail(throttle, clock) == pytest.approx(0.4)
    clock.advance(3600)
    assert fail(throttle, clock) == pytest.approx(0.1)


def test_a_thousand_failures_are_forgotten_as_soon_as_some() -> None:
    clock = Clock()
    throttle = Throttle(clock, Limits())
    for _ in range(1000):
        assert fail(throttle, clock) <= 5.0
    clock.advance(240)
    assert fail(throttle, clock) < 0.2


def test_the_time_of_the_check_counts_as_waiting() -> None:
    clock = Clock()
    throttle = Throttle(clock, Limits())
    clock.advance(0.06)
    assert throttle.failed("a", started=0.0) == pytest.approx(0.04)
    clock.advance(10)
    assert throttle.failed("a", started=0.0) == 0.0


@pytest.mark.parametrize("past", [0, 1], ids=["at", "one past"])
def test_so_many_answers_may_wait(past: int) -> None:
    clock = Clock()
    throttle = Throttle(clock, Limits(max_held_logins=3))
    for _ in range(2 + past):
        fail(throttle, clock)
    assert throttle.is_full("a") == bool(past)
    assert not throttle.is_full("b")
    clock.advance(0.11)
    assert not throttle.is_full("a"), "the first has been given"


@pytest.mark.parametrize("past", [0, 1], ids=["at", "one past"])
def test_so_many_sources_are_remembered(past: int) -> None:
    clock = Clock()
    throttle = Throttle(clock, Limits(max_login_sources=3))
    for number in range(3 + past):
        fail(throttle, clock, str(number))
    assert len(throttle) == 3
    assert fail(throttle, clock, "0") == pytest.approx(0.1 if past else 0.2)


def test_who_fails_again_is_not_the_first_to_be_forgotten() -> None:
    clock = Clock()
    throttle = Throttle(clock, Limits(max_login_sources=2))
    for source in ["a", "b", "a", "c"]:
        fail(throttle, clock, source)
    assert fail(throttle, clock, "a") == pytest.approx(0.4)
    assert fail(throttle, clock, "b") == pytest.approx(0.1)


@given(
    st.lists(
        st.tuples(st.floats(-1e9, 1e9), st.integers(0, 3), st.floats(0, 100)),
        max_size=50,
    )
)
def test_no_clock_makes_anybody_wait_longer(moves: list[tuple[float, int, float]]) -> None:
    """It may be set back or forth by any time: nobody is locked out for that."""
    clock = Clock()
    throttle = Throttle(clock, Limits(max_held_logins=2, max_login_sources=2))
    for seconds, source, took in moves:
        clock.rightNow += seconds
        if not throttle.is_full(str(source)):
            wait = throttle.failed(str(source), started=clock.seconds() - took)
            assert 0.0 <= wait <= 5.0 + 1e-6
        clock.rightNow += 5.1
        assert not throttle.is_full(str(source))
        assert len(throttle) <= 2
