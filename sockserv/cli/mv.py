"""`sockserv mv`: other names for what is at the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "mv",
    cls=Command,
    epilog="""\b
Examples:
  sockserv mv draft.pdf report.pdf
  sockserv mv report.pdf reports/          into the folder""",
)
@click.option("-f", "--overwrite", is_flag=True, help="Replace a file that is there.")
@click.argument("source", type=REMOTE)
@click.argument("target", type=REMOTE)
@pass_app
def command(app: App, source: Remote, target: Remote, overwrite: bool) -> None:
    """Move a file or a folder.

    SOURCE and TARGET are both at the daemon. With a / at its end TARGET is the folder to move it into.
    """
    path = target.below(source.name) if target.is_folder else target.path
    app.run(app.options, lambda session: _move(session, source.path, path, overwrite=overwrite))


async def _move(session: Session, source: str, target: str, *, overwrite: bool) -> None:
    client = await session.connect()
    try:
        await client.files.move(source, target, overwrite=overwrite)
    finally:
        await client.close()
