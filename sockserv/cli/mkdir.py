"""`sockserv mkdir`: new folders at the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command("mkdir", cls=Command, epilog="Example:  sockserv mkdir -p reports/2026/11")
@click.option(
    "-p", "--parents", is_flag=True, help="Those on the way, too; none of them has to be new."
)
@click.argument("paths", type=REMOTE, nargs=-1, required=True, metavar="REMOTE...")
@pass_app
def command(app: App, paths: tuple[Remote, ...], parents: bool) -> None:
    """Make folders."""
    app.run(app.options, lambda session: _make(session, paths, parents=parents))


async def _make(session: Session, paths: tuple[Remote, ...], *, parents: bool) -> None:
    client = await session.connect()
    try:
        for path in paths:
            await client.files.mkdir(path.path, parents=parents)
    finally:
        await client.close()
