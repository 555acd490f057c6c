"""`sockserv rm`: files at the daemon removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "rm",
    cls=Command,
    epilog="""\b
Examples:
  sockserv rm report.pdf
  sockserv rm -r reports/2019""",
)
@click.option("-r", "--recursive", is_flag=True, help="Folders with all that is in them.")
@click.argument("paths", type=REMOTE, nargs=-1, required=True, metavar="REMOTE...")
@pass_app
def command(app: App, paths: tuple[Remote, ...], recursive: bool) -> None:
    """Remove files and empty folders.

    They are at the daemon, and there is no way back.
    """
    if any(not path.path for path in paths):
        raise click.UsageError("the folder of all files is not removed")
    app.run(app.options, lambda session: _remove(session, paths, recursive=recursive))


async def _remove(session: Session, paths: tuple[Remote, ...], *, recursive: bool) -> None:
    client = await session.connect()
    try:
        for path in paths:
            await client.files.remove(path.path, recursive=recursive)
    finally:
        await client.close()
