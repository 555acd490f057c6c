"""What nobody could run, whoever may run what."""

from __future__ import annotations

import re
from typing import Final

from sockserv.errors import InvalidArgument
from sockserv.execution.arguments import MAX_ARGUMENTS, Command

__all__ = ["VARIABLE", "check_command"]

VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
"""The name of a variable as POSIX has it; other names mean something else to some shell."""

_FUNCTION: Final = "() {"
"""So began functions that old shells took out of their environment, and ran."""


def check_command(command: Command) -> None:
    """Raises `InvalidArgument` for what no program can be started with; it names the argument, and never its value."""
    argv = command.argv
    if command.shell:
        if len(argv) > 1:
            raise InvalidArgument(
                "argv: with shell it is one text, or nothing; quote the words, and put them together"
            )
    elif not argv or not argv[0]:
        raise InvalidArgument("argv: there is no program; the first word has to be one")
    if len(argv) > MAX_ARGUMENTS:
        raise InvalidArgument(f"argv: has {len(argv)} words, and {MAX_ARGUMENTS} is the most")
    for number, word in enumerate(argv):
        _check_text(f"argv[{number}]", word)
    for name, value in command.env.items():
        if not VARIABLE.fullmatch(name):
            raise InvalidArgument(
                "env: the name of a variable has letters of English, digits and _, and begins with no digit, "
                f"unlike {name[:64]!r}"
            )
        _check_text(f"env[{name[:64]}]", value)
        if value.startswith(_FUNCTION):
            raise InvalidArgument(f"env[{name[:64]}]: is a function of a shell, and no value")
    if command.cwd is not None:
        _check_text("cwd", command.cwd)
        if not command.cwd:
            raise InvalidArgument("cwd: is empty; leave it out for the home of the account")
    if command.user is not None:
        _check_text("user", command.user)


def _check_text(what: str, text: str) -> None:
    if "\0" in text:
        raise InvalidArgument(f"{what}: has a NUL in it, which no program can be given")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(f"{what}: is not text that UTF-8 can express") from None
