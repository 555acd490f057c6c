"""Memory that is lent to a transport: its bytes are sent without being copied first, and then it is used again.

It looks like a file to what sends pieces of files (`sockserv.net.bulk`): they can be counted and cut, and who has lent
them is told when a socket has taken all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sockserv.wire.calls import FileSpan

if TYPE_CHECKING:
    from sockserv.net.running import RunningCall

__all__ = ["LentMemory", "send_memory"]

_LEAST_BYTES: Final = 64 * 1024
"""What is smaller is copied."""


class LentMemory:
    """Some memory, in the place of the open file of a `FileSpan`; see `sockserv.net.bulk.OpenFile`."""

    is_broken = False
    read_bytes = sys.maxsize
    """Nothing is read twice: there is nothing to read."""

    def __init__(self, memory: memoryview, on_news: Callable[[LentMemory], None]) -> None:
        self._memory = memory
        self._on_news = on_news
        self.unsent_bytes = 0

    def sent(self, count: int) -> None:
        """A socket has taken so many bytes."""
        self.unsent_bytes -= count
        if not self.unsent_bytes:
            self._on_news(self)

    def read(self, offset: int, size: int) -> memoryview:
        """So many bytes."""
        return self._memory[offset : offset + size]

    def read_into(self, memory: memoryview, offset: int) -> None:
        """Fill some other memory."""
        memory[:] = self._memory[offset : offset + len(memory)]


async def send_memory(call: RunningCall, memory: memoryview) -> None:
    """Send the next bytes of a call's body from memory, which may be used again when this has returned."""
    outlet = call.peer.outlet
    if len(memory) < _LEAST_BYTES or outlet is None or not outlet.takes_spans:
        await call.send(bytes(memory))
        return
    lent = LentMemory(memory, call.on_file_news)
    try:
        await call.send_span(FileSpan(lent, 0, len(memory)))
        await call.wait_for_file(lent)
    finally:
        # It has the call, which has whoever waits here.
        del lent
