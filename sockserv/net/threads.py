"""Threads for blocking work, from the pool of a reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

__all__ = ["InThread", "pool_of"]

InThread: TypeAlias = Callable[..., Deferred[Any]]
"""Calls a function with arguments in a thread; the Deferred fires with what it returns or raises."""


def pool_of(reactor: Any) -> InThread:
    """What calls functions in the reactor's own pool, which is looked for when it is needed."""

    def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)

    return in_thread
