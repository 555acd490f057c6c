"""The ends of a child's streams: those that stay here, and those that it gets."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterable
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorFDSet

from sockserv.execution.arguments import Terminal
from sockserv.services.execution.guardian.descriptors import (
    DescriptorSink,
    DescriptorSource,
    TerminalSink,
)

__all__ = ["Streams", "close_all", "open_streams"]

_CLOSED: Final = -1


@attrs.frozen
class Streams:
    """The streams of a child: our ends, and the descriptors for the child, which whoever has them closes.

    These are its standard input, output and error, or one for all of them: its terminal.
    """

    stdin: DescriptorSink
    stdout: DescriptorSource
    stderr: DescriptorSource
    for_child: tuple[int, ...]

    def close(self) -> None:
        """Close our ends, however often."""
        for one in self.stdin, self.stdout, self.stderr:
            one.close()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal its size; does nothing when it is closed. Raises `termios.error` for what is none."""
        if self.stdout.fileno() >= 0:
            termios.tcsetwinsize(self.stdout.fileno(), (rows, columns))


def open_streams(reactor: IReactorFDSet, terminal: Terminal | None) -> Streams:
    """Three pipes, or a terminal. Raises `OSError`, when too many files are open for example; then nothing is left."""
    if terminal is not None:
        return _open_terminal(reactor, terminal)
    pairs: list[tuple[int, int]] = []
    try:
        for _ in range(3):
            pairs.append(os.pipe())
    except OSError:
        for pair in pairs:
            close_all(pair)
        raise
    (for_stdin, stdin), (stdout, for_stdout), (stderr, for_stderr) = pairs
    for file in stdin, stdout, stderr:
        os.set_blocking(file, False)
    return Streams(
        stdin=DescriptorSink(reactor, stdin),
        stdout=DescriptorSource(reactor, stdout),
        stderr=DescriptorSource(reactor, stderr),
        for_child=(for_stdin, for_stdout, for_stderr),
    )


def _open_terminal(reactor: IReactorFDSet, terminal: Terminal) -> Streams:
    here, for_child = os.openpty()
    try:
        termios.tcsetwinsize(here, (terminal.rows, terminal.columns))
        # The reactor tells descriptors apart by their numbers, and this one is both read and written.
        typing = os.dup(here)
    except OSError:
        close_all((here, for_child))
        raise
    os.set_blocking(here, False)
    return Streams(
        stdin=TerminalSink(reactor, typing),
        stdout=DescriptorSource(reactor, here),
        stderr=DescriptorSource(reactor, _CLOSED),
        for_child=(for_child,),
    )


def close_all(descriptors: Iterable[int]) -> None:
    """Close them."""
    for descriptor in descriptors:
        os.close(descriptor)
