"""`sockserv exec`: a command at the daemon, as if it ran here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs
import click

from sockserv.cli.commandline import command_from, run_options, terminal_like
from sockserv.cli.job_names import JOB_NAME
from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.outcomes import EPILOG, JobStatus, run_job
from sockserv.cli.output import as_json_line
from sockserv.errors import ConnectError, ConnectionEnded

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client import Client
    from sockserv.client.execution import RemoteJob
    from sockserv.execution.arguments import Command as RemoteCommand
    from sockserv.execution.outcome import Started

__all__ = ["command"]


@attrs.frozen(kw_only=True)
class _Wanted:
    """What the command line asks for."""

    command: RemoteCommand
    job: str | None
    reads_input: bool
    is_kept: bool


@click.command(
    "exec",
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    epilog=f"""\b
Examples:
  sockserv exec -- df -h
  tar c . | sockserv exec -- tar x -C /srv/site
  sockserv exec --shell 'ls -l; abcd; pwd' > out 2> err
  sockserv exec --pty -- top
  sockserv exec --keep -- make -j8
  sockserv exec --on lab1,lab2,lab3 -- uptime

\b
{EPILOG}

Ctrl-C once is SIGINT for it, twice SIGKILL; three times leaves at once.""",
)
@click.option("-s", "--shell", is_flag=True, help="COMMAND is text for a shell.")
@click.option("-t", "--pty", is_flag=True, help="Give it a terminal: ours, if there is one here.")
@click.option("-n", "--no-stdin", is_flag=True, help="It gets no standard input.")
@click.option(
    "-k",
    "--keep",
    is_flag=True,
    help="It goes on when the connection breaks: see `sockserv attach`.",
)
@click.option(
    "-d", "--detach", is_flag=True, help="Keep it, do not wait for it, and print its name."
)
@click.option(
    "--job", type=JOB_NAME, metavar="NAME", help="What to call it; otherwise it gets some name."
)
@click.option(
    "--on", "servers", metavar="SERVER,...", multiple=True, help="Run it on all of these at once."
)
@run_options
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...")
@pass_app
def command(
    app: App,
    /,
    argv: tuple[str, ...],
    shell: bool,
    pty: bool,
    no_stdin: bool,
    keep: bool,
    detach: bool,
    job: str | None,
    servers: tuple[str, ...],
    **options: Any,
) -> None:
    """Run COMMAND at the daemon.

    It has our standard input, output and error, every byte as it is, and ends as it ended there. Where it is a
    success here, it has exited with 0 there, and all that it has written has come.
    """
    if not argv and not shell:
        raise click.UsageError(
            "there is no COMMAND; without one, --shell reads from standard input"
        )
    made = command_from(
        argv,
        is_shell=shell,
        terminal=terminal_like(app.terminal) if pty else None,
        **options,
    )
    if servers:
        if pty or keep or detach or job:
            raise click.UsageError("with --on there is no --pty, --keep, --detach and --job")
        # What the environment names is for when nothing else is named.
        if app.options.server not in (None, os.environ.get("SOCKSERV_SERVER")):
            raise click.UsageError("--on names the servers: no --server besides")
        names = _names(servers)
        run_job(app, lambda session: _run_on_many(session, names, made))
        return
    wanted = _Wanted(
        command=made,
        job=job,
        reads_input=not no_stdin,
        is_kept=keep,
    )
    work = _start if detach else _run
    run_job(app, lambda session: work(session, wanted))


def _names(servers: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name.strip() for one in servers for name in one.split(","))
    if not all(names):
        raise click.UsageError("--on names servers, with commas between them: lab1,lab2")
    if len(set(names)) < len(names):
        raise click.UsageError("--on names a server twice")
    # Imported late: the help needs none of it.
    from sockserv.client.profiles import is_name
    from sockserv.urls import ServerUrl

    for name in names:
        try:
            if not is_name(name):
                ServerUrl.parse(name)
        except ConnectError as error:
            raise click.UsageError(str(error)) from None
    return names


async def _run(session: Session, wanted: _Wanted) -> int:
    # Imported late: the help needs none of it.
    from sockserv.cli.foreground import follow

    client = await session.connect()
    try:
        status = await follow(
            session,
            lambda: _begin(session, client, wanted),
            reads_input=wanted.reads_input,
            has_terminal=wanted.command.terminal is not None,
            is_kept=wanted.is_kept,
        )
    finally:
        await client.close()
    command = wanted.command
    if status == JobStatus.NOT_FOUND and len(command.argv) == 1 and " " in command.argv[0]:
        await session.remark("Is that text for a shell? Then say so with --shell.")
    return status


async def _begin(session: Session, client: Client, wanted: _Wanted) -> RemoteJob:
    reads = wanted.reads_input
    if not wanted.is_kept:
        return await client.exec.run(wanted.command, job=wanted.job, stdin=None if reads else b"")
    started = await _keep(session, client, wanted, reads_input=reads)
    return await client.exec.attach(started.job, stdin_offset=0 if reads else None)


async def _start(session: Session, wanted: _Wanted) -> int:
    client = await session.connect()
    try:
        started = await _keep(session, client, wanted, reads_input=False)
    finally:
        await client.close()
    await session.show(started.job, {"job": started.job, "pid": started.pid})
    return 0


async def _keep(session: Session, client: Client, wanted: _Wanted, *, reads_input: bool) -> Started:
    from sockserv.client.execution import new_name

    name = wanted.job or new_name()
    try:
        return await client.exec.start(wanted.command, job=name, stdin=reads_input)
    except ConnectionEnded:
        # It may run now, and goes on then.
        await session.remark(f"If it was started: sockserv attach {name}")
        if session.options.json:
            await session.errors.write(as_json_line({"job": name}))
        raise


async def _run_on_many(session: Session, names: tuple[str, ...], made: RemoteCommand) -> int:
    from sockserv.cli.many import Many

    return await Many(session, names, made).run()
