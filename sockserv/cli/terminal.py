"""The person at the terminal, where there is one."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import FrameType
from typing import Final, Protocol

import click

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.process import is_ignored

__all__ = ["SIGNALS", "ProcessTerminal", "Terminal"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Those that end a command."""


class Terminal(Protocol):
    """Which of the standard streams are terminals, and a way to ask whoever sits there."""

    def has(self, number: int) -> bool:
        """Whether the standard stream with this number is a terminal."""

    def ask_secret(self, question: str) -> str:
        """Ask, without showing what is typed; what was, without the spaces around it.

        Blocks: not for use while something goes on. Raises `EndedBySignal`, and `click.UsageError` when nothing was
        typed, or there is no terminal, which need not be one of the standard streams.
        """


class ProcessTerminal:
    """The terminal of this process."""

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
