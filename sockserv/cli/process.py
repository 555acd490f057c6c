"""The process around a command: its standard streams, its signals, its end.

Imports nothing but the system's modules: it runs before anything else.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["arguments", "end_by_signal", "is_ignored", "leave", "prepare", "undoing"]

_undo: list[Callable[[], object]] = []


def prepare() -> None:
    """Make the process safe for what follows.

    Ctrl-C ends it at once, until `run` takes care of it. A standard stream that was closed is occupied, or
    the next socket would get its number, and what is written to standard output would go there.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(number)
        except OSError:
            # The wrong mode, so that using it is an error, as it is for a closed stream.
            os.open(os.devnull, mode)


@contextmanager
def undoing(function: Callable[[], object]) -> Iterator[None]:
    """Call a function at the end of the block, or of the process, where that comes before: not with a SIGKILL."""
    _undo.append(function)
    try:
        yield
    finally:
        _undo.remove(function)
        function()


def _undo_all() -> None:
    for function in _undo:
        function()


def arguments() -> list[str]:
    """What the command was called with."""
    return sys.argv[1:]


def is_ignored(number: int) -> bool:
    """Whether the parent wanted a signal to be ignored, as `nohup` and a shell's `&` do."""
    return signal.getsignal(number) is signal.SIG_IGN


def end_by_signal(number: int) -> NoReturn:
    """End as the signal ends a program that does not catch it, so that the shell sees what happened."""
    _undo_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # not reached, unless the signal is blocked


def leave(status: int) -> NoReturn:
    """End with an exit status, without waiting for a thread that waits for input or a name server."""
    _undo_all()
    os._exit(status)
