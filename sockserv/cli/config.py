"""`sockserv config`: looking over the daemon's settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from sockserv.cli.options import App, Command, Group, pass_app
from sockserv.cli.output import as_json_line, printable

if TYPE_CHECKING:
    from sockserv.settings import Settings

__all__ = ["command"]

_TAKES: Final = ("--state", "--json")
_TABLES: Final = ("limits", "audit", "files", "exec", "kept", "chat")


@click.group(
    "config", cls=Group, takes=_TAKES, epilog="Example:  sockserv config check sockserv.toml"
)
def command() -> None:
    """Look over the daemon's settings."""


@command.command(
    "check",
    cls=Command,
    takes=_TAKES,
    epilog="""\b
Examples:
  sockserv config check sockserv.toml
  sockserv config check                    what holds without a file""",
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@pass_app
def check(app: App, file: Path | None) -> None:
    """Check a settings file, and show what a daemon makes of it.

    FILE is what `twistd sockserv --config FILE` is to be given. What is wrong with it is said in one line
    that names the field and what was expected, and the exit status is 1.
    """
    from sockserv.settings import load, load_file

    if file is not None:
        # The environment may hide a mistake in the file.
        load_file(file)
    settings = load(config=file, state=app.options.state, environ=os.environ)
    if app.options.json:
        click.echo(as_json_line(_as_values(file, settings)), nl=False)
        return
    click.echo(printable(f"{file or 'without a file'}: ok"))
    click.echo(printable(f"  listens on {', '.join(e.url for e in settings.listen)}"))
    for what, where in _besides(settings).items():
        click.echo(printable(f"  {what} on {where}"))
    click.echo(printable(f"  state in {settings.state.path}"))
    for name, value in _changed(settings).items():
        click.echo(printable(f"  {name} = {value}"))


def _as_values(file: Path | None, settings: Settings) -> dict[str, Any]:
    return {
        "file": None if file is None else str(file),
        "listen": [endpoint.url for endpoint in settings.listen],
        "state": str(settings.state.path),
        "besides": _besides(settings),
    } | {name: _table(getattr(settings, name)) for name in _TABLES}


def _besides(settings: Settings) -> dict[str, str]:
    """What is spoken besides the protocol itself, and where."""
    spoken = {f"classic {d}": e.url for d, e in settings.classic.endpoints.items()}
    if settings.classic.chat is not None:
        spoken["classic chat"] = str(settings.classic.chat)
    if settings.chat_udp is not None:
        spoken["chat"] = str(settings.chat_udp)
    return spoken


def _changed(settings: Settings) -> dict[str, Any]:
    """The settings in tables that are not the usual ones, as `table.name`."""
    tables = ((name, getattr(settings, name)) for name in _TABLES)
    return {
        f"{name}.{field}": value
        for name, table in tables
        for field, value in _table(table).items()
        if value != _table(type(table)())[field]
    }


def _table(settings: attrs.AttrsInstance) -> dict[str, Any]:
    """The fields of a table of settings, the folders among them as text."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in attrs.asdict(settings).items()
    }
