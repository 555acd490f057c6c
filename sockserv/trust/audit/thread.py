"""A thread that does one thing after the other."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

__all__ = ["OneThread"]


class OneThread:
    """Calls functions in a thread of its own, in the order of their coming.

    The reactor's pool will not do: when all its threads wait for something, so would every record, and who waits for
    that; and so would everybody who is to be revoked. The thread begins with the first call. It holds no process up
    that wants to end.
    """

    def __init__(self, reactor: IReactorFromThreads, *, name: str = "sockserv") -> None:
        """`name` is what the thread is called in a debugger."""
        self._reactor = reactor
        self._name = name
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._is_running = False

    def __call__(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call a blocking function; fires with what it returns, or fails with what it raises."""
        done: Deferred[Any] = Deferred()

        def work() -> None:
            try:
                result = function(*args)
            except Exception:
                result = Failure()
            self._reactor.callFromThread(done.callback, result)

        self._calls.put(work)
        if not self._is_running:
            self._is_running = True
            Thread(target=self._run, name=self._name, daemon=True).start()
        return done

    def stop(self) -> None:
        """Let the thread end after the calls that it has. There may be another one later."""
        if self._is_running:
            self._is_running = False
            self._calls.put(None)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            work()
