"""`sockserv chat`: talk to others at a server, in this terminal or in pipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from sockserv.chat.errors import BadName
from sockserv.chat.names import parse_place
from sockserv.cli.options import App, Command, pass_app

if TYPE_CHECKING:
    from sockserv.cli.session import Session, Work
    from sockserv.cli.talking.screen import Screen

__all__ = ["PLACE", "command"]

_FIRST_ROOM: Final = "lobby"
_MOST_FOUND: Final = 500
_MOST_HISTORY: Final = 1_000_000
_DUMB: Final = ("", "dumb")


class _PlaceType(click.ParamType):  # type: ignore[type-arg]  # older versions of click take none
    """A room, or somebody: `lobby`, `@alice`."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The one form of its name."""
        try:
            return str(parse_place(value))
        except BadName as error:
            self.fail(error.message, param, ctx)


PLACE: Final = _PlaceType()


@attrs.frozen(kw_only=True)
class _Wanted:
    """What the command line asks for."""

    place: str | None
    words: tuple[str, ...]
    send: bool
    send_file: Path | None
    lines: bool
    follow: bool
    history: int | None
    search: str | None

    def check(self) -> None:
        """Raises `click.UsageError` for what makes no sense together."""
        looks = self.follow or self.history is not None
        asked = (self.send, self.send_file is not None, looks, self.search is not None)
        if asked.count(True) > 1:
            raise click.UsageError(
                "one of --send, --send-file, --search, and --follow or --history, which go together"
            )
        if self.send_file is not None and not (self.place or "").startswith("@"):
            raise click.UsageError("--send-file needs @NAME: a file goes to somebody")
        if self.words and not self.send:
            raise click.UsageError("what is to be said needs --send")
        if self.lines and (not self.send or self.words):
            raise click.UsageError("--lines is about what --send reads from standard input")
        if self.send and self.place is None:
            raise click.UsageError("--send needs a ROOM, or @NAME")


@click.command(
    "chat",
    cls=Command,
    epilog="""\b
Examples:
  sockserv chat
  sockserv chat @alice
  echo "the backup is done" | sockserv chat --send lobby
  sockserv chat --send @alice lunch?
  tail -f log | sockserv chat --send ops --lines
  sockserv chat --send-file report.pdf @alice
  sockserv chat --follow lobby --json | jq -r .text
  sockserv chat --history 20 lobby
  sockserv chat --search "backup failed" ops

In the terminal Tab completes names, Enter sends, Alt-Enter begins a new line, and /help says what else there is.
Ctrl-C empties the line; in an empty one it leaves, as Ctrl-D does.""",
)
@click.option("--send", is_flag=True, help="Say TEXT, or all of standard input as one message.")
@click.option(
    "--lines", is_flag=True, help="With --send: each line of standard input is a message."
)
@click.option(
    "--send-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Send a file to @NAME, into the folder inbox there, and say so.",
)
@click.option(
    "--follow", is_flag=True, help="Write what is said, there and to oneself, until Ctrl-C."
)
@click.option(
    "--history",
    metavar="COUNT",
    type=click.IntRange(1, _MOST_HISTORY),
    help="Write the last COUNT messages; with --follow, before the new ones.",
)
@click.option(
    "--search", metavar="WORDS", help="Write the last messages with all these words, 500 at most."
)
@click.argument("place", type=PLACE, required=False, metavar="[ROOM|@NAME]")
@click.argument("words", nargs=-1, metavar="[TEXT]...")
@pass_app
def command(app: App, /, **options: Any) -> None:
    """Talk in a ROOM, or to somebody. Without either in the room lobby.

    What was said is stored at the server before it counts as sent, and comes once, also where a connection breaks in
    between; what is said to somebody who is away waits there. With --send, exit status 0 means that it is stored.
    """
    wanted = _Wanted(**options)
    wanted.check()
    app.run(app.options, _work(app, wanted))


def _work(app: App, wanted: _Wanted) -> Work:
    place = wanted.place or _FIRST_ROOM
    if wanted.send:
        text = " ".join(wanted.words) if wanted.words else None
        return lambda session: _send(session, place, text, by_lines=wanted.lines)
    if wanted.send_file is not None:
        file = wanted.send_file
        return lambda session: _send_file(session, place, file)
    if wanted.search is not None:
        words = wanted.search
        return lambda session: _search(session, words, wanted.place)
    if wanted.follow:
        return lambda session: _follow(session, place, wanted.history or 0)
    if wanted.history is not None:
        count = wanted.history
        return lambda session: _look_back(session, place, count)
    if not (app.terminal.has(0) and app.terminal.has(1)) or app.terminal.type in _DUMB:
        raise click.UsageError(
            "there is no terminal here to chat in: --send says something, --follow writes what is said"
        )
    if app.options.json:
        raise click.UsageError("--json is for --send, --follow, --history and --search")
    return lambda session: _talk(session, place)


# Imported late: the help needs none of it.


async def _send(session: Session, place: str, text: str | None, *, by_lines: bool) -> None:
    from sockserv.cli.talking.piped import send

    await send(session, place, text, by_lines=by_lines)


async def _send_file(session: Session, place: str, file: Path) -> None:
    from sockserv.cli.talking.piped_file import send_file

    await send_file(session, place, file)


async def _search(session: Session, words: str, place: str | None) -> None:
    from sockserv.cli.talking.piped import search

    await search(session, words, place, _MOST_FOUND)


async def _follow(session: Session, place: str, history: int) -> None:
    from sockserv.cli.talking.piped import follow

    await follow(session, place, history=history)


async def _look_back(session: Session, place: str, count: int) -> None:
    from sockserv.cli.talking.piped import look_back

    await look_back(session, place, count)


async def _talk(session: Session, place: str) -> None:
    from twisted.internet import reactor

    from sockserv.cli.talking.chatter import Chatter
    from sockserv.cli.talking.screen import ThreadScreen
    from sockserv.cli.terminal import left_as_it_was

    def screen(on_typed: Any) -> Screen:
        terminal = session.terminal
        shared: Any = reactor
        return ThreadScreen(shared, on_typed, type=terminal.type, size=lambda: terminal.size)

    with left_as_it_was():
        await Chatter(session, screen).run(place)
