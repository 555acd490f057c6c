"""The streams of a child: ends of pipes, or a terminal's, which the reactor watches only while somebody waits.

What is not asked for is not read. So a child that nobody reads waits when its pipe is full, and nothing of it is held
here.
"""

from __future__ import annotations

import fcntl
import os
import termios
from contextlib import suppress
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["READ_BYTES", "DescriptorSink", "DescriptorSource", "TerminalSink"]

READ_BYTES: Final = 256 * 1024
"""What is read at a time is no more: other jobs and other calls have their turn, too."""

_COMMON_PIPE_BYTES: Final = 64 * 1024
_LARGE_PIPE_BYTES: Final = 1024 * 1024


def _enlarge(pipe: int) -> None:
    """Let a pipe that is full hold more. Only such a one: an account has only so many pages for all its pipes."""
    with suppress(
        AttributeError, OSError
    ):  # it is no pipe, or the account has too many, or the system cannot do this
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _LARGE_PIPE_BYTES)


@implementer(IReadDescriptor)
class DescriptorSource:
    """What comes from a descriptor, which does not block and is closed here; see `Source`."""

    def __init__(self, reactor: IReactorFDSet, file: int) -> None:
        self._reactor = reactor
        self._file = file
        self._waiting: Deferred[bytes] | None = None
        self._is_watched = False
        self._is_large = False
        self._may_try = True

    async def read(self) -> bytes:
        """The next bytes; see `Source`. Cancelling loses nothing."""
        assert self._waiting is None, "two may not read at the same time"
        if self._may_try:
            # What a short job has written, and its end, are there at once. But a long one waits for its turn every
            # time.
            self._may_try = False
            data = self._read_now()
            if data is not None:
                return data
        if self._file < 0:
            return b""
        self._waiting = Deferred(self._cancel)
        if not self._is_watched:
            self._is_watched = True
            self._reactor.addReader(self)
        return await self._waiting

    def close(self) -> None:
        """Read no more; see `Source`."""
        if self._file < 0:
            return
        self._unwatch()
        os.close(self._file)
        self._file = -1
        self._give(b"")

    def fileno(self) -> int:
        """The descriptor, -1 when it is closed."""
        return self._file

    def logPrefix(self) -> str:
        """What the log calls this."""
        return "a job's output"

    def doRead(self) -> None:
        """There is something to read, or the end."""
        if self._waiting is not None:
            data = self._read_now()
            if data is None:
                return
            self._may_try = len(data) < _COMMON_PIPE_BYTES
            self._give(data)
        if self._waiting is None:
            self._unwatch()

    def connectionLost(self, reason: Failure) -> None:
        """Nobody can write any more, and the reactor has let go of this; what was written is still to be read."""
        self._is_watched = False
        self.doRead()
        if self._waiting is not None:
            self._is_watched = True
            self._reactor.addReader(self)

    def _read_now(self) -> bytes | None:
        """What is there; None if that is nothing yet."""
        if self._file < 0:
            return b""
        try:
            data = os.read(self._file, READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:  # the end of a terminal that nobody has open any more
            data = b""
        if not data:
            self.close()
        elif len(data) >= _COMMON_PIPE_BYTES and not self._is_large:
            self._is_large = True
            _enlarge(self._file)
        return data

    def _give(self, data: bytes) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(data)

    def _cancel(self, waiting: Deferred[bytes]) -> None:
        self._waiting = None
        self._unwatch()

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._reactor.removeReader(self)


@implementer(IWriteDescriptor)
class DescriptorSink:
    """What goes to a descriptor, which does not block and is closed here; see `Sink`."""

    def __init__(self, reactor: IReactorFDSet, file: int) -> None:
        self._reactor = reactor
        self._file = file
        self._waiting: Deferred[None] | None = None
        self._is_large = False
        self.written_bytes = 0

    async def write(self, data: bytes) -> bool:
        """Give all of this; see `Sink`. Cancelling leaves it open how much of it was given; `written_bytes` tells."""
        assert self._waiting is None, "two may not write at the same time"
        left = memoryview(data)
        while self._is_open:
            try:
                count = os.write(self._file, left)
            except BlockingIOError:
                await self._wait()
                continue
            except OSError:  # nobody reads any more
                self._let_go()
                break
            self._note_written(left[:count])
            left = left[count:]
            if not left:
                return True
        return False

    def close(self) -> None:
        """There is no more; see `Sink`. A `write` that waits gives up."""
        self._let_go()

    def fileno(self) -> int:
        """The descriptor, -1 when it is closed."""
        return self._file

    def logPrefix(self) -> str:
        """What the log calls this."""
        return "a job's input"

    def doWrite(self) -> None:
        """There is room again."""
        self._reactor.removeWriter(self)
        self._go_on()

    def connectionLost(self, reason: Failure) -> None:
        """Nobody reads any more."""
        self._let_go()

    @property
    def _is_open(self) -> bool:
        return self._file >= 0

    async def _wait(self) -> None:
        if not self._is_large:
            self._is_large = True
            _enlarge(self._file)
        self._waiting = Deferred(self._cancel)
        self._reactor.addWriter(self)
        await self._waiting

    def _note_written(self, data: memoryview) -> None:
        self.written_bytes += len(data)

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _cancel(self, waiting: Deferred[None]) -> None:
        self._waiting = None
        self._reactor.removeWriter(self)

    def _let_go(self) -> None:
        if self._file < 0:
            return
        if self._waiting is not None:
            self._reactor.removeWriter(self)
        os.close(self._file)
        self._file = -1
        self._go_on()


class TerminalSink(DescriptorSink):
    """What is typed at a terminal. Its end is what a person would type: the terminal stays open for what it shows."""

    _is_at_line_start = True

    def close(self) -> None:
        """Type the end of the input; see `Sink`. Within a line it takes two of them to end more than that line."""
        if self._file < 0:
            return
        with suppress(OSError, termios.error):
            *_, mode, _, _, characters = termios.tcgetattr(self._file)
            end = characters[termios.VEOF]
            is_within_line = mode & termios.ICANON and not self._is_at_line_start
            os.write(self._file, end * 2 if is_within_line else end)
        self._let_go()

    def _note_written(self, data: memoryview) -> None:
        super()._note_written(data)
        if data:
            self._is_at_line_start = data[-1:].tobytes() in (b"\n", b"\r")
