"""`sockserv stat`: what there is to know of a file at the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command("stat", cls=Command, epilog="Example:  sockserv stat report.pdf")
@click.argument("paths", type=REMOTE, nargs=-1, required=True, metavar="REMOTE...")
@pass_app
def command(app: App, paths: tuple[Remote, ...]) -> None:
    """Show what is known of files and folders."""
    app.run(app.options, lambda session: _stat(session, paths))


async def _stat(session: Session, paths: tuple[Remote, ...]) -> None:
    # Imported late: the help needs none of it.
    from sockserv.cli.amounts import amount, mode, moment
    from sockserv.cli.ls import as_values
    from sockserv.files.facts import FileType

    client = await session.connect()
    try:
        for path in paths:
            entry = await client.files.stat(path.path)
            size = ""
            if entry.type is FileType.FILE:
                size = f"{entry.size} bytes ({amount(entry.size)}), "
            await session.show(
                f"{path.path or '/'}: {entry.type}, {size}{mode(entry.type, entry.mode)}, "
                f"{moment(entry.mtime_ns)}",
                as_values(entry) | {"path": path.path},
            )
    finally:
        await client.close()
