"""`sockserv login`: an invitation becomes a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from sockserv.cli.options import App, Command, pass_app
from sockserv.errors import AuthenticationFailed, ConnectError, ProfileError

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.profiles import Profile

__all__ = ["command"]

_MAX_LINE_BYTES: Final = 8 * 1024


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
@click.argument("url", required=False)
@pass_app
def command(app: App, url: str | None, name: str | None) -> None:
    """Log in to a daemon, and keep the login under a name.

    URL is the line that `sockserv invite` has printed. Without it, or as -, it is asked for at the terminal, or
    read from standard input: others on this machine can see an argument. Its token is replaced at once by another
    one that only the two machines know, so that the line is worth nothing from then on.

    The login is kept in a file that only this account can read. `--server NAME` uses it, in every command.
    """
    if name is not None:
        name = _checked_name(name)
    if url in (None, "-"):
        question = "Invitation (it is not shown): "
        url = app.terminal.ask_secret(question) if app.terminal.has(0) else None
    app.run(app.options, lambda session: _log_in(session, url, name))


async def _log_in(session: Session, line: str | None, name: str | None) -> None:
    # Imported late: the help needs none of it.
    from sockserv.client.login import log_in

    profile = _profile(session, line or await _read_line(session), name)
    try:
        done = await log_in(
            session.connect_to,
            profile,
            session.profiles,
            timeout_seconds=session.options.timeout,
        )
    except AuthenticationFailed as error:
        raise AuthenticationFailed(f"{error}; {_advice(profile)}") from None
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
    import attrs

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


def _checked_name(name: str) -> str:
    from sockserv.client.profiles import check_name

    try:
        return check_name(name)
    except ProfileError as error:
        raise click.UsageError(str(error)) from None


def _advice(profile: Profile) -> str:
    if profile.url.token is None:
        return (
            "if the URL had a token, put it into quotes, or the shell takes the & in it for its own"
        )
    return "an invitation is good for one login: ask for a new one, and say so if you have not used this one"
