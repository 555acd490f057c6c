"""`sockserv kill`: jobs at the daemon ended, or told something by a signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.job_names import JOB_NAME, whose_option
from sockserv.cli.options import App, Command, pass_app

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "kill",
    cls=Command,
    epilog="""\b
Examples:
  sockserv kill build-7
  sockserv kill --signal HUP watcher""",
)
@click.option("-f", "--force", is_flag=True, help="At once, by SIGKILL.")
@click.option(
    "-s", "--signal", "name", metavar="NAME", help="Only send this signal: INT, HUP, USR1, ..."
)
@whose_option
@click.argument("jobs", type=JOB_NAME, nargs=-1, required=True, metavar="JOB...")
@pass_app
def command(
    app: App, jobs: tuple[str, ...], force: bool, name: str | None, identity: str | None
) -> None:
    """End jobs, with all processes that they have started.

    They are asked to end at first, and killed if they do not. How each has ended is shown.
    """
    if name is not None and force:
        raise click.UsageError("--force is for ending a job: not with --signal")
    if name is not None:
        name = name.upper().removeprefix("SIG")
    app.run(
        app.options,
        lambda session: _kill(session, jobs, force=force, name=name, identity=identity),
    )


async def _kill(
    session: Session, jobs: tuple[str, ...], *, force: bool, name: str | None, identity: str | None
) -> None:
    # Imported late: the help needs none of it.
    from sockserv.cli.outcomes import as_values

    client = await session.connect()
    try:
        for job in jobs:
            if name is not None:
                await client.exec.signal(job, name, identity=identity)
                continue
            outcome = await client.exec.kill(job, force=force, identity=identity)
            await session.show(f"{job}: {outcome}", {"job": job, "outcome": as_values(outcome)})
    finally:
        await client.close()
