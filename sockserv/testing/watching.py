"""A service under observation: which handlers were entered, which still run, how much they sent."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from sockserv.services import Operation, Service

__all__ = ["Watched"]


class Watched(Service):
    """Another service, counted.

    `entered` is how many times a handler was called, `running` how many have not ended; `sent_bytes`
    is what handlers have handed to `send`, and `largest_piece` the most of it at once.
    """

    def __init__(self, service: Service) -> None:
        self.entered = 0
        self.running = 0
        self.sent_bytes = 0
        self.largest_piece = 0
        self._operations = service.operations()
        for operation in self._operations.values():
            operation.handler = partial(self._handle, operation.handler)

    def operations(self) -> dict[str, Operation]:
        """Those of the service."""
        return self._operations

    def count_sent(self, size: int) -> None:
        """A handler sends so many bytes."""
        self.sent_bytes += size
        self.largest_piece = max(self.largest_piece, size)

    def _handle(self, handler: Callable[[Any], Any], call: Any) -> Any:
        self.entered += 1
        result = handler(_WatchedCall(call, self))
        if isinstance(result, Coroutine):
            return self._until_done(result)
        if isinstance(result, Deferred):
            self.running += 1
            return result.addBoth(self._ended)
        return result

    async def _until_done(self, handler: Coroutine[Any, Any, Any]) -> Any:
        self.running += 1
        try:
            return await handler
        finally:
            self.running -= 1

    def _ended(self, result: Any) -> Any:
        self.running -= 1
        return result


class _WatchedCall:
    """A call that counts what is sent with it, and is otherwise itself."""

    def __init__(self, call: Any, watched: Watched) -> None:
        self._call = call
        self._watched = watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        self._watched.count_sent(len(data))
        await self._call.send(data, stream=stream)

    def send_last(self, data: bytes) -> None:
        self._watched.count_sent(len(data))
        self._call.send_last(data)
