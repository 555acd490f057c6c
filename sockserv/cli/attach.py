"""`sockserv attach`: what a kept job has written, and goes on to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import click

from sockserv.cli.job_names import JOB_NAME, whose_option
from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.outcomes import EPILOG, run_job

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client import Client
    from sockserv.client.execution import RemoteJob
    from sockserv.execution.outcome import Job

__all__ = ["command"]


@attrs.frozen(kw_only=True)
class _Wanted:
    """What the command line asks for; without offsets, everything from the beginning."""

    job: str
    identity: str | None
    stdout_offset: int
    stderr_offset: int
    reads_input: bool
    is_new_only: bool


@click.command(
    "attach",
    cls=Command,
    epilog=f"""\b
Examples:
  sockserv attach build-7
  sockserv attach --new build-7
  sockserv attach --stdout-offset $(stat -c %s log) build-7 >> log
  sockserv attach --stdin shell-1

\b
{EPILOG}

Ctrl-C only ends this command. With --stdin it is for JOB: once SIGINT, twice SIGKILL, and the third time leaves;
in a terminal all keys are for JOB, and Enter, ~ and . leave.""",
)
@click.option("-i", "--stdin", is_flag=True, help="Our standard input is for it.")
@click.option("--new", is_flag=True, help="Only what it writes from now on.")
@click.option(
    "--stdout-offset",
    type=click.IntRange(min=0),
    default=0,
    metavar="BYTES",
    help="Leave so much of it out.",
)
@click.option(
    "--stderr-offset",
    type=click.IntRange(min=0),
    default=0,
    metavar="BYTES",
    help="Leave so much of it out.",
)
@whose_option
@click.argument("job", type=JOB_NAME)
@pass_app
def command(
    app: App,
    job: str,
    stdin: bool,
    new: bool,
    stdout_offset: int,
    stderr_offset: int,
    identity: str | None,
) -> None:
    """Show what JOB writes, and end as it ends.

    JOB was started with `sockserv exec --keep`, and what it has written by now is shown, too. Many can follow it at
    once; one at a time writes to it.
    """
    if new and (stdout_offset or stderr_offset):
        raise click.UsageError("--new says where to begin: no offset besides")
    wanted = _Wanted(
        job=job,
        identity=identity,
        stdout_offset=stdout_offset,
        stderr_offset=stderr_offset,
        reads_input=stdin,
        is_new_only=new,
    )
    run_job(app, lambda session: _attach(session, wanted))


async def _attach(session: Session, wanted: _Wanted) -> int:
    # Imported late: the help needs none of it.
    from sockserv.cli.foreground import follow

    client = await session.connect()
    try:
        found = None
        if wanted.reads_input or wanted.is_new_only:
            found = await _find(client, wanted)
        return await follow(
            session,
            lambda: _begin(client, wanted, found),
            reads_input=wanted.reads_input,
            has_terminal=found is not None and found.has_terminal,
            is_in_charge=wanted.reads_input,
            is_kept=True,
        )
    finally:
        await client.close()


async def _find(client: Client, wanted: _Wanted) -> Job | None:
    identity = wanted.identity or client.identity
    for job in await client.exec.jobs():
        if (job.job, job.identity) == (wanted.job, identity):
            return job
    return None  # attaching says so


async def _begin(client: Client, wanted: _Wanted, found: Job | None) -> RemoteJob:
    known = found if found is not None and wanted.is_new_only else None
    return await client.exec.attach(
        wanted.job,
        stdout_offset=known.stdout_bytes if known else wanted.stdout_offset,
        stderr_offset=known.stderr_bytes if known else wanted.stderr_offset,
        stdin_offset=(found.stdin_bytes if found else 0) if wanted.reads_input else None,
        identity=wanted.identity,
    )
