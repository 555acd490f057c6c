"""`sockserv wait`: until a job at the daemon has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.job_names import JOB_NAME, whose_option
from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.outcomes import EPILOG, run_job

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "wait",
    cls=Command,
    epilog=f"""\b
Examples:
  sockserv wait build-7 && sockserv get build/firmware.bin

\b
{EPILOG}""",
)
@whose_option
@click.argument("job", type=JOB_NAME)
@pass_app
def command(app: App, job: str, identity: str | None) -> None:
    """Wait until JOB has ended, and end as it did."""
    run_job(app, lambda session: _wait(session, job, identity))


async def _wait(session: Session, job: str, identity: str | None) -> int:
    # Imported late: the help needs none of it.
    from sockserv.cli.outcomes import say_how_it_ended, status_of_outcome

    client = await session.connect()
    try:
        outcome = await client.exec.wait(job, identity=identity)
    finally:
        await client.close()
    await say_how_it_ended(session, outcome)
    return status_of_outcome(outcome)
