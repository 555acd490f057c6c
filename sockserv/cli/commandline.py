"""The options that say how a remote command is run, and the `Command` that comes of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sockserv.cli.options import Seconds

if TYPE_CHECKING:
    from sockserv.cli.terminal import Terminal as LocalTerminal
    from sockserv.execution.arguments import Command, Terminal

__all__ = ["command_from", "place_options", "run_options", "terminal_like"]

F = TypeVar("F", bound=Callable[..., Any])

_UNITS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_AMOUNT: Final = re.compile(r"([0-9]{1,15})([kMGT]?)")
_LIMITS: Final = {
    "cpu": "cpu_seconds",
    "memory": "memory_bytes",
    "processes": "processes",
    "files": "open_files",
    "file-size": "file_bytes",
}
_TERMINAL_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class Amount(click.ParamType):  # type: ignore[type-arg]  # older versions of click take none
    """A number, of bytes mostly: `500k`, `20M`, `1G`."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number that was written."""
        match = _AMOUNT.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no number such as 500, 500k, 20M or 1G", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class _Assignment(click.ParamType):  # type: ignore[type-arg]  # as above
    """`NAME=VALUE`; a name alone stands for the value that it has here."""

    name = "assignment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """The name, and the value."""
        if isinstance(value, tuple):
            return value
        name, equals, given = value.partition("=")
        if not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        if not equals:
            if name not in os.environ:
                self.fail(f"there is no {name} in the environment here", param, ctx)
            given = os.environ[name]
        return name, given


class _Limit(click.ParamType):  # type: ignore[type-arg]  # as above
    """`NAME=AMOUNT`."""

    name = "limit"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """The name, as the class for limits has it, and the number."""
        if isinstance(value, tuple):
            return value
        name, _, amount = value.partition("=")
        if name not in _LIMITS:
            self.fail(f"{value!r} limits nothing: {', '.join(_LIMITS)} can be", param, ctx)
        return _LIMITS[name], Amount().convert(amount, param, ctx)


def place_options(function: F) -> F:
    """Add the options that say where, as whom, and with which environment something is run."""
    for option in (
        click.option(
            "-e",
            "--env",
            "environment",
            type=_Assignment(),
            multiple=True,
            metavar="NAME[=VALUE]",
            help="Add to its environment; without a value, the one it has here.",
        ),
        click.option("--cwd", metavar="DIR", help="The directory at the daemon to run it in."),
        click.option("-u", "--user", metavar="USER", help="The account to run it as."),
    ):
        function = option(function)
    return function


def run_options(function: F) -> F:
    """Add the options that say how a command is run."""
    for option in (
        click.option(
            "--nice",
            type=click.IntRange(-20, 19),
            metavar="N",
            help="Add to its priority, -20 to 19: the higher, the later its turn.",
        ),
        click.option(
            "--limit",
            "limits",
            type=_Limit(),
            multiple=True,
            metavar="NAME=N",
            help="What each of its processes may use at most: cpu=10, memory=1G, processes=50, files=100, "
            "file-size=20M.",
        ),
        click.option(
            "--output-limit",
            type=Amount(),
            metavar="BYTES",
            help="Kill it when it has written more: 500k, 20M.",
        ),
        click.option(
            "--timeout",
            "seconds",
            type=Seconds(),
            metavar="SECONDS",
            help="Kill it when it runs longer. (How long connecting may take is said before `exec`.)",
        ),
    ):
        function = option(function)
    return place_options(function)


def terminal_like(local: LocalTerminal) -> Terminal:
    """A terminal for a job: as large as ours, and of the same type."""
    from sockserv.execution.arguments import Terminal

    columns, rows = local.size
    kind = local.type if _TERMINAL_TYPE.fullmatch(local.type) else "dumb"
    return Terminal(columns=columns, rows=rows, type=kind)


def command_from(
    argv: tuple[str, ...],
    *,
    is_shell: bool,
    terminal: Terminal | None,
    environment: tuple[tuple[str, str], ...] = (),
    cwd: str | None = None,
    user: str | None = None,
    seconds: float | None = None,
    output_limit: int | None = None,
    limits: tuple[tuple[str, int], ...] = (),
    nice: int | None = None,
) -> Command:
    """The command that was typed. For a shell the words become one text, as ssh does it."""
    from sockserv.execution.arguments import Command, ResourceLimits

    if is_shell and argv:
        argv = (" ".join(argv),)
    return Command(
        argv=argv,
        shell=is_shell,
        env=dict(environment),
        cwd=cwd,
        user=user,
        timeout_seconds=seconds,
        output_limit_bytes=output_limit,
        limits=ResourceLimits(**dict(limits)),
        nice=nice,
        terminal=terminal,
    )
