"""`sockserv revoke`: taking back all that somebody was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "revoke",
    cls=Command,
    epilog="""\b
Examples:
  sockserv revoke alice
  sockserv --server lab1 revoke alice      at a daemon whose admin you are""",
)
@click.argument("name")
@pass_app
def command(app: App, name: str) -> None:
    """Take back all that NAME was given, at once.

    The identity goes with all its credentials: its calls that run are ended, and its connections closed.
    """
    app.run(app.options, lambda session: _revoke(session, name))


async def _revoke(session: Session, name: str) -> None:
    client = await session.connect()
    try:
        await client.call("admin.revoke", {"name": name}, timeout_seconds=session.options.timeout)
        await session.show(f"{name} is revoked", {"revoked": name})
    finally:
        await client.close()
