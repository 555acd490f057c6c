"""`sockserv servers`: where this account is logged in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.output import as_json_line, table
from sockserv.errors import ProfileError

if TYPE_CHECKING:
    from sockserv.client.profiles import Profile

__all__ = ["command"]


@click.command(
    "servers",
    cls=Command,
    takes=("--json",),
    epilog="""\b
Examples:
  sockserv servers
  sockserv servers --json | jq -r .name""",
)
@pass_app
def command(app: App) -> None:
    """List the servers that `sockserv login` has made known.

    No server is asked: what is listed is what was true at the login.
    """
    from sockserv.client.profiles import Profiles

    profiles = Profiles.locate()
    found: list[Profile] = []
    failures: list[ProfileError] = []
    for name in profiles.names():
        try:
            found.append(profiles.load(name))
        except ProfileError as error:
            failures.append(error)
    if app.options.json:
        for profile in found:
            value = {"name": profile.name, "url": str(profile.url), "identity": profile.identity}
            click.echo(as_json_line(value), nl=False)
    elif found:
        rows = [(p.name, p.url.address, p.identity or "") for p in found]
        click.echo(table(("NAME", "SERVER", "AS"), rows), nl=False)
    elif not failures and app.terminal.has(2):
        click.echo("There are none yet: `sockserv login` makes one known.", err=True)
    if failures:
        raise failures[0]
