"""`sockserv whoami`: who we are to the daemon, and what we may do there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "whoami",
    cls=Command,
    epilog="""\b
Examples:
  sockserv whoami
  sockserv --server lab1 whoami --json""",
)
@pass_app
def command(app: App) -> None:
    """Show who we are to the daemon, by what, and what we may do."""
    app.run(app.options, _show)


async def _show(session: Session) -> None:
    # Imported late: the help needs none of it.
    import attrs

    from sockserv.cli.people import Holder, what_they_may

    client = await session.connect()
    try:
        reply = await client.call(
            "identity.whoami", result=Holder, timeout_seconds=session.options.timeout
        )
    finally:
        await client.close()
    who = reply.result
    by = f", by {who.login.credential}" if who.login else ""
    await session.show(
        f"{who.name} at {client.server_name}{by}",
        attrs.asdict(who),
    )
    await session.show(f"may: {what_they_may(who)}")
