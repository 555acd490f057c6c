"""`sockserv usage`: how much room one's files take at the daemon, and how much there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command("usage", cls=Command, epilog="Example:  sockserv usage")
@pass_app
def command(app: App) -> None:
    """Show how much room there is for files.

    How much one's own take at the daemon, how much they may take, and how much is free on its disk.
    """
    app.run(app.options, _show)


async def _show(session: Session) -> None:
    # Imported late: the help needs none of it.
    import attrs

    from sockserv.cli.amounts import amount

    client = await session.connect()
    try:
        usage = await client.files.usage()
    finally:
        await client.close()
    quota = "" if usage.quota_bytes is None else f" of {amount(usage.quota_bytes)}"
    await session.show(
        f"{amount(usage.used_bytes)}{quota} used, {amount(usage.free_bytes)} free on the disk",
        attrs.asdict(usage),
    )
