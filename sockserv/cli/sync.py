"""`sockserv sync`: a folder here and one at the daemon made alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "sync",
    cls=Command,
    epilog="""\b
Examples:
  sockserv sync photos photos
  sockserv sync --delete --dry-run photos photos
  sockserv sync --pull reports /reports    from the daemon to here""",
)
@click.option("--pull", is_flag=True, help="Make LOCAL like REMOTE, instead of REMOTE like LOCAL.")
@click.option("--delete", is_flag=True, help="Remove what only the other side has.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.argument("local", type=click.Path())
@click.argument("remote", type=REMOTE)
@pass_app
def command(app: App, local: str, remote: Remote, pull: bool, delete: bool, dry_run: bool) -> None:
    """Make one folder like another.

    The folder REMOTE at the daemon becomes like LOCAL; with --pull it is the other way round. Only what differs is
    sent: files of another size, and those of another time whose digests differ. Modes and times are kept. With
    --delete, what only the other side has is removed, after everything else has gone well.
    """
    app.run(
        app.options,
        lambda session: _sync(session, local, remote, pull=pull, delete=delete, dry_run=dry_run),
    )


async def _sync(
    session: Session, local: str, remote: Remote, *, pull: bool, delete: bool, dry_run: bool
) -> None:
    # Imported late: the help needs none of it.
    from sockserv.cli.transfers import carry_out, show_plan
    from sockserv.client.files import Direction

    client = await session.connect()
    try:
        plan = await client.files.plan_sync(
            local,
            remote.path,
            direction=Direction.PULL if pull else Direction.PUSH,
            delete=delete,
        )
        if dry_run:
            await show_plan(session, plan)
        else:
            await carry_out(session, client.files, plan, preserve=True)
    finally:
        await client.close()
