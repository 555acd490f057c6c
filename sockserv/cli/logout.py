"""`sockserv logout`: forgetting a server."""

from __future__ import annotations

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.output import as_json_line

__all__ = ["command"]


@click.command("logout", cls=Command, takes=("--json",), epilog="Example:  sockserv logout lab1")
@click.argument("name")
@pass_app
def command(app: App, name: str) -> None:
    """Forget a server that `sockserv login` has made known as NAME.

    Its token is removed from this account. The server is not asked, and would still take it: who has it elsewhere
    can use it until somebody there types `sockserv revoke`.
    """
    from sockserv.client.profiles import Profiles

    Profiles.locate().remove(name)
    if app.options.json:
        click.echo(as_json_line({"removed": name}), nl=False)
    else:
        click.echo(f"{name} is forgotten")
