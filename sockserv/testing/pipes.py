"""Pipes in memory, with the bounds and the ends of real ones."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

__all__ = ["Pipe", "PipeSink", "PipeSource"]

_READ_BYTES: Final = 256 * 1024


class Pipe:
    """A pipe that holds `capacity_bytes`: its end is when all writers have closed it."""

    def __init__(self, capacity_bytes: int = 64 * 1024) -> None:
        self.capacity_bytes = capacity_bytes
        self.writers = 0
        self.readers = 0
        self._held = bytearray()
        self._waiting: list[Deferred[None]] = []

    def add_writer(self) -> None:
        """One more may write."""
        self.writers += 1

    def remove_writer(self) -> None:
        """One of those who may write has closed it."""
        self.writers -= 1
        self._wake()

    def add_reader(self) -> None:
        """One more may read."""
        self.readers += 1

    def remove_reader(self) -> None:
        """One of those who may read has closed it."""
        self.readers -= 1
        self._wake()

    def take(self, max_bytes: int) -> bytes | None:
        """What is there, `b""` at the end, None when there is nothing yet."""
        if not self._held:
            return None if self.writers else b""
        data = bytes(self._held[:max_bytes])
        del self._held[:max_bytes]
        self._wake()
        return data

    def put(self, data: memoryview) -> int | None:
        """Put in as much as there is room for; gives how much, None when nobody reads any more."""
        if not self.readers:
            return None
        part = data[: self.capacity_bytes - len(self._held)]
        self._held += part
        self._wake()
        return len(part)

    def wait_for_data(self) -> Deferred[None]:
        """Fires when there may be something to take."""
        return self._wait()

    def wait_for_room(self) -> Deferred[None]:
        """Fires when there may be room."""
        return self._wait()

    def _wait(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:
                one.callback(None)


class PipeSource:
    """The end of a pipe to read from; see `sockserv.services.execution.child.Source`."""

    def __init__(self, pipe: Pipe, clock: IReactorTime) -> None:
        self._pipe = pipe
        self._clock = clock
        self._is_open = True
        pipe.add_reader()

    async def read(self) -> bytes:
        """The next bytes, in a later turn; `b""` at the end."""
        await deferLater(self._clock, 0)
        while self._is_open:
            data = self._pipe.take(_READ_BYTES)
            if data is not None:
                return data
            await self._pipe.wait_for_data()
        return b""

    def close(self) -> None:
        """Read no more."""
        if self._is_open:
            self._is_open = False
            self._pipe.remove_reader()


class PipeSink:
    """The end of a pipe to write to; see `sockserv.services.execution.child.Sink`."""

    def __init__(self, pipe: Pipe) -> None:
        self.written_bytes = 0
        self._pipe = pipe
        self._is_open = True
        pipe.add_writer()

    async def write(self, data: bytes) -> bool:
        """Write all of this; False when nobody reads any more."""
        rest = memoryview(data)
        while rest and self._is_open:
            count = self._pipe.put(rest)
            if count is None:
                break
            self.written_bytes += count
            rest = rest[count:]
            if rest:
                await self._pipe.wait_for_room()
        return not rest

    def close(self) -> None:
        """Write no more."""
        if self._is_open:
            self._is_open = False
            self._pipe.remove_writer()
