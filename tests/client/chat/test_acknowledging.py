"""Messages are acknowledged many together, and soon."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from sockserv.client.chat.acknowledging import (
    ACKNOWLEDGE_SECONDS,
    MAX_UNACKNOWLEDGED,
    Acknowledging,
)


class Hub:
    """What a hub is told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[int] = []
        self.acknowledging = Acknowledging(self.clock, self.told.append)

    def add(self, *numbers: int) -> None:
        for number in numbers:
            self.acknowledging.add(number)


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_together(hub: Hub) -> None:
    hub.add(3, 4)
    hub.clock.advance(ACKNOWLEDGE_SECONDS / 2)
    hub.add(7)
    assert hub.told == []
    hub.clock.advance(ACKNOWLEDGE_SECONDS / 2)
    assert hub.told == [7]
    hub.add(8)
    hub.clock.advance(ACKNOWLEDGE_SECONDS)
    assert hub.told == [7, 8]
    assert hub.clock.getDelayedCalls() == []


def test_no_more_than_so_many(hub: Hub) -> None:
    hub.add(*range(1, MAX_UNACKNOWLEDGED))
    assert hub.told == []
    hub.add(MAX_UNACKNOWLEDGED)
    assert hub.told == [MAX_UNACKNOWLEDGED]
    hub.clock.advance(ACKNOWLEDGE_SECONDS)
    assert hub.told == [MAX_UNACKNOWLEDGED]


def test_at_once(hub: Hub) -> None:
    hub.acknowledging.now()
    assert hub.told == []
    hub.add(1)
    hub.acknowledging.now()
    assert hub.told == [1]


@pytest.mark.parametrize("numbers", [(), (5,)])
def test_the_end(hub: Hub, numbers: tuple[int, ...]) -> None:
    hub.add(*numbers)
    hub.acknowledging.stop()
    assert hub.told == list(numbers)
    assert hub.clock.getDelayedCalls() == []
