"""A file for somebody, with the line that says so, for pipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sockserv.cli.talking.connections import Connections
from sockserv.cli.talking.piped import MOST_TRIES, Sender
from sockserv.cli.talking.sending import told_about
from sockserv.cli.transfers import follow
from sockserv.client.files import Summary
from sockserv.client.files.progress import ignore
from sockserv.errors import ConnectionEnded

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.files import Progress
    from sockserv.files.facts import Offered

__all__ = ["send_file"]


async def send_file(session: Session, place: str, file: Path) -> None:
    """Send a file into somebody's inbox, and tell them.

    A connection that is lost is made again, and what was sent of the file stays. Raises `ConnectionEnded` when that
    does not help, what refuses the file, and what refuses the line: then the file is there.
    """
    connections = Connections(session)
    await connections.open()
    await connections.next()
    try:
        offered = await _send(session, connections, place, file)
        line = told_about(file.name, offered)
        sent = await Sender(session, connections, place).send(line)
        await session.show(
            f"{place.removeprefix('@')} has it: {offered.path}",
            {
                "to": place,
                "path": offered.path,
                "size": offered.size,
                "digest": offered.digest,
                "id": sent.id,
            },
        )
    finally:
        connections.close()


async def _send(session: Session, connections: Connections, place: str, file: Path) -> Offered:
    found: list[Offered] = []

    async def work(progress: Progress) -> Summary:
        offered = await _try_to_send(connections, place, file, progress)
        found.append(offered)
        return Summary(done=1, sent_bytes=offered.size)

    if session.options.json:
        await work(ignore)
    else:
        await follow(session, work, size_bytes=None, advice="The same command goes on from here.")
    return found[0]


async def _try_to_send(
    connections: Connections, place: str, file: Path, progress: Progress
) -> Offered:
    losses = 0
    while True:
        try:
            return await connections.now.files.offer(file, to=place, on_progress=progress)
        except ConnectionEnded:
            losses += 1
            if losses == MOST_TRIES:
                raise
            await connections.next()
