"""`sockserv digest`: digests of files at the daemon, computed there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.paths import REMOTE, Remote

if TYPE_CHECKING:
    from sockserv.cli.session import Session

__all__ = ["command"]


@click.command(
    "digest",
    cls=Command,
    epilog="""\b
Examples:
  sockserv digest disk.img
  sockserv digest -a sha256 disk.img | sha256sum -c  compares with the file""",
)
@click.option(
    "-a",
    "--algorithm",
    type=click.Choice(["blake3", "sha256", "md5"]),
    default="blake3",
    help="[default: blake3]",
)
@click.argument("paths", type=REMOTE, nargs=-1, required=True, metavar="REMOTE...")
@pass_app
def command(app: App, paths: tuple[Remote, ...], algorithm: str) -> None:
    """Show the digests of files.

    The daemon computes them; they are shown as b3sum, sha256sum and md5sum do it.
    """
    app.run(app.options, lambda session: _digest(session, paths, algorithm))


async def _digest(session: Session, paths: tuple[Remote, ...], algorithm: str) -> None:
    import attrs

    client = await session.connect()
    try:
        for path in paths:
            digest = await client.files.digest(path.path, algorithm=algorithm)
            hexadecimal = digest.digest.partition(":")[2]
            await session.show(
                f"{hexadecimal}  {path.path}", {"path": path.path} | attrs.asdict(digest)
            )
    finally:
        await client.close()
