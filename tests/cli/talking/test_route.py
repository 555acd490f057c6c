"""Telling by which way a chat goes."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from sockserv.cli.talking.route import Route

AGAIN = "what is said goes over UDP again"
NO_UDP = "no UDP gets through here: what is said goes over the connection"


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.route = Route(self.clock, self.told.append)

    def begin(self, *, has_datagrams: bool = True, goes_by_them: bool = False) -> None:
        self.route.begin(has_datagrams=has_datagrams, goes_by_them=goes_by_them)

    def wait(self, seconds: float = 10.0) -> list[str]:
        self.clock.advance(seconds)
        told, self.told[:] = [*self.told], []
        return told


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_as_it_should_be_is_not_told(world: World) -> None:
    world.begin()
    world.route.change(True, "datagrams get through")
    assert world.wait() == []
    world.begin(goes_by_them=True)
    assert world.wait() == []
    world.begin(has_datagrams=False)
    assert world.wait() == []
    assert world.clock.getDelayedCalls() == []


def test_what_lasts_is_told_once(world: World) -> None:
    world.begin()
    assert world.wait(9) == []
    assert world.wait(1) == [NO_UDP]
    world.begin()
    assert world.wait() == []
    world.route.change(True, "")
    assert world.wait() == [AGAIN]


def test_what_changes_all_the_time_is_not_told(world: World) -> None:
    world.begin(goes_by_them=True)
    for by_datagrams in (False, True) * 10:
        world.route.change(by_datagrams, "")
        assert world.wait(9) == []
    assert world.wait() == []


def test_a_connection_that_is_lost_has_no_way(world: World) -> None:
    world.begin()
    world.route.stop()
    world.route.stop()
    assert world.wait() == []
    assert world.clock.getDelayedCalls() == []
