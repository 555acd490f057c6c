"""Files on their way to a peer.

Bytes that are in the system's memory already are read when the socket takes them, and not earlier: what waits takes no
memory here. What lies on a disk is read in a thread, and what goes through a wrapper that is not ours before its turn.
(`os.sendfile` saves a copy, and costs more than that: it hands over page by page, to the receiver, too. Reading, a put
takes 6 % less time of the processors at both ends, and a get 9 to 14 %; measured on Linux 6.18.)

Invariants:

1. The reactor never waits for a disk: it touches only bytes that were in the system's memory a moment ago. (What the
   system throws out between that moment and the sending costs one read.)
2. A frame whose size was announced gets that many bytes, whatever happens to the file: zeros if need be, and then the
   sender is told, so that the call does not end well. No more than one frame is made of zeros.
3. A descriptor of our own is read from, for as long as a byte of the file is to be sent: its user may close theirs,
   and the number may be given to another file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from sockserv.wire.calls import FileSpan
from sockserv.wire.outbox import Buffer

if TYPE_CHECKING:
    from sockserv.net.running import RunningCall

__all__ = ["OpenFile", "bytes_of", "in_memory", "send_file", "send_mixed"]

_SPAN_BYTES: Final = 1024 * 1024
"""How much of a file is handed over at once: it takes no memory yet, but a broken file is noticed by so much."""

_LEAST_SPAN_BYTES: Final = 64 * 1024
"""What is smaller is read at once."""

_PIECE_BYTES: Final = 256 * 1024
_READ_AHEAD_BYTES: Final = 4 * 1024 * 1024
_PROBE_STEP_BYTES: Final = 128 * 1024
"""The system reads files ahead in steps of so much or more."""

_MANY_BUFFERS: Final = 64
_MAX_SCRATCH_BYTES: Final = 2 * 1024 * 1024
_NO_WAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)
_FILE_SYSTEMS_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


class OpenFile:
    """A file that is being sent, as a descriptor of our own.

    It is closed when nobody has a piece of it left to send. `unsent_bytes` are those that were handed over and that no
    socket has taken yet; `on_news` is called when there are none left, or when the file turns out to be broken.
    `read_bytes` is how much should be read at once: what a socket does not take is read again.
    """

    descriptor = -1

    def __init__(self, file: int, on_news: Callable[[OpenFile], None]) -> None:
        self.descriptor = os.dup(file)
        self.unsent_bytes = 0
        self.read_bytes = _SPAN_BYTES
        self.is_broken = False
        self._on_news = on_news

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; if anything of it is still to be sent, in a call that has failed, that becomes zeros."""
        self._on_news = _tell_nobody
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def sent(self, count: int) -> None:
        """A socket has taken so many bytes."""
        self.unsent_bytes -= count
        self.read_bytes = max(2 * count, _LEAST_SPAN_BYTES)
        if not self.unsent_bytes:
            self._on_news(self)

    def broke(self) -> None:
        """The file cannot give what was announced."""
        if not self.is_broken:
            self.is_broken = True
            self._on_news(self)

    def read_into(self, memory: memoryview, offset: int) -> None:
        """Fill some memory, with zeros in place of what is not there."""
        count = 0
        if not self.is_broken:
            with contextlib.suppress(OSError):
                count = os.preadv(self.descriptor, [memory], offset)
        if count < len(memory):
            self.broke()
            memory[count:] = bytes(len(memory) - count)

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes, with zeros in place of what is not there."""
        data = b""
        if not self.is_broken:
            with contextlib.suppress(OSError):
                data = os.pread(self.descriptor, size, offset)
        if len(data) < size:
            self.broke()
            data += bytes(size - len(data))
        return data


def _tell_nobody(opened: OpenFile) -> None:
    """Who would have been told has gone."""


async def send_file(call: RunningCall, file: int, offset: int, count: int | None) -> int:
    """Send a part of an open file as the next bytes of a call's body; returns how many there were.

    Raises `FileBroken` when the file became shorter, or unreadable, behind what was announced of it.
    """
    outlet = call.peer.outlet
    opened = None
    if outlet is not None and outlet.takes_spans:
        opened = OpenFile(file, call.on_file_news)
    try:
        sent = await _send_pieces(call, file, opened, offset, count)
        if opened is not None:
            await call.wait_for_file(opened)
        return sent
    finally:
        # Whoever was cancelled is garbage that waits to be collected, and would keep it open until then.
        if opened is not None and (call.is_ended or call.is_cancelled or not opened.unsent_bytes):
            opened.close()


async def _send_pieces(
    call: RunningCall, file: int, opened: OpenFile | None, offset: int, count: int | None
) -> int:
    """Hand over all pieces, as spans of `opened` or read from `file`; returns how many bytes they had."""
    at = offset
    end = sys.maxsize if count is None else offset + count
    span = None
    try:
        while at < end:
            span = None if opened is None else _next_span(opened, at, end - at)
            if span is not None:
                await call.send_span(span)
                at += span.size
                continue
            piece = await _read(call, file, at, min(end - at, _PIECE_BYTES))
            if not piece:
                break
            await call.send(piece)
            at += len(piece)
        return at - offset
    finally:
        call.file_bytes += at - offset
        # Somebody may keep the traceback of what was raised, and that must not keep the file open.
        del opened, span


def _next_span(opened: OpenFile, at: int, left: int) -> FileSpan | None:
    """What can go to a socket as it is; None if the next bytes have to be read."""
    file = opened.descriptor
    size = min(left, _SPAN_BYTES, os.fstat(file).st_size - at)
    if size < _LEAST_SPAN_BYTES or not is_at_hand(file, at, size):
        return None
    return FileSpan(opened, at, size)


async def _read(call: RunningCall, file: int, at: int, size: int) -> bytes:
    if is_at_hand(file, at, size):
        return os.pread(file, size, at)
    piece: bytes = await call.in_thread(_read_ahead, file, at, size)
    return piece


def _read_ahead(file: int, at: int, size: int) -> bytes:
    """Read from a disk, and have the system begin with what comes behind; blocking."""
    piece = os.pread(file, size, at)
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(file, at + size, _READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
    return piece


def is_at_hand(file: int, at: int, size: int) -> bool:
    """Whether a part of a file is in the system's memory, as far as a few looks tell; False if unknown."""
    if _NO_WAIT is None:
        return False
    looked_at = [*range(at, at + size, _PROBE_STEP_BYTES), at + size - 1]
    try:
        for each in looked_at:
            os.preadv(file, _probe, each, _NO_WAIT)
    except BlockingIOError:
        return False
    except OSError:
        return _is_in_memory(os.fstat(file).st_dev)
    return True


_probe: Final = [bytearray(1)]


@lru_cache
def _is_in_memory(device: int) -> bool:
    """Whether a file system has no disk: such a one does not answer the question for a part of a file.

    The answer is kept. Where the number of the device goes to another file system, the reactor may wait for that.
    """
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            # proc(5): the third field is the device, and the one behind the dash the file system's type.
            fields = [line.split() for line in mounts]
    except OSError:
        return False
    return any(
        mount[2] == number and mount[mount.index("-") + 1] in _FILE_SYSTEMS_IN_MEMORY
        for mount in fields
    )


def send_mixed(handle: socket.socket, buffers: Sequence[Buffer]) -> int:
    """Send what lies in memory and in files, in its order; returns how many bytes the socket has taken.

    Raises `OSError` of the socket, `BlockingIOError` too.
    """
    pieces: list[bytes | memoryview] = []
    for buffer in buffers:
        if not isinstance(buffer, FileSpan):
            pieces.append(buffer)
            continue
        size = min(buffer.size, buffer.file.read_bytes)
        pieces.append(buffer.file.read(buffer.offset, size))
        if size < buffer.size:
            break
    if len(pieces) > _MANY_BUFFERS:
        pieces = [b"".join(pieces)]
    sent = handle.sendmsg(pieces)
    _note_sent(buffers, sent)
    return sent


def _note_sent(buffers: Sequence[Buffer], count: int) -> None:
    """Tell the files among the buffers how many of the first `count` bytes were theirs."""
    for buffer in buffers:
        if count <= 0:
            return
        if isinstance(buffer, FileSpan):
            buffer.file.sent(min(count, buffer.size))
        count -= len(buffer)


class _Scratch(threading.local):
    """Memory that is used again and again: fresh memory costs more than what is done with it."""

    def __init__(self) -> None:
        self._memory = memoryview(b"")

    def of(self, size: int) -> memoryview:
        if size > len(self._memory):
            memory = memoryview(bytearray(size))
            if size > _MAX_SCRATCH_BYTES:
                return memory
            self._memory = memory
        return self._memory[:size]


_scratch: Final = _Scratch()


def in_memory(buffers: Sequence[Buffer], size: int) -> memoryview:
    """`size` bytes that lie in memory and in files, one behind the other, until somebody asks for others.

    The files are told that theirs are sent.
    """
    try:
        # To look first whether something lies in a file would slow everything else down.
        return memoryview(buffers[0] if len(buffers) == 1 else b"".join(buffers))  # type: ignore[arg-type]
    except TypeError:
        pass
    everything = _scratch.of(size)
    at = 0
    for buffer in buffers:
        end = at + len(buffer)
        if isinstance(buffer, FileSpan):
            buffer.file.read_into(everything[at:end], buffer.offset)
            buffer.file.sent(buffer.size)
        else:
            everything[at:end] = buffer
        at = end
    return everything


def bytes_of(buffer: Buffer) -> bytes | memoryview:
    """The same in memory."""
    if isinstance(buffer, FileSpan):
        return buffer.file.read(buffer.offset, buffer.size)  # type: ignore[no-any-return]
    return buffer
