"""Standard input and output for a program that runs on a reactor.

Reading and writing block in threads of their own. The other way, to make the descriptors non-blocking,
would change them for every process that shares them: the user's shell, for one.

Invariants:

1. At most `_AHEAD` pieces are read before somebody takes them, and at most `_MAX_UNWRITTEN_BYTES` and one
   piece wait to be written: memory is bounded whatever the other end does.
2. The threads end with the process, in the middle of a read if need be: they are daemons, and the
   process does not wait for them.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Final, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from sockserv.cli.exits import EndedBySignal
from sockserv.errors import LocalError

__all__ = ["Input", "Output", "StreamClosed", "StreamError", "ThreadInput", "ThreadOutput"]

T = TypeVar("T")

_PIECE_BYTES: Final = 256 * 1024
_AHEAD: Final = 3
_MAX_UNWRITTEN_BYTES: Final = 1024 * 1024
_MAX_BUFFERS: Final = 64


class StreamError(LocalError):
    """Standard input or output cannot be used; the message says which, and why."""


class StreamClosed(StreamError):
    """It was closed before the command began, as `<&-` does in a shell."""


class Input(Protocol):
    """Where a command reads from."""

    async def read(self) -> bytes:
        """The next bytes, as many as there are; none at the end. Raises `StreamError`."""


class Output(Protocol):
    """Where a command writes to."""

    async def write(self, data: bytes) -> None:
        """Write bytes; waits while too many are not written. Raises `StreamError`, `EndedBySignal`."""

    async def flush(self) -> None:
        """Wait until everything is written. Raises `StreamError`, `EndedBySignal`."""


class ThreadInput:
    """Reads a descriptor in a thread, which starts with the first `read`."""

    def __init__(self, reactor: IReactorFromThreads, file: int, name: str) -> None:
        self._reactor = reactor
        self._file = file
        self._name = name
        self._room = Semaphore(_AHEAD)
        self._pieces: deque[bytes | StreamError] = deque()
        self._waiting: Deferred[None] | None = None
        self._thread: Thread | None = None

    async def read(self) -> bytes:
        """The next bytes; none at the end. For one reader at a time."""
        if self._thread is None:
            self._thread = Thread(target=self._read, name=self._name, daemon=True)
            self._thread.start()
        while not self._pieces:
            self._waiting = Deferred()
            await self._waiting
        piece = self._pieces[0]
        if isinstance(piece, StreamError):
            raise piece
        if piece:
            self._pieces.popleft()
            self._room.release()
        return piece

    def _read(self) -> None:
        piece: bytes | StreamError = b"."
        while isinstance(piece, bytes) and piece:
            self._room.acquire()
            try:
                piece = _when_ready(self._file, select.POLLIN, os.read, self._file, _PIECE_BYTES)
            except OSError as error:
                kind = StreamClosed if error.errno == errno.EBADF else StreamError
                piece = kind(f"cannot read {self._name}: {_reason(error)}")
            self._reactor.callFromThread(self._take, piece)

    def _take(self, piece: bytes | StreamError) -> None:
        self._pieces.append(piece)
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


class ThreadOutput:
    """Writes to a descriptor in a thread, which starts with the first `write`."""

    def __init__(self, reactor: IReactorFromThreads, file: int, name: str) -> None:
        self._reactor = reactor
        self._file = file
        self._name = name
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._unwritten_bytes = 0
        self._failure: Exception | None = None
        # Who waits, and down to how many unwritten bytes.
        self._waiting: tuple[int, Deferred[None]] | None = None
        self._thread: Thread | None = None

    async def write(self, data: bytes) -> None:
        """Write bytes; waits while too many are not written. For one writer at a time."""
        if self._failure is not None:
            raise self._failure
        if not data:
            return
        if self._thread is None:
            self._thread = Thread(target=self._write, name=self._name, daemon=True)
            self._thread.start()
        self._unwritten_bytes += len(data)
        self._queue.put(data)
        if self._unwritten_bytes > _MAX_UNWRITTEN_BYTES:
            await self._wait_until(_MAX_UNWRITTEN_BYTES // 2)

    async def flush(self) -> None:
        """Wait until everything is written."""
        await self._wait_until(0)

    async def _wait_until(self, unwritten_bytes: int) -> None:
        while self._failure is None and self._unwritten_bytes > unwritten_bytes:
            waiting: Deferred[None] = Deferred()
            self._waiting = (unwritten_bytes, waiting)
            await waiting
        if self._failure is not None:
            raise self._failure

    def _write(self) -> None:
        try:
            while True:
                pieces = self._next_pieces()
                size = sum(map(len, pieces))
                _write_all(self._file, pieces)
                self._reactor.callFromThread(self._written, size)
        except BrokenPipeError:
            # Who read our output has gone, and the system would have ended most programs with this.
            self._reactor.callFromThread(self._fail, EndedBySignal(signal.SIGPIPE))
        except OSError as error:
            failure = StreamError(f"cannot write to {self._name}: {_reason(error)}")
            self._reactor.callFromThread(self._fail, failure)

    def _next_pieces(self) -> list[bytes]:
        pieces = [self._queue.get()]
        try:
            while len(pieces) < _MAX_BUFFERS:
                pieces.append(self._queue.get_nowait())
        except Empty:
            pass
        return pieces

    def _written(self, size: int) -> None:
        self._unwritten_bytes -= size
        if self._waiting is not None and self._unwritten_bytes <= self._waiting[0]:
            self._wake()

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting[1].called:
            waiting[1].callback(None)


def _write_all(file: int, pieces: list[bytes]) -> None:
    unwritten: list[bytes | memoryview] = [*pieces]
    while unwritten:
        written = _when_ready(file, select.POLLOUT, os.writev, file, unwritten)
        while unwritten and written >= len(unwritten[0]):
            written -= len(unwritten.pop(0))
        if written:
            unwritten[0] = memoryview(unwritten[0])[written:]


def _when_ready(file: int, event: int, function: Callable[..., T], *arguments: object) -> T:
    """Call a function that reads or writes; waits where somebody has made the descriptor non-blocking."""
    while True:
        try:
            return function(*arguments)
        except BlockingIOError:
            poll = select.poll()
            poll.register(file, event)
            poll.poll()


def _reason(error: OSError) -> str:
    if error.errno == errno.EBADF:
        return "it is closed"
    return (error.strerror or str(error)).lower()
