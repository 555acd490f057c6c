"""`sockserv put`: files and folders from here to the daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.files import Files, Progress, Summary

__all__ = ["command"]

_STDIN = "-"


@attrs.frozen
class _Source:
    """Something to be sent, and what it is called without its folders."""

    path: Path
    name: str
    is_folder: bool

    @classmethod
    def named(cls, argument: str) -> _Source:
        """What an argument names."""
        path = Path(argument)
        # "." and ".." are names of nothing at the server.
        name = path.name if path.name not in ("", "..") else path.resolve().name
        return cls(path, name, path.is_dir())


@attrs.frozen(kw_only=True)
class _Wanted:
    """What the command line asks for."""

    sources: tuple[_Source, ...]
    target: Remote
    preserve: bool
    overwrite: bool
    resume: bool


@click.command(
    "put",
    cls=Command,
    epilog="""\b
Examples:
  sockserv put report.pdf
  sockserv put report.pdf reports/2026.pdf
  sockserv put -r photos                   the folder with all that is in it
  sockserv put --to photos/ *.jpg
  pg_dump lab | sockserv put - backups/lab.sql""",
)
@click.option(
    "-r", "--recursive", is_flag=True, help="Send folders, too, with all that is in them."
)
@click.option("-p", "--preserve", is_flag=True, help="Keep modes and times.")
@click.option("-f", "--overwrite", is_flag=True, help="Replace files that are there.")
@click.option(
    "--resume/--no-resume", default=True, help="Go on with what broke off.  [default: resume]"
)
@click.option("--to", type=REMOTE, metavar="REMOTE", help="Where to: then all arguments are LOCAL.")
@click.argument("paths", nargs=-1, required=True, metavar="LOCAL... [REMOTE]")
@pass_app
def command(
    app: App,
    paths: tuple[str, ...],
    to: Remote | None,
    recursive: bool,
    preserve: bool,
    overwrite: bool,
    resume: bool,
) -> None:
    """Send files and folders to the daemon.

    REMOTE is what the file or the folder is to be called there; with a / at its end, or for several LOCAL, it is the
    folder to put them into, and so it is where a file meets a folder of this name. Without it they keep their names.
    LOCAL may be - for standard input.

    A file appears under its name when it is whole, verified and on the disk. If that is interrupted, the same command
    goes on with it. A file that is there already is not replaced; the very same one is no error.
    """
    *sources, last = paths
    target = to
    if to is not None or not sources:
        sources.append(last)
    else:
        target = REMOTE.convert(last, None, click.get_current_context())
    if to is None and sources != [last] and _is_another_file(last, sources):
        raise click.UsageError(
            f"{last} is a file here: is it to be sent, too? Then say where to with --to, or else its new name"
        )
    if _STDIN in sources and (len(sources) > 1 or target is None or target.is_folder):
        raise click.UsageError("- is standard input: it goes alone, and needs a name: put - REMOTE")
    found = tuple(map(_Source.named, sources))
    for source in found:
        if source.is_folder and not recursive:
            raise click.UsageError(f"{source.path} is a folder: -r sends it with all that is in it")
    wanted = _Wanted(
        sources=found,
        target=target or Remote("", is_folder=True),
        preserve=preserve,
        overwrite=overwrite,
        resume=resume,
    )
    work = _put_stream if sources == [_STDIN] else _put
    app.run(app.options, lambda session: work(session, wanted))


def _is_another_file(last: str, sources: list[str]) -> bool:
    """Whether what should be REMOTE is much rather what a pattern of the shell's has found here."""
    path = Path(last)
    return path.is_file() and [path.name] != [Path(source).name for source in sources]


async def _put(session: Session, wanted: _Wanted) -> None:
    # Imported late: the help needs none of it.
    from sockserv.cli.transfers import carry_out
    from sockserv.client.files import Plan

    client = await session.connect()
    try:
        files = client.files
        into = await _is_folder(files, wanted)
        plan = Plan()
        for source in wanted.sources:
            path = wanted.target.below(source.name) if into else wanted.target.path
            plan += await files.plan_put(source.path, path, overwrite=wanted.overwrite)
        await carry_out(session, files, plan, resume=wanted.resume, preserve=wanted.preserve)
    finally:
        await client.close()


async def _is_folder(files: Files, wanted: _Wanted) -> bool:
    """Whether the target is a folder to put things into.

    For a folder that is sent it does not matter what is there: or it would be another place when the same command
    goes on.
    """
    from sockserv.files.errors import FilesError
    from sockserv.files.facts import FileType

    if wanted.target.is_folder or len(wanted.sources) > 1:
        return True
    if wanted.sources[0].is_folder:
        return False
    try:
        return (await files.stat(wanted.target.path)).type is FileType.DIRECTORY
    except FilesError:
        # It is not there, or we may not look.
        return False


async def _put_stream(session: Session, wanted: _Wanted) -> None:
    from sockserv.cli.transfers import follow
    from sockserv.client.files import Summary

    client = await session.connect()
    try:

        async def work(progress: Progress) -> Summary:
            stored = await client.files.put_stream(
                session.input.read,
                wanted.target.path,
                overwrite=wanted.overwrite,
                on_progress=progress,
            )
            return Summary(done=1, sent_bytes=stored.size)

        await follow(
            session,
            work,
            size_bytes=None,
            advice="What came from standard input so far is not kept.",
        )
    finally:
        await client.close()
