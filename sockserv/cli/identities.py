"""`sockserv identities`: who may use a daemon, and for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "identities",
    cls=Command,
    epilog="""\b
Examples:
  sockserv identities
  sockserv identities --json | jq -r .name""",
)
@pass_app
def command(app: App) -> None:
    """List who may use the daemon, and for what.

    By what each is known stands there, too, and until when, in UTC. The owner, who may do everything, does not stand
    there. No secret is shown: `token:` and 8 digits tell a token from others, in this list as in the daemon's log.
    """
    app.run(app.options, _list)


async def _list(session: Session) -> None:
    # Imported late: the help needs none of it.
    from datetime import UTC, datetime

    import attrs

    from sockserv.cli.output import as_json_line, table
    from sockserv.cli.people import known_by, people_in, what_they_may

    client = await session.connect()
    try:
        reply = await client.call("admin.identities", timeout_seconds=session.options.timeout)
    finally:
        await client.close()
    people = people_in(reply.body)
    if session.options.json:
        for person in people:
            await session.output.write(as_json_line(attrs.asdict(person)))
    elif people:
        now = datetime.fromtimestamp(session.clock.seconds(), UTC)
        rows = [(p.name, what_they_may(p), known_by(p, now)) for p in people]
        await session.output.write(table(("NAME", "MAY", "KNOWN BY"), rows).encode())
    elif session.terminal.has(2):
        await session.remark("Nobody but the owner: `sockserv invite NAME` adds somebody.")
