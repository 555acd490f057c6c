"""`sockserv login`: an invitation becomes a profile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import attrs
import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.errors import AuthenticationFailed, ConnectError, ConnectionEnded, ProfileError

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.profiles import Profile

__all__ = ["command"]

_MAX_LINE_BYTES: Final = 8 * 1024
_FILE: Final = click.Path(exists=True, dir_okay=False)


@click.command(
    "login",
    cls=Command,
    epilog="""\b
Examples:
  sockserv login                           asks for it, without showing it
  sockserv login --name lab1 < invitation
  sockserv --server lab1 ping""",
)
@click.option(
    "--name",
    metavar="NAME",
    help="What to call the server from now on.  [default: its host]",
)
@click.option(
    "--user",
    metavar="USER",
    help="Log in with a password, which is asked for now and at each use, and not stored.",
)
@click.option(
    "--ca", type=_FILE, metavar="FILE", help="Who vouches for the server, where it has no pin."
)
@click.option("--certificate", type=_FILE, metavar="FILE", help="Our certificate, to log in with.")
@click.option("--key", type=_FILE, metavar="FILE", help="Its key, where that has its own file.")
@click.argument("url", required=False)
@pass_app
def command(
    app: App,
    url: str | None,
    name: str | None,
    user: str | None,
    ca: str | None,
    certificate: str | None,
    key: str | None,
) -> None:
    """Log in to a daemon, and keep the login under a name.

    URL is the line that `sockserv invite` has printed. Without it, or as -, it is asked for at the terminal, or
    read from standard input: others on this machine can see an argument. Its token is replaced at once by another
    one that only the two machines know, so that the line is worth nothing from then on.

    The login is kept in a file that only this account can read. `--server NAME` uses it, in every command.
    """
    if name is not None:
        name = _checked_name(name)
    if key and not certificate:
        raise click.UsageError("--key belongs to a --certificate")
    if url in (None, "-"):
        question = "Invitation (it is not shown): "
        url = app.terminal.ask_secret(question) if app.terminal.has(0) else None
    password = None
    if user is not None:
        password = app.terminal.ask_secret(f"Password of {user}: ")

    async def work(session: Session) -> None:
        profile = _profile(session, url or await _read_line(session), name)
        profile = attrs.evolve(
            profile, user=user, ca=_whole(ca), certificate=_whole(certificate), key=_whole(key)
        )
        await _log_in(session, profile, password)

    app.run(app.options, work)


async def _log_in(session: Session, profile: Profile, password: str | None) -> None:
    # Imported late: the help needs none of it.
    from sockserv.client.login import log_in

    if profile.user is not None and profile.url.token is not None:
        raise click.UsageError("who has a token needs no --user")
    try:
        done = await log_in(
            lambda attempt: session.connect_to(attempt, password),
            profile,
            session.profiles,
            timeout_seconds=session.options.timeout,
        )
    except AuthenticationFailed as error:
        advice = _advice(profile)
        if advice is None:
            raise
        raise AuthenticationFailed(f"{error}; {advice}") from None
    except ConnectionEnded as error:
        raise ConnectionEnded(
            f"{error}; the login is kept all the same: `sockserv --server {profile.name} whoami` shows whether it is good"
        ) from None
    profile = done.profile
    who = f"as {profile.identity}" if profile.identity else "without a name"
    await session.show(
        f"{profile.name} is {profile.url.address}, {who}",
        {"name": profile.name, "url": str(profile.url), "identity": profile.identity},
    )
    if done.not_replaced is not None:
        await session.remark(
            f"The token is still that of the invitation ({done.not_replaced}); "
            "the next command for this server tries again to replace it."
        )
    if session.terminal.has(2):
        await session.remark(f"To use it, type: sockserv --server {profile.name} ping")


async def _read_line(session: Session) -> str:
    """The first line of standard input."""
    content = b""
    while b"\n" not in content and len(content) <= _MAX_LINE_BYTES:
        piece = await session.input.read()
        if not piece:
            break
        content += piece
    line = content.partition(b"\n")[0][:_MAX_LINE_BYTES].decode("utf-8", "replace")
    if not line.strip():
        raise click.UsageError("standard input has no URL in its first line")
    return line


def _profile(session: Session, line: str, name: str | None) -> Profile:
    """The profile that is to be made. Raises `click.UsageError`."""
    from sockserv.client.profiles import Profile, usual_name
    from sockserv.urls import ServerUrl

    try:
        url = ServerUrl.parse(line.strip())
    except ConnectError as error:
        raise click.UsageError(str(error)) from None
    name = name or usual_name(url)
    if name is None:
        raise click.UsageError(f"say with --name what to call {url.address}")
    return Profile(name=name, url=attrs.evolve(url, token=url.token or session.options.token()))


def _whole(path: str | None) -> str | None:
    """The path from the root on: where the next command is typed is not known."""
    return None if path is None else os.path.abspath(path)


def _checked_name(name: str) -> str:
    from sockserv.client.profiles import check_name

    try:
        return check_name(name)
    except ProfileError as error:
        raise click.UsageError(str(error)) from None


def _advice(profile: Profile) -> str | None:
    """What to do when the server does not let us in, where that is not for the server to say."""
    from sockserv.urls import Scheme

    if profile.user is not None or profile.certificate is not None:
        return None
    if profile.url.token is None:
        if profile.url.scheme is Scheme.UNIX:
            return None  # the account was what counted
        return (
            "if the URL had a token, put it into quotes, or the shell takes the & in it for its own"
        )
    return (
        "an invitation is good for one login, until it expires: ask for a new one, "
        "and say so if you have not used this one"
    )
