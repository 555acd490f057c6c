"""`sockserv config`: looking over the daemon's settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sockserv.cli.options import App, Command, Group, pass_app
from sockserv.cli.output import as_json_line, printable

if TYPE_CHECKING:
    from sockserv.settings import FilesSettings, Settings

__all__ = ["command"]


@click.group("config", cls=Group, epilog="Example:  sockserv config check sockserv.toml")
def command() -> None:
    """Look over the daemon's settings."""


@command.command(
    "check",
    cls=Command,
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
    click.echo(printable(f"  state in {settings.state.path}"))
    for name, value in _changed(settings).items():
        click.echo(printable(f"  {name} = {value}"))


def _as_values(file: Path | None, settings: Settings) -> dict[str, Any]:
    import attrs

    return {
        "file": None if file is None else str(file),
        "listen": [endpoint.url for endpoint in settings.listen],
        "state": str(settings.state.path),
        "limits": attrs.asdict(settings.limits),
        "audit": attrs.asdict(settings.audit),
        "files": _files(settings.files),
    }


def _changed(settings: Settings) -> dict[str, Any]:
    """The settings in tables that are not the usual ones."""
    import attrs

    from sockserv.limits import Limits
    from sockserv.settings import AuditSettings, FilesSettings

    defaults = attrs.asdict(Limits()) | attrs.asdict(AuditSettings()) | _files(FilesSettings())
    given = attrs.asdict(settings.limits) | attrs.asdict(settings.audit) | _files(settings.files)
    return {name: value for name, value in given.items() if value != defaults[name]}


def _files(settings: FilesSettings) -> dict[str, Any]:
    import attrs

    root = None if settings.root is None else str(settings.root)
    return attrs.asdict(settings) | {"root": root}
