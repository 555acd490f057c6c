"""Threads for blocking work: those in the pool of a reactor, and one that does one thing after the other."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from sockserv.errors import Unavailable

__all__ = ["InThread", "OneThread", "pool_of"]

InThread: TypeAlias = Callable[..., Deferred[Any]]
"""Calls a function with arguments in a thread; the Deferred fires with what it returns or raises.

It fails with `Unavailable` when the machine has no room for a thread; then the function was not called.
"""


def pool_of(reactor: Any) -> InThread:
    """What calls functions in the reactor's own pool, which is looked for when it is needed."""

    def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        try:
            return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)
        except RuntimeError:
            return _no_room()

    return in_thread


def _start(run: Callable[[], None], name: str) -> None:
    """Start a thread. Raises `RuntimeError` where there is no room for one."""
    Thread(target=run, name=name, daemon=True).start()


class OneThread:
    """Calls functions in a thread of its own, in the order of their coming.

    For what must come in turn, and for what the reactor's pool will not do: when all its threads wait for something, a
    record that must be written first, or somebody who is to be revoked, must not wait for them. The thread begins with
    the first call. It holds no process up that wants to end.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        *,
        name: str = "sockserv",
        start: Callable[[Callable[[], None], str], None] = _start,
    ) -> None:
        """`name` is what the thread is called in a debugger; `start` starts it."""
        self._reactor = reactor
        self._name = name
        self._start = start
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._is_running = False

    def __call__(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call a blocking function; see `InThread`."""
        if not self._is_running:
            try:
                self._start(self._run, self._name)
            except RuntimeError:
                # Nothing may be left for a later thread that somebody here was told to have failed.
                return _no_room()
            self._is_running = True
        done: Deferred[Any] = Deferred()

        def work() -> None:
            try:
                result = function(*args)
            except Exception:
                result = Failure()
            self._reactor.callFromThread(done.callback, result)

        self._calls.put(work)
        return done

    def stop(self) -> None:
        """Let the thread end after the calls that it has. There may be another one later."""
        if self._is_running:
            self._is_running = False
            self._calls.put(None)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            work()


def _no_room() -> Deferred[Any]:
    return fail(
        Unavailable("the server's machine has no room for one more thread: try again later")
    )
