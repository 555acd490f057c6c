"""The person at the terminal, where there is one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import Final, Protocol

import click

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.process import is_ignored, undoing

__all__ = ["SIGNALS", "ProcessTerminal", "Terminal", "left_as_it_was"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Those that end a command."""

_SIZE: Final = (80, 24)


class Terminal(Protocol):
    """Which of the standard streams are terminals, what kind of, and a way to ask whoever sits there."""

    @property
    def type(self) -> str:
        """What terminfo(5) calls it."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal that is standard input; 80 and 24 where nobody knows."""

    def raw(self) -> AbstractContextManager[None]:
        """Within this block standard input gives each key as it is pressed, Ctrl-C too, and shows none; nothing is made
        of what is written. However the process ends, but by SIGKILL, the terminal is left as it was.
        """

    def has(self, number: int) -> bool:
        """Whether the standard stream with this number is a terminal."""

    def ask_secret(self, question: str) -> str:
        """Ask, without showing what is typed; what was, without the spaces around it.

        Blocks: not for use while something goes on. Raises `EndedBySignal`, and `click.UsageError` when nothing was
        typed, or there is no terminal, which need not be one of the standard streams.
        """


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """Whatever this block does to the terminal that is standard input, and however the process ends, but by SIGKILL: it
    is undone.
    """
    # Imported late: hardly any command needs it.
    import termios

    before = termios.tcgetattr(0)

    def restore() -> None:
        with suppress(termios.error):
            # What was typed ahead is for whoever reads next; a terminal that takes nothing must not hold us up.
            termios.tcsetattr(0, termios.TCSANOW, before)

    with undoing(restore):
        yield


class ProcessTerminal:
    """The terminal of this process."""

    @property
    def type(self) -> str:
        """What terminfo(5) calls it; see `Terminal`."""
        return os.environ.get("TERM", "")

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; see `Terminal`."""
        for number in (0, 1, 2):
            with suppress(OSError):
                size = os.get_terminal_size(number)
                if size.columns > 0 and size.lines > 0:
                    return size.columns, size.lines
        return _SIZE

    @contextmanager
    def raw(self) -> Iterator[None]:
        """Standard input without any help of the system's; see `Terminal`."""
        # Imported late: hardly any command needs it.
        import termios
        import tty

        with left_as_it_was():
            tty.setraw(0, termios.TCSANOW)
            yield

    def has(self, number: int) -> bool:
        """Whether the standard stream with this number is a terminal."""
        try:
            return os.isatty(number)
        except OSError:
            return False

    def ask_secret(self, question: str) -> str:
        """Ask without showing what is typed; see `Terminal`.

        A signal ends the process as always, but not before the terminal shows again what is typed. After Ctrl-Z and
        `fg` it is not shown, either: shells have the terminal show it.
        """
        # Imported late: hardly any command asks.
        from getpass import getpass

        if not self.has(0) and not _has_terminal():
            raise click.UsageError(f"there is no terminal to ask at: {question.rstrip(': ')}")
        before = {n: signal.signal(n, _interrupt) for n in SIGNALS if not is_ignored(n)}
        before[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda _, __: _ask_again(question))
        try:
            answer = getpass(question).strip()
        except EOFError:
            answer = ""
            _end_the_line()
        except EndedBySignal:
            _end_the_line()
            raise
        except UnicodeDecodeError:
            raise click.UsageError("what was typed is no text") from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if not answer:
            raise click.UsageError("nothing was typed")
        return answer


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _ask_again(question: str) -> None:
    import termios

    with suppress(OSError, termios.error):
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        try:
            attributes = termios.tcgetattr(terminal)
            attributes[3] &= ~termios.ECHO
            termios.tcsetattr(terminal, termios.TCSANOW, attributes)
            os.write(terminal, question.encode())
        finally:
            os.close(terminal)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise EndedBySignal(number)


def _end_the_line() -> None:
    with suppress(OSError):
        os.write(2, b"\n")
