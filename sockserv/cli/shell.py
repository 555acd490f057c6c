"""`sockserv shell`: a login at the daemon's machine, in this terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sockserv.cli.commandline import command_from, place_options, terminal_like
from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.outcomes import EPILOG, run_job

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.execution.arguments import Command as RemoteCommand

__all__ = ["command"]


@click.command(
    "shell",
    cls=Command,
    epilog=f"""\b
Examples:
  sockserv shell
  sockserv shell --server lab1 --cwd /srv/site

\b
{EPILOG}""",
)
@place_options
@pass_app
def command(app: App, /, **options: Any) -> None:
    """Open a shell at the daemon, in this terminal.

    All keys go there, Ctrl-C too. Enter, ~ and . leaves at once, also where the connection hangs; what still runs
    there is ended then. (~~ sends one ~.)
    """
    if not (app.terminal.has(0) and app.terminal.has(1)):
        raise click.UsageError(
            "there is no terminal here: `sockserv exec --shell` runs commands from standard input"
        )
    made = command_from((), is_shell=True, terminal=terminal_like(app.terminal), **options)
    run_job(app, lambda session: _run(session, made))


async def _run(session: Session, made: RemoteCommand) -> int:
    # Imported late: the help needs none of it.
    from sockserv.cli.foreground import follow

    client = await session.connect()
    try:
        return await follow(
            session, lambda: client.exec.run(made), reads_input=True, has_terminal=True
        )
    finally:
        await client.close()
