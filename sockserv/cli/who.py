"""`sockserv who`: who is there to chat with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.chat import PLACE
from sockserv.cli.options import App, Command, pass_app

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "who",
    cls=Command,
    epilog="""\b
Examples:
  sockserv who
  sockserv who lobby --json | jq -r .name""",
)
@click.argument("room", type=PLACE, required=False, metavar="[ROOM]")
@pass_app
def command(app: App, room: str | None) -> None:
    """List who is in a ROOM, or who chats at all.

    Without a ROOM those who have gone stand there, too, with when they were seen last.
    """
    if room is not None and room.startswith("@"):
        raise click.UsageError(f"{room} is somebody, and no room")
    app.run(app.options, lambda session: _list(session, room))


async def _list(session: Session, room: str | None) -> None:
    # Imported late: the help needs none of it.
    import attrs

    from sockserv.cli.amounts import moment
    from sockserv.cli.output import as_json_line, table

    client = await session.connect()
    try:
        people = await client.chat.who(room)
    finally:
        await client.close()
    if session.options.json:
        data = b"".join(as_json_line(attrs.asdict(one)) for one in people)
        await session.output.write(data)
    elif people:
        rows = [
            (one.name, one.state, moment(int(one.since * 1e9)), one.text or "") for one in people
        ]
        await session.output.write(table(("NAME", "STATE", "SINCE", "WHY"), rows).encode())
    elif session.terminal.has(2):
        await session.remark("Nobody is there.")
