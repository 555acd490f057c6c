"""Several things that end together."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

__all__ = ["first_of"]


async def first_of(clock: IReactorTime, *tasks: Deferred[Any]) -> None:
    """Wait for the first to end, then cancel the others.

    Raises what that one has failed with; cancelling it cancels all.
    """
    try:
        await DeferredList(tasks, fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        # What has ended may have been called by one of the others, which cannot be cancelled at this moment.
        await deferLater(clock, 0)
        for task in tasks:
            task.cancel()
