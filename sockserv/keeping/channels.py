"""What a kept job reads from and writes to: three pipes, or a terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from collections import deque
from contextlib import suppress
from typing import Final

import attrs

__all__ = ["Channels", "InputQueue", "open_channels", "read_output", "resize"]

_READ_BYTES: Final = 256 * 1024
_COMMON_PIPE_BYTES: Final = 64 * 1024
_LARGE_PIPE_BYTES: Final = 1024 * 1024


@attrs.frozen
class Channels:
    """The ends of both sides; ours do not block.

    `of_job` are its standard input, output and error; with a terminal, that terminal three times, and `stderr` is None.
    """

    of_job: tuple[int, int, int]
    stdin: int
    stdout: int
    stderr: int | None

    def close_those_of_job(self) -> None:
        """Let go of the ends that the job has by now."""
        for descriptor in {*self.of_job}:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of all of them."""
        self.close_those_of_job()
        for descriptor in (self.stdin, self.stdout, self.stderr):
            if descriptor is not None:
                os.close(descriptor)


def open_channels(size: tuple[int, int] | None) -> Channels:
    """Three pipes, or a terminal with so many columns and rows. Raises `OSError`."""
    if size is not None:
        ours, theirs = os.openpty()
        resize(ours, *size)
        os.set_blocking(ours, False)
        # Two of them: each is waited for by itself.
        return Channels((theirs,) * 3, os.dup(ours), ours, None)
    opened: list[int] = []
    try:
        for _ in range(3):
            opened += os.pipe()
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    stdin, to_stdin, from_stdout, stdout, from_stderr, stderr = opened
    for descriptor in (to_stdin, from_stdout, from_stderr):
        os.set_blocking(descriptor, False)
    return Channels((stdin, stdout, stderr), to_stdin, from_stdout, from_stderr)


def resize(terminal: int, columns: int, rows: int) -> None:
    """Tell a terminal its size; does nothing where there is none."""
    with suppress(termios.error):
        termios.tcsetwinsize(terminal, (rows, columns))


def read_output(descriptor: int) -> bytes | None:
    """What there is to read; empty at the end, None when there is nothing yet.

    A pipe that was full can hold more from then on. Only such a one: an account has only so many pages for all its
    pipes.
    """
    try:
        data = os.read(descriptor, _READ_BYTES)
        if len(data) == _COMMON_PIPE_BYTES:
            with suppress(OSError, AttributeError):  # it is none, or there is no more to be had
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _LARGE_PIPE_BYTES)
        return data
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:  # a terminal that nobody has open any more
            return b""
        raise


class InputQueue:
    """The standard input of a job: what was given for it, and what it has taken.

    `is_open` says whether it may take more.
    """

    def __init__(self, descriptor: int, *, is_terminal: bool) -> None:
        self.descriptor = descriptor
        self.taken_bytes = 0
        self.is_open = True
        self._is_terminal = is_terminal
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._is_ending = False
        self._is_at_line_start = True

    @property
    def given_bytes(self) -> int:
        """What was given: the next byte is that of this number."""
        return self.taken_bytes + self._waiting_bytes

    @property
    def next_offset(self) -> int | None:
        """The number of the next byte that may be given; None when there may be no more."""
        return self.given_bytes if self.is_open and not self._is_ending else None

    @property
    def has_work(self) -> bool:
        """Whether it waits for the job to take more."""
        return self.is_open and bool(self._waiting)

    def give(self, data: bytes) -> None:
        """Add bytes to what waits for the job."""
        if data and self.is_open and not self._is_ending:
            self._waiting.append(memoryview(data))
            self._waiting_bytes += len(data)

    def end(self) -> None:
        """Let the job see an end behind what was given."""
        self._is_ending = True
        self.pass_on()

    def cut(self) -> None:
        """Let the job see an end now, whatever was given."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self.end()

    def pass_on(self) -> None:
        """Give the job what it takes."""
        while self.has_work:
            try:
                count = os.write(self.descriptor, self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                self.close()  # it reads no more
                return
            self.taken_bytes += count
            self._waiting_bytes -= count
            self._is_at_line_start = self._waiting[0][count - 1] in b"\r\n"
            rest = self._waiting[0][count:]
            if rest:
                self._waiting[0] = rest
            else:
                self._waiting.popleft()
        if self._is_ending and self.is_open:
            self._end_now()

    def close(self) -> None:
        """The job can be given no more; does nothing when that is so."""
        if self.is_open:
            self.is_open = False
            self._waiting.clear()
            self._waiting_bytes = 0
            os.close(self.descriptor)

    def _end_now(self) -> None:
        if not self._is_terminal:
            self.close()
            return
        # A terminal goes on: its end is what a person would type, twice within a line, and somebody may type more.
        self._is_ending = False
        with suppress(OSError, termios.error):
            *_, mode, _, _, characters = termios.tcgetattr(self.descriptor)
            end = characters[termios.VEOF]
            is_within_line = mode & termios.ICANON and not self._is_at_line_start
            os.write(self.descriptor, end * 2 if is_within_line else end)
        self._is_at_line_start = True
