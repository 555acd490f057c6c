"""Broken uploads are swept away once an hour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from sockserv.daemon.sweeping import FilesSweeper


class Sweeping:
    """A sweeper, and what its sweeps are waiting for."""

    def __init__(self, *results: Deferred[int]) -> None:
        self.clock = Clock()
        self._results = list(results)
        self.sweeper = FilesSweeper(self.clock, self._sweep)

    def _sweep(self) -> Deferred[int]:
        return self._results.pop(0)

    @property
    def left(self) -> int:
        return len(self._results)


def said(events: Sequence[Any]) -> list[str | None]:
    return [formatEvent(event) for event in events]


def test_once_an_hour() -> None:
    sweeping = Sweeping(succeed(0), succeed(2), succeed(0))
    sweeping.sweeper.start()
    with capturedLogs() as events:
        for left in (2, 1, 0):
            sweeping.clock.advance(3599)
            assert sweeping.left == left + 1
            sweeping.clock.advance(1)
            assert sweeping.left == left
    assert said(events) == ["removed what was left of 2 uploads that broke off"]
    sweeping.sweeper.stop()
    sweeping.sweeper.stop()
    assert sweeping.clock.getDelayedCalls() == []


def test_it_goes_on_after_one_that_failed() -> None:
    sweeping = Sweeping(fail(OSError(5, "Input/output error")), succeed(0))
    sweeping.sweeper.start()
    with capturedLogs() as events:
        sweeping.clock.pump([3600, 3600])
    assert said(events) == ["what broken uploads have left cannot be removed"]
    assert sweeping.left == 0


def test_it_stops_in_the_middle() -> None:
    cancelled: list[Any] = []
    sweeping = Sweeping(Deferred(cancelled.append))
    sweeping.sweeper.start()
    sweeping.clock.advance(3600)
    with capturedLogs() as events:
        sweeping.sweeper.stop()
    assert len(cancelled) == 1
    assert events == []
    assert sweeping.clock.getDelayedCalls() == []
