"""`sockserv ls`: what is in a folder at the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.files import Files
    from sockserv.files.facts import Entry

__all__ = ["command"]


@click.command(
    "ls",
    cls=Command,
    epilog="""\b
Examples:
  sockserv ls
  sockserv ls -l reports
  sockserv ls -R --json | jq -r .path""",
)
@click.option("-l", "--long", is_flag=True, help="Modes, sizes in bytes and times, too.")
@click.option("-R", "--recursive", is_flag=True, help="All that is below, too.")
@click.argument("path", type=REMOTE, default="", metavar="[REMOTE]")
@pass_app
def command(app: App, path: Remote, long: bool, recursive: bool) -> None:
    """List files.

    Those in the folder REMOTE at the daemon, or in that of all of one's files.

    Folders have a / at the end. With --json the entries come as they are found, a folder of any size in the same
    memory; otherwise they are sorted.
    """
    app.run(app.options, lambda session: _list(session, path.path, long=long, recursive=recursive))


async def _list(session: Session, path: str, *, long: bool, recursive: bool) -> None:
    client = await session.connect()
    try:
        if session.options.json:
            await _stream(session, client.files, path, recursive=recursive)
        else:
            entries = await _entries(client.files, path, recursive=recursive)
            await session.output.write(_lines(entries, long=long).encode())
    finally:
        await client.close()


async def _entries(files: Files, path: str, *, recursive: bool) -> list[Entry]:
    from sockserv.files.errors import NotADirectory

    listing = files.list(path, recursive=recursive)
    try:
        return sorted([entry async for entry in listing], key=lambda e: e.path or e.name)
    except NotADirectory:
        return [await files.stat(path)]
    finally:
        listing.close()


async def _stream(session: Session, files: Files, path: str, *, recursive: bool) -> None:
    listing = files.list(path, recursive=recursive)
    try:
        async for entry in listing:
            await session.show("", as_values(entry))
    finally:
        listing.close()


def _lines(entries: list[Entry], *, long: bool) -> str:
    from sockserv.cli.amounts import mode, moment
    from sockserv.cli.output import printable
    from sockserv.files.facts import FileType

    width = max((len(str(entry.size)) for entry in entries), default=0)
    lines = []
    for entry in entries:
        name = printable(entry.path or entry.name)
        if entry.type is FileType.DIRECTORY:
            name += "/"
        if long:
            facts = f"{mode(entry.type, entry.mode)}  {entry.size:>{width}}"
            name = f"{facts}  {moment(entry.mtime_ns)}  {name}"
        lines.append(f"{name}\n")
    return "".join(lines)


def as_values(entry: Entry) -> dict[str, Any]:
    """What is known of a file, for programs."""
    import attrs

    return attrs.asdict(entry, filter=lambda field, value: value is not None)
