"""`sockserv policy`: who may run what at the daemon, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sockserv.cli.commandline import command_from, place_options, terminal_like
from sockserv.cli.exits import ExitStatus
from sockserv.cli.options import App, Command, Group, pass_app

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sockserv.cli.session import Session
    from sockserv.execution.arguments import Command as RemoteCommand
    from sockserv.execution.usage import CommandUsage

__all__ = ["command"]


@click.group(
    "policy",
    cls=Group,
    epilog="""\b
Examples:
  sockserv policy commands
  sockserv policy explain --as alice -- flash 3 board.img""",
)
def command() -> None:
    """Ask the daemon who may run what, and why."""


@command.command(
    "explain",
    cls=Command,
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  sockserv policy explain -- df -h
  sockserv policy explain --as alice --shell 'ls -l; pwd'
  sockserv policy explain --as alice --env PATH=/opt/bin -- flash 3 board.img

The exit status is 0 if it is allowed, and 4 if it is refused.""",
)
@click.option("--as", "identity", metavar="NAME", help="Who would run it; that needs `admin`.")
@click.option("-s", "--shell", is_flag=True, help="COMMAND is text for a shell.")
@click.option("-t", "--pty", is_flag=True, help="It would have a terminal.")
@place_options
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...")
@pass_app
def explain(
    app: App,
    /,
    argv: tuple[str, ...],
    identity: str | None,
    shell: bool,
    pty: bool,
    **options: Any,
) -> None:
    """Say what would become of COMMAND, and why.

    Nothing is run. Warnings, for whoever may `admin`, are about rules that amount to everything that the account of the
    daemon may do.
    """
    if not argv and not shell:
        raise click.UsageError("there is no COMMAND")
    made = command_from(
        argv,
        is_shell=shell,
        terminal=terminal_like(app.terminal) if pty else None,
        **options,
    )
    is_allowed = False

    async def work(session: Session) -> None:
        nonlocal is_allowed
        is_allowed = await _explain(session, made, identity)

    app.run(app.options, work)
    if not is_allowed:
        click.get_current_context().exit(ExitStatus.REFUSED)


async def _explain(session: Session, made: RemoteCommand, identity: str | None) -> bool:
    # Imported late: the help needs none of it.
    import attrs

    from sockserv.execution.shown import in_one_line

    client = await session.connect()
    try:
        explanation = await client.exec.explain(made, identity=identity)
    finally:
        await client.close()
    if session.options.json:
        await session.show("", attrs.asdict(explanation))
        return explanation.allowed
    # What is refused says by which rule, if there is one.
    verdict = f"allowed by {explanation.rule}" if explanation.allowed else "refused"
    await session.show(f"{verdict}: {explanation.why}")
    if explanation.argv is not None:
        await session.show(f"runs {in_one_line(explanation.argv)}")
    for warning in explanation.warnings:
        await session.show(f"warning: {warning}")
    return explanation.allowed


@command.command(
    "commands",
    cls=Command,
    epilog="""\b
Examples:
  sockserv policy commands
  sockserv policy commands flash""",
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@pass_app
def commands(app: App, names: tuple[str, ...]) -> None:
    """List what we may run, and how it is used.

    With NAME, with the values that it takes.
    """
    app.run(app.options, lambda session: _commands(session, names))


async def _commands(session: Session, names: Sequence[str]) -> None:
    import attrs

    from sockserv.cli.output import as_json_line, table

    client = await session.connect()
    try:
        usages = await client.exec.commands()
    finally:
        await client.close()
    known = {usage.rule: usage for usage in usages}
    for name in names:
        if name not in known:
            raise click.UsageError(f"there is no {name!r} that we may run")
    chosen = [known[name] for name in names] or usages
    if session.options.json:
        for usage in chosen:
            await session.output.write(as_json_line(attrs.asdict(usage)))
    elif names:
        for usage in chosen:
            for line in _in_detail(usage):
                await session.show(line)
    elif chosen:
        rows = [(usage.usage, usage.description) for usage in chosen]
        await session.output.write(table(("COMMAND", "WHAT IT DOES"), rows).encode())
    elif session.terminal.has(2):
        await session.remark("There are none that we may run.")


def _in_detail(usage: CommandUsage) -> Iterator[str]:
    yield usage.usage
    if usage.description:
        yield f"  {usage.description}"
    for parameter in usage.parameters:
        default = "" if parameter.default is None else f" [default: {parameter.default}]"
        about = f" {parameter.description}:" if parameter.description else ""
        yield f"  {parameter.name.upper()}:{about} {parameter.takes}{default}"
