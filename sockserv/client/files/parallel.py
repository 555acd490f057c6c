"""Several pieces of work at once, but not too many."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

__all__ = ["forget", "in_parallel"]


async def in_parallel(
    work: Iterable[Coroutine[Any, Any, None]],
    *,
    at_once: int,
    beginning: AbstractContextManager[None] | None = None,
) -> None:
    """Do all the work, `at_once` pieces at a time, begun in this order; the first ones within `beginning`.

    The first failure, or being cancelled, cancels all that runs, and nothing more is begun; it is raised when all of
    it has ended.
    """
    jobs = iter(work)
    running: list[Deferred[None]] = []
    failures: list[Failure] = []
    ended = 0

    async def go_on() -> None:
        while not failures:
            for job in jobs:
                await job
                break
            else:
                return

    def stop(failure: Failure) -> None:
        failures.append(failure)
        if len(failures) == 1:
            for one in running:
                one.cancel()

    def count(result: None) -> None:
        nonlocal ended
        ended += 1
        if ended == at_once and not all_ended.called:
            all_ended.callback(None)

    all_ended: Deferred[None] = Deferred(lambda _: stop(Failure(CancelledError())))
    with beginning or nullcontext():
        for _ in range(at_once):
            running.append(Deferred.fromCoroutine(go_on()))
            running[-1].addErrback(stop).addCallback(count)
    await all_ended
    if failures:
        failures[0].raiseException()


def forget(deferred: Deferred[Any]) -> None:
    """Let something end by itself: whoever began it has gone on, and has no use for its failure."""
    deferred.addErrback(lambda failure: None)
