"""How fast strangers may come: what a place may, and what is remembered of it."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from sockserv.errors import ConnectError
from sockserv.limits import Limits
from sockserv.net.arrivals import Arrivals
from sockserv.testing import Link, MemoryServer
from sockserv.trust import Origin


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def arrivals(clock: Clock) -> Arrivals:
    return Arrivals(clock, per_second=2.0, most_places=3)


def come(arrivals: Arrivals, count: int, place: str = "a") -> int:
    """How many of so many may."""
    return sum(arrivals.may_come(place) for _ in range(count))


def test_ten_seconds_worth_at_once(arrivals: Arrivals) -> None:
    assert come(arrivals, 50) == 20
    assert come(arrivals, 50, "b") == 20


def test_then_so_many_a_second(arrivals: Arrivals, clock: Clock) -> None:
    come(arrivals, 50)
    for _ in range(5):
        clock.advance(1.0)
        assert come(arrivals, 50) == 2
    clock.advance(1000.0)
    assert come(arrivals, 50) == 20


def test_who_is_refused_is_not_kept_out_for_longer(arrivals: Arrivals, clock: Clock) -> None:
    come(arrivals, 100_000)
    clock.advance(0.5)
    assert come(arrivals, 1) == 1


def test_what_comes_to_a_login_is_given_back(arrivals: Arrivals) -> None:
    for _ in range(100):
        assert come(arrivals, 1) == 1
        arrivals.came_in("a")
    assert len(arrivals) == 0
    come(arrivals, 50)
    arrivals.came_in("a")
    assert come(arrivals, 50) == 1


def test_nobody_saves_up(arrivals: Arrivals, clock: Clock) -> None:
    """More logins than were counted, as after a place was forgotten, are no credit."""
    for _ in range(100):
        arrivals.came_in("a")
    clock.advance(1e6)
    assert come(arrivals, 50) == 20


def test_so_many_places_are_remembered(arrivals: Arrivals) -> None:
    for place in "abc":
        come(arrivals, 20, place)
    assert [come(arrivals, 1, place) for place in "abc"] == [0, 0, 0]
    come(arrivals, 1, "d")
    assert len(arrivals) == 3
    assert come(arrivals, 1, "a") == 1
    assert come(arrivals, 1, "c") == 0


def test_a_clock_that_is_set_back_keeps_nobody_out(arrivals: Arrivals, clock: Clock) -> None:
    clock.advance(1e6)
    come(arrivals, 19)
    clock.rightNow = 5.0
    assert come(arrivals, 5) == 1
    clock.advance(1.0)
    assert come(arrivals, 5) == 2


def test_less_than_one_at_once_is_one(clock: Clock) -> None:
    arrivals = Arrivals(clock, per_second=0.01, most_places=3)
    assert come(arrivals, 5) == 1
    clock.advance(100.0)
    assert come(arrivals, 5) == 1


@pytest.mark.parametrize("past", [0, 1], ids=["at", "one past"])
def test_how_fast_strangers_come(past: int) -> None:
    limits = Limits(max_unauthenticated_connections_per_second=0.3)
    with MemoryServer([], limits=limits) as memory:

        def link(address: str = "192.0.2.1") -> Link:
            return Link(origin=Origin(address, 4711))

        for _ in range(5):
            # Who comes to a login does not count, and this machine itself does not, either.
            memory.run(memory.connect(link=link()).close())
            memory.connect_raw()
        for _ in range(2 + past):
            memory.connect_raw(link=link())
        if not past:
            memory.connect_raw(link=link())
            return
        with pytest.raises(ConnectError):
            memory.connect(link=link())
        memory.connect(link=link("192.0.2.2"))
        memory.advance(4.0)
        memory.connect(link=link())
