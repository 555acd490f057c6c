"""Whole lines of several sources on one stream, each shown as one that came from its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import DeferredLock

if TYPE_CHECKING:
    from sockserv.cli.stdio import Output

__all__ = ["MAX_LINE_BYTES", "LineWriter", "SharedOutput"]

MAX_LINE_BYTES: Final = 64 * 1024
"""What has no line break is broken here: somebody may send no end of it."""


class SharedOutput:
    """An output for several writers, who take turns."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lock = DeferredLock()

    async def write(self, data: bytes) -> None:
        """Write bytes, with nothing of others between them; waits, and raises, as the output does."""
        await self._lock.acquire()
        try:
            await self._output.write(data)
        finally:
            self._lock.release()


class LineWriter:
    """Hands on lines when they are whole, each as `shown` makes it of one without its end. For one source."""

    def __init__(self, target: SharedOutput, shown: Callable[[bytes], bytes]) -> None:
        self._target = target
        self._shown = shown
        self._rest = b""

    async def write(self, data: bytes) -> None:
        """Take the next bytes; waits, and raises, as the output does."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > MAX_LINE_BYTES:
            lines.append(rest[:MAX_LINE_BYTES])
            rest = rest[MAX_LINE_BYTES:]
        self._rest = rest
        if lines:
            await self._target.write(b"".join(map(self._shown, lines)))

    async def end(self) -> None:
        """There is no more: hand on the last line, which lacks its end."""
        if self._rest:
            await self.write(b"\n")
