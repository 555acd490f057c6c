"""`sockserv jobs`: what runs at the daemon, and what is kept of what has run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from sockserv.cli.job_names import JOB_NAME
from sockserv.cli.options import App, Command, pass_app

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.execution.outcome import Job

__all__ = ["command"]


_LATE: Final = 1e15
"""Long after the last moment that has a date."""


@click.command(
    "jobs",
    cls=Command,
    epilog="""\b
Examples:
  sockserv jobs
  sockserv jobs --json | jq -r 'select(.outcome) | .job'
  sockserv jobs --remove build-7""",
)
@click.option(
    "--remove",
    type=JOB_NAME,
    metavar="JOB",
    multiple=True,
    help="Forget a kept job that has ended, and its output.",
)
@click.option(
    "--identity", metavar="NAME", help="Only the jobs of this one; those of others need `admin`."
)
@pass_app
def command(app: App, remove: tuple[str, ...], identity: str | None) -> None:
    """List jobs: those that run, and those that are kept.

    They are ours; the owner sees those of everybody, and so does who may `admin`.
    """
    if remove:
        app.run(app.options, lambda session: _remove(session, remove, identity))
    else:
        app.run(app.options, lambda session: _list(session, identity))


async def _remove(session: Session, names: tuple[str, ...], identity: str | None) -> None:
    client = await session.connect()
    try:
        for name in names:
            await client.exec.remove(name, identity=identity)
    finally:
        await client.close()


async def _list(session: Session, identity: str | None) -> None:
    # Imported late: the help needs none of it.
    from sockserv.cli.output import as_json_line, table

    client = await session.connect()
    try:
        jobs = [job for job in await client.exec.jobs() if identity in (None, job.identity)]
    finally:
        await client.close()
    if session.options.json:
        for job in jobs:
            await session.output.write(as_json_line(_values(job)))
    elif jobs:
        head = ("JOB", "OF", "STATE", "STARTED", "OUTPUT", "COMMAND")
        await session.output.write(table(head, map(_row, jobs)).encode())
    elif not session.terminal.has(2):
        return
    elif identity not in (None, client.identity):
        await session.remark(f"There are none of {identity} that we may see.")
    else:
        await session.remark("There are none: `sockserv exec --keep` starts one that is kept.")


def _row(job: Job) -> tuple[str, ...]:
    from sockserv.cli.amounts import amount, moment

    state = "runs" if job.outcome is None else str(job.outcome)
    if job.is_kept and job.outcome is None:
        state += ", kept"
    started = moment(int(min(job.started_at, _LATE)) * 10**9)
    size = amount(job.stdout_bytes + job.stderr_bytes)
    return job.job, job.identity, state, started, size, job.command


def _values(job: Job) -> dict[str, Any]:
    import attrs

    from sockserv.cli.outcomes import as_values

    values = attrs.asdict(job, recurse=False, filter=lambda field, value: value is not None)
    if job.outcome is not None:
        values["outcome"] = as_values(job.outcome)
    return values
