"""Several pieces of work at once: in order, not too many, and all of them ended when it is over."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.client.files.parallel import in_parallel


class Jobs:
    """Jobs that wait for their Deferred; a job that is cancelled says so."""

    def __init__(self, count: int) -> None:
        self.waiting: list[Deferred[None]] = [Deferred() for _ in range(count)]
        self.begun: list[int] = []
        self.ended: list[int] = []

    def work(self) -> Iterator[Coroutine[Any, Any, None]]:
        for number in range(len(self.waiting)):
            yield self._job(number)

    async def _job(self, number: int) -> None:
        self.begun.append(number)
        try:
            await self.waiting[number]
        finally:
            self.ended.append(number)


def start(jobs: Jobs, at_once: int) -> tuple[Deferred[None], list[Any]]:
    running = Deferred.fromCoroutine(in_parallel(jobs.work(), at_once=at_once))
    outcome: list[Any] = []
    running.addBoth(lambda result: outcome.append(getattr(result, "value", result)))
    return running, outcome


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 8])
def test_so_many_at_once(at_once: int) -> None:
    jobs = Jobs(7)
    _, outcome = start(jobs, at_once)
    for number, waiting in enumerate(jobs.waiting):
        assert jobs.begun == [*range(min(7, number + at_once))]
        waiting.callback(None)
    assert (jobs.ended, outcome) == ([*range(7)], [None])


def test_no_work() -> None:
    assert start(Jobs(0), 3)[1] == [None]


def test_very_much_of_it_that_never_waits() -> None:
    jobs = Jobs(10_000)
    for waiting in jobs.waiting:
        waiting.callback(None)
    assert start(jobs, 3)[1] == [None]
    assert len(jobs.ended) == 10_000


def fail_first(jobs: Jobs) -> None:
    jobs.waiting[0].errback(ValueError("no"))


def fail_last(jobs: Jobs) -> None:
    jobs.waiting[2].errback(ValueError("no"))


@pytest.mark.parametrize("fail", [fail_first, fail_last])
def test_a_failure_stops_the_rest(fail: Callable[[Jobs], None]) -> None:
    jobs = Jobs(7)
    _, outcome = start(jobs, 3)
    fail(jobs)
    assert jobs.begun == [0, 1, 2]
    assert sorted(jobs.ended) == [0, 1, 2]
    assert isinstance(outcome[0], ValueError)


def test_a_failure_at_once() -> None:
    jobs = Jobs(7)
    fail_first(jobs)
    _, outcome = start(jobs, 3)
    assert (jobs.begun, jobs.ended) == ([0], [0])
    assert isinstance(outcome[0], ValueError)


def test_cancelled() -> None:
    jobs = Jobs(7)
    running, outcome = start(jobs, 3)
    running.cancel()
    assert jobs.begun == [0, 1, 2]
    assert sorted(jobs.ended) == [0, 1, 2]
    assert isinstance(outcome[0], CancelledError)
