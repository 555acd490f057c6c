"""Output that has to be whole before its first byte is sent, since its size goes first: in memory,
or else on the disk.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from tempfile import TemporaryFile
from typing import IO, Final

from sockserv.net.threads import InThread

__all__ = ["Spool"]

_MEMORY_BYTES: Final = 256 * 1024
_PIECE_BYTES: Final = 256 * 1024


class Spool:
    """Takes pieces, and gives them back from the first one on. `in_thread` is where the disk is written and read."""

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._file: IO[bytes] | None = None
        self.size = 0

    async def add(self, piece: bytes) -> None:
        """Keep a piece. Raises `OSError` when the disk does not take it."""
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        self.size += len(piece)
        if self._waiting_bytes > _MEMORY_BYTES:
            pieces, self._pieces, self._waiting_bytes = self._pieces, [], 0
            await self._in_thread(self._write, b"".join(pieces))

    async def pieces(self) -> AsyncIterator[bytes]:
        """All there is, not cut as it came. Raises `OSError`."""
        offset = 0
        while self._file is not None:
            piece = await self._in_thread(os.pread, self._file.fileno(), _PIECE_BYTES, offset)
            if not piece:
                break
            offset += len(piece)
            yield piece
        for piece in self._pieces:
            yield piece

    def clear(self) -> None:
        """Forget all there is."""
        self._pieces.clear()
        self._waiting_bytes = self.size = 0
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, data: bytes) -> None:
        if self._file is None:
            # Without a buffer, for which there is no use. Its name is gone as soon as it is there.
            self._file = TemporaryFile(buffering=0)  # noqa: SIM115  # until `clear`
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
