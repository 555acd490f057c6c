"""`sockserv get`: files and folders from the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.files import Files, Plan, Progress, Summary

__all__ = ["command"]

_STDOUT = "-"


@attrs.frozen(kw_only=True)
class _Wanted:
    """What the command line asks for."""

    sources: tuple[Remote, ...]
    target: Path
    is_folder: bool
    is_folder_here: bool
    recursive: bool
    preserve: bool
    overwrite: bool
    resume: bool


@click.command(
    "get",
    cls=Command,
    epilog="""\b
Examples:
  sockserv get report.pdf
  sockserv get reports/2026.pdf report.pdf
  sockserv get -r photos                   the folder with all that is in it
  sockserv get --to ~/Downloads a.iso b.iso
  sockserv get backups/lab.sql - | psql lab""",
)
@click.option(
    "-r", "--recursive", is_flag=True, help="Fetch folders, too, with all that is in them."
)
@click.option("-p", "--preserve", is_flag=True, help="Keep modes and times.")
@click.option("-f", "--overwrite", is_flag=True, help="Replace files that are here.")
@click.option(
    "--resume/--no-resume", default=True, help="Go on with what broke off.  [default: resume]"
)
@click.option("--to", metavar="LOCAL", help="Where to: then all arguments are REMOTE.")
@click.argument("paths", nargs=-1, required=True, metavar="REMOTE... [LOCAL]")
@pass_app
def command(
    app: App,
    paths: tuple[str, ...],
    to: str | None,
    recursive: bool,
    preserve: bool,
    overwrite: bool,
    resume: bool,
) -> None:
    """Fetch files and folders from the daemon.

    LOCAL is what the file or the folder is to be called here; with a / at its end, or for several REMOTE, it is the
    folder to put them into, and so it is where a file meets a folder of this name. Without it they keep their names.
    LOCAL may be - for standard output.

    A file appears under its name when it is whole, verified and on the disk. If that is interrupted, the same command
    goes on with it. A file that is here already is not replaced; the very same one is no error.
    """
    *names, last = paths
    if to is not None or not names:
        names.append(last)
    else:
        to = last
    context = click.get_current_context()
    sources = tuple(REMOTE.convert(name, None, context) for name in names)
    if to == _STDOUT and (len(sources) > 1 or recursive):
        raise click.UsageError("- is standard output: one file goes there")
    if to == _STDOUT and app.options.json:
        raise click.UsageError("standard output cannot hold a file and --json")
    wanted = _Wanted(
        sources=sources,
        target=Path(to or "."),
        is_folder_here=os.path.isdir(to or "."),
        is_folder=len(sources) > 1 or to is None or _is_written_as_folder(to),
        recursive=recursive,
        preserve=preserve,
        overwrite=overwrite,
        resume=resume,
    )
    work = _get_stream if to == _STDOUT else _get
    app.run(app.options, lambda session: work(session, wanted))


def _is_written_as_folder(path: str) -> bool:
    return os.path.basename(path) in ("", ".", "..")


async def _get(session: Session, wanted: _Wanted) -> None:
    # Imported late: the help needs none of it.
    from sockserv.cli.transfers import carry_out
    from sockserv.client.files import Plan

    client = await session.connect()
    try:
        files = client.files
        plan = Plan()
        for source in wanted.sources:
            plan += await _plan(files, source, wanted)
        await carry_out(session, files, plan, resume=wanted.resume, preserve=wanted.preserve)
    finally:
        await client.close()


async def _plan(files: Files, source: Remote, wanted: _Wanted) -> Plan:
    from sockserv.files.facts import FileType

    entry = await files.stat(source.path)
    is_folder = entry.type is FileType.DIRECTORY
    if is_folder and wanted.is_folder and not source.name:
        raise click.UsageError("say what the folder of all files is to be called here")
    if is_folder and not wanted.recursive:
        raise click.UsageError(
            f"{source.path or '/'} is a folder: -r fetches it with all that is in it"
        )
    local = wanted.target
    # For a folder that is fetched it does not matter what is here: or it would be another place when the same
    # command goes on.
    if wanted.is_folder or (not is_folder and wanted.is_folder_here):
        local = local / source.name
    return await files.plan_get(source.path, local, overwrite=wanted.overwrite, entry=entry)


async def _get_stream(session: Session, wanted: _Wanted) -> None:
    from sockserv.cli.transfers import follow
    from sockserv.client.files import Summary

    client = await session.connect()
    (source,) = wanted.sources
    try:

        async def work(progress: Progress) -> Summary:
            size = await client.files.pour(source.path, session.output.write, on_progress=progress)
            return Summary(done=1, sent_bytes=size)

        await follow(session, work, size_bytes=None)
        await session.output.flush()
    finally:
        await client.close()
