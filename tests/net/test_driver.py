"""Driving a coroutine on after its first step."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from sockserv.net.driver import resume


class Driven:
    """A coroutine that awaits Deferreds one after the other, and what happened to it."""

    def __init__(self, count: int) -> None:
        self.awaited: list[Deferred[Any]] = [Deferred() for _ in range(count)]
        self.log: list[str] = []
        coroutine = self._run()
        self.result: Deferred[Any] | None = resume(
            coroutine,
            coroutine.send(None),
            before_step=lambda: self.log.append("before"),
            after_step=lambda: self.log.append("after"),
        )

    async def _run(self) -> list[Any]:
        results = []
        try:
            for awaited in self.awaited:
                try:
                    results.append(await awaited)
                except ValueError as error:
                    results.append(error)
            return results
        finally:
            self.log.append("finally")


def test_each_step_is_enclosed() -> None:
    driven = Driven(2)
    outcome: list[Any] = []
    assert driven.result is not None
    driven.result.addBoth(outcome.append)
    driven.awaited[0].callback(1)
    assert driven.log == ["before", "after"]
    driven.awaited[1].callback(2)
    assert driven.log == ["before", "after", "before", "finally", "after"]
    assert outcome == [[1, 2]]


def test_a_failure_is_thrown_in() -> None:
    driven = Driven(2)
    outcome: list[Any] = []
    assert driven.result is not None
    driven.result.addBoth(outcome.append)
    error = ValueError("one")
    driven.awaited[0].errback(error)
    driven.awaited[1].errback(error)
    assert outcome == [[error, error]]
    assert driven.log == ["before", "after", "before", "finally", "after"]


def test_cancelling_reaches_what_is_awaited() -> None:
    driven = Driven(1)
    outcome: list[Any] = []
    assert driven.result is not None
    driven.result.addErrback(lambda failure: outcome.append(failure.type))
    driven.result.cancel()
    assert outcome == [CancelledError]
    assert driven.log == ["before", "finally", "after"]


@pytest.mark.parametrize("result", [1, None, Failure(ValueError("one"))])
def test_what_fires_when_a_step_has_ended(result: Any) -> None:
    """The coroutine waits for something that happens as soon as others get their turn."""
    awaited: list[Deferred[Any]] = [Deferred(), Deferred(), Deferred()]

    async def run() -> list[Any]:
        results = []
        for each in awaited:
            try:
                results.append(await each)
            except ValueError as error:
                results.append(error)
        return results

    coroutine = run()
    running = resume(
        coroutine,
        coroutine.send(None),
        before_step=lambda: None,
        after_step=lambda: awaited[1].callback(result) if not awaited[1].called else None,
    )
    awaited[0].callback("first")
    awaited[2].callback("last")
    outcome: list[Any] = []
    running.addCallback(outcome.append)
    expected = result.value if isinstance(result, Failure) else result
    assert outcome == [["first", expected, "last"]]


def test_a_coroutine_that_is_forgotten_is_closed() -> None:
    driven = Driven(1)
    driven.awaited.clear()
    driven.result = None
    gc.collect()
    assert driven.log == ["finally"]
