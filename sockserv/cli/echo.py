"""`sockserv echo`: bytes to the daemon and back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.output import as_json_line

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "echo",
    cls=Command,
    epilog="""\b
Examples:
  sockserv echo hello, world
  sockserv echo --upper < poem.txt
  sockserv echo < disk.img | cmp - disk.img

With --json, the answer to TEXT is shown as {"text": ...}; that to standard input stays as it is.""",
)
@click.option("-u", "--upper", is_flag=True, help="Have it answered in upper case.")
@click.argument("text", nargs=-1, type=click.UNPROCESSED)
@pass_app
def command(app: App, text: tuple[str, ...], upper: bool) -> None:
    """Send TEXT, and show what comes back.

    Without TEXT, standard input goes to the daemon, and what comes back to standard output: any
    bytes, however many, while they come. A success means that all of them came back.
    """
    if text:
        body = os.fsencode(" ".join(text))
        app.run(app.options, lambda session: _echo_text(session, body, upper=upper))
    else:
        app.run(app.options, lambda session: _echo_stream(session, upper=upper))


def _arguments(*, upper: bool) -> dict[str, bool]:
    return {"upper": True} if upper else {}


async def _echo_text(session: Session, body: bytes, *, upper: bool) -> None:
    client = await session.connect()
    try:
        answer = (await client.call("echo", _arguments(upper=upper), body=body)).body
        if session.options.json:
            text = answer.decode("utf-8", "backslashreplace")
            await session.output.write(as_json_line({"text": text}))
        else:
            await session.output.write(answer + b"\n")
    finally:
        await client.close()


async def _echo_stream(session: Session, *, upper: bool) -> None:
    # Imported late: the help needs none of it.
    from sockserv.cli.pump import Pump

    client = await session.connect()
    try:
        call = await client.open("echo", _arguments(upper=upper))
        await Pump(session, call, is_exact=not upper).run()
    finally:
        await client.close()
