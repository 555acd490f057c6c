"""The options that every command takes, before its name or after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
from click.core import ParameterSource

from sockserv.cli.exits import ExitStatus

if TYPE_CHECKING:
    from sockserv.cli.session import Work
    from sockserv.cli.terminal import Terminal

__all__ = ["App", "Command", "Group", "Options", "Seconds", "pass_app"]

_MAX_SECONDS: Final = 1e6
_MAX_TOKEN_BYTES: Final = 1024


@attrs.frozen(kw_only=True)
class Options:
    """Where the daemon is, who we are to it, and how the answer is shown."""

    server: str | None = None
    state: str | None = None
    token_file: str | None = None
    timeout: float = 10.0
    json: bool = False

    def token(self) -> str | None:
        """The token in the file that was named, if one was.

        Raises `click.UsageError` when there is none in it.
        """
        path = self.token_file
        if path is None:
            return None
        try:
            with open(path, "rb") as file:
                content = file.read(_MAX_TOKEN_BYTES + 1).strip()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise click.UsageError(f"the token file {path} cannot be read: {reason}") from None
        if not 0 < len(content) <= _MAX_TOKEN_BYTES or len(content.split()) > 1:
            raise click.UsageError(
                f"the token file {path} does not hold one token and nothing else"
            )
        try:
            return content.decode("ascii")
        except UnicodeDecodeError:
            raise click.UsageError(f"the token file {path} does not hold a token") from None


@attrs.define
class App:
    """What commands find in click's context: the options so far, what runs their work, and the terminal."""

    run: Callable[[Options, Work], None]
    terminal: Terminal
    options: Options = attrs.field(factory=Options)


pass_app = click.make_pass_decorator(App)


class Seconds(click.ParamType):  # type: ignore[type-arg]  # older versions of click take none
    """A time in seconds, of a thousandth or more, or of 0 where that is allowed."""

    name = "seconds"

    def __init__(self, *, may_be_zero: bool = False) -> None:
        self._least = 0.0 if may_be_zero else 0.001

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number that was written."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not self._least <= seconds <= _MAX_SECONDS:
            self.fail(
                f"{value!r} is not a number of seconds from {self._least:g} to {_MAX_SECONDS:.0f}",
                param,
                ctx,
            )
        return seconds


class _EveryCommand(click.Command):
    """A command that takes the options of all commands, and shows them apart from its own.

    One that calls no daemon `takes` only those of them that mean something to it.
    """

    def __init__(
        self, *arguments: Any, takes: Collection[str] | None = None, **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self._takes = takes

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, then those of all commands, but for one whose name means another thing here."""
        own = super().get_params(ctx)
        names = {name for param in own for name in param.opts}
        common = _INNER if ctx.parent else _OUTER
        return [
            *own,
            *(p for p in common if names.isdisjoint(p.opts) and self._has_use_for(p)),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Nor is an option without use here to stand before the command's name."""
        root = ctx.find_root()
        for param in _OUTER:
            source = root.get_parameter_source(param.name or "")
            if source is ParameterSource.COMMANDLINE and not self._has_use_for(param):
                raise click.UsageError(f"{ctx.info_name} takes no {param.opts[0]}", ctx)
        return super().parse_args(ctx, args)

    def _has_use_for(self, param: click.Parameter) -> bool:
        return self._takes is None or not set(self._takes).isdisjoint(param.opts)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, in two groups."""
        everybodys = _INNER if ctx.parent else _OUTER
        params = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        own = [p for p in params if p not in everybodys]
        common = [p for p in params if p in everybodys]
        for title, options in (("Options", own), ("Options of all commands", common)):
            records = [r for p in options if (r := p.get_help_record(ctx)) is not None]
            with formatter.section(title):
                formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)


class Command(_EveryCommand):
    """One command."""


class Group(_EveryCommand, click.Group):
    """A command with commands of its own."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without anything to parse, somebody wants to know what there is."""
        if not args:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(ExitStatus.USAGE)
        return super().parse_args(ctx, args)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Put an option where all commands find it; the one that is further right counts."""
    if value is not None and param.name is not None:
        app = ctx.ensure_object(App)
        app.options = attrs.evolve(app.options, **{param.name: value})
    return value


def _common_options(*, with_environment: bool) -> list[click.Parameter]:
    """The options of all commands.

    After a command's name they do not look into the environment, which would count more then than what was
    written before it.
    """

    def option(*names: str, envvar: str | None = None, **settings: Any) -> click.Parameter:
        return click.Option(
            names,
            envvar=envvar if with_environment else None,
            callback=_keep,
            expose_value=False,
            **settings,
        )

    return [
        option(
            "--server",
            metavar="URL|NAME",
            envvar="SOCKSERV_SERVER",
            help="The daemon to call: one of `sockserv servers`, or sockserv://HOST, tcp://HOST:PORT, unix:///PATH; "
            "without it, the one of this account.  [env: SOCKSERV_SERVER]",
        ),
        option(
            "--state",
            metavar="DIR",
            envvar="SOCKSERV_STATE",
            help="The state directory of that daemon.  [env: SOCKSERV_STATE]",
        ),
        option(
            "--token-file",
            metavar="FILE",
            envvar="SOCKSERV_TOKEN_FILE",
            help="Log in with the token in this file.  [env: SOCKSERV_TOKEN_FILE]",
        ),
        option(
            "--timeout",
            metavar="SECONDS",
            type=Seconds(),
            help="How long connecting and logging in may take.  [default: 10]",
        ),
        option(
            "--json",
            is_flag=True,
            default=None,
            help="Show results and errors as JSON, one object a line.",
        ),
    ]


_OUTER: Final = _common_options(with_environment=True)
_INNER: Final = _common_options(with_environment=False)
