"""`sockserv invite`: letting somebody in, for what they are to do and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from sockserv.cli.durations import seconds_in
from sockserv.cli.options import App, Command, pass_app
from sockserv.cli.stdio import StreamError
from sockserv.errors import ConnectError, InvalidArgument, SockservError, UnexpectedResult

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client import Client
    from sockserv.urls import ServerUrl

__all__ = ["command"]

_ACCESS: Final = ("ro", "rw", "drop")
_NOTHING_GIVEN: Final[Mapping[str, Any]] = {
    "echo": True,
    "files": None,
    "exec": (),
    "chat": (),
    "admin": False,
    "permissions": (),
}


class _Files(click.ParamType):  # type: ignore[type-arg]  # older versions of click take none
    """A folder, and what may be done in it: `ro:reports`."""

    name = "files"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        """The argument of the daemon's operation."""
        access, _, root = value.partition(":")
        if access not in _ACCESS or not root:
            self.fail(
                f"{value!r} is not ro:FOLDER (to read), rw:FOLDER (to read and write) "
                "or drop:FOLDER (to put new files there, and see none)",
                param,
                ctx,
            )
        return {"root": root, "access": access}


class _Duration(click.ParamType):  # type: ignore[type-arg]  # see above
    """How long: `30m`, `12h`, `7d`, `4w`, or `never`, which is None."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """The number of seconds."""
        if value == "never":
            return None
        seconds = seconds_in(value)
        if seconds is None:
            self.fail(f"{value!r} is not a time as 30m, 12h, 7d or 4w, or never", param, ctx)
        return seconds


class _Host(click.ParamType):  # type: ignore[type-arg]  # see above
    """`lab.example.org`, or with another port than that of the listener, `lab.example.org:443`."""

    name = "host"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        """The host, and the port if one is written."""
        from sockserv.urls import ServerUrl

        try:
            url = ServerUrl.parse(f"sockserv://{value}")
            if {*"/?"} & {*value}:
                raise ConnectError("there is more than a host")
        except ConnectError:
            self.fail(
                f"{value!r} is not HOST or HOST:PORT; an IPv6 address stands in [ ]", param, ctx
            )
        return url.host, url.port if ":" in value.rpartition("]")[2] else None


@attrs.frozen
class _Request:
    """What the daemon is asked to do."""

    operation: str
    arguments: dict[str, Any]


@attrs.frozen(kw_only=True)
class _Line:
    """How the line is to name the daemon; `host` with its port, where those are not what the daemon says."""

    host: tuple[str, int | None] | None
    has_pin: bool


@attrs.frozen
class _Invited:
    """What it answers. `urls` are those that the daemon can be reached at, the best one first."""

    name: str
    token: str = attrs.field(repr=False)
    urls: tuple[str, ...]


@click.command(
    "invite",
    cls=Command,
    epilog="""\b
Examples:
  sockserv invite alice
  sockserv invite alice --files ro:reports --exec uptime --expires 7d
  sockserv invite bot --no-echo --permission counter > invitation

What stands in `sockserv identities` can be changed in the file identities.toml, too.""",
)
@click.option(
    "--echo/--no-echo", default=True, help="May echo, and so see that it works.  [default: yes]"
)
@click.option(
    "--files",
    type=_Files(),
    metavar="ACCESS:FOLDER",
    help="A folder of the daemon: ro: to read, rw: to read and write, drop: to put new files there only.",
)
@click.option(
    "--exec",
    "rules",
    multiple=True,
    metavar="RULE",
    help="What may be run: the name of a command, the absolute path of a program, shell, or any. May be repeated.",
)
@click.option(
    "--chat", multiple=True, metavar="ROOM", help="A room of the chat; * for all. May be repeated."
)
@click.option(
    "--admin", is_flag=True, help="May invite and revoke others, and so give themselves everything."
)
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    metavar="NAME",
    help="A permission of a service of your own. May be repeated.",
)
@click.option(
    "--expires",
    type=_Duration(),
    default="never",
    metavar="TIME",
    help="When it ends: 30m, 12h, 7d, 4w from now, or never.  [default: never]",
)
@click.option(
    "--host",
    type=_Host(),
    metavar="HOST[:PORT]",
    help="Where they reach the daemon, if the line would name another place.",
)
@click.option(
    "--pin/--no-pin",
    "has_pin",
    default=True,
    help="Without it, clients ask for a certificate that an authority has signed.  [default: pin]",
)
@click.option(
    "--qr/--no-qr", default=None, help="Show it as a QR code, too.  [default: on a terminal]"
)
@click.option(
    "--again",
    is_flag=True,
    help="Another line for somebody who is there already; they may do no more than before.",
)
@click.argument("name")
@pass_app
def command(
    app: App,
    /,
    name: str,
    host: tuple[str, int | None] | None,
    has_pin: bool,
    qr: bool | None,
    expires: float | None,
    rules: tuple[str, ...],
    again: bool,
    **given: Any,
) -> None:
    """Let NAME in, and print the line to log in with.

    NAME may echo, and do what the options say; nothing else. Whoever has the line is NAME: pass it on where nobody
    else reads it. It is good for one `sockserv login`, which asks for it.
    """
    arguments = {"name": name, "expires_seconds": expires}
    given["exec"] = rules
    if not again:
        request = _Request("admin.invite", arguments | given)
    elif given == _NOTHING_GIVEN:
        request = _Request("admin.add-token", arguments)
    else:
        raise click.UsageError(
            f"--again is another line for what {name} may do already, and goes with --expires, --host, --pin and --qr only"
        )
    line = _Line(host=host, has_pin=has_pin)
    app.run(app.options, lambda session: _invite(session, request, line, qr=qr))


async def _invite(session: Session, request: _Request, line: _Line, *, qr: bool | None) -> None:
    client = await session.connect()
    try:
        reached = _reached(session)
        invited = await _ask(session, client, request)
        url = _invitation(invited, reached, line)
        await _show(session, invited.name, url)
        for doubt in await _doubts(client, invited.name, request.arguments.get("exec", ())):
            await session.remark(doubt)
    finally:
        await client.close()
    # A host counts for TLS only.
    is_told = line.host is None or url.host != line.host[0]
    await _explain(session, invited.name, url, is_told=is_told, qr=qr)


async def _ask(session: Session, client: Client, request: _Request) -> _Invited:
    try:
        reply = await client.call(
            request.operation,
            request.arguments,
            result=_Invited,
            timeout_seconds=session.options.timeout,
        )
    except InvalidArgument as error:
        taken = error.details.get("taken")
        if taken is None:
            raise
        advice = f"{error}; `sockserv invite --again {taken}` makes another line for them"
        raise InvalidArgument(advice, details=error.details) from None
    invited: _Invited = reply.result
    return invited


async def _show(session: Session, name: str, url: ServerUrl) -> None:
    try:
        await session.show(
            url.reveal(),
            {"name": name, "url": url.reveal(), "is_local": url.is_local},
        )
        await session.output.flush()
    except StreamError as error:
        raise StreamError(
            f"{error}: {name} is invited, but nobody has seen the line; "
            f"`sockserv invite --again {name}` makes another one"
        ) from None


async def _doubts(client: Client, name: str, rules: Sequence[str]) -> list[str]:
    """What the daemon says of the rules: for which no command stands yet, and which amount to everything."""
    doubts: dict[str, None] = {}
    for rule in rules:
        try:
            explanation = await client.exec.explain([rule], identity=name)
        except SockservError:
            break  # who invites may not ask that, or nobody can; they are invited all the same
        if not explanation.allowed and explanation.rule == "none":
            doubts[f"{explanation.why}."] = None
        # They are about all of the rules, whatever was asked.
        doubts |= dict.fromkeys(f"warning: {warning}" for warning in explanation.warnings)
    return [*doubts]


def _reached(session: Session) -> ServerUrl | None:
    """Where we reach the daemon ourselves, if that is by the network: others do, too.

    Raises `ProfileError` and `ConnectError`.
    """
    from sockserv.client.profiles import is_name
    from sockserv.urls import Scheme, ServerUrl

    server = session.options.server
    if server is None:
        return None
    url = session.profiles.load(server).url if is_name(server) else ServerUrl.parse(server)
    return None if url.is_local or url.scheme is not Scheme.TLS else url


def _invitation(invited: _Invited, reached: ServerUrl | None, line: _Line) -> ServerUrl:
    """The URL to pass on: as we reach the daemon, or else the best of those that it tells."""
    from sockserv.urls import Scheme, ServerUrl

    told = [ServerUrl.parse(url) for url in invited.urls]
    if not told:
        raise UnexpectedResult(
            f"the daemon does not tell where it can be reached; {invited.name} is invited"
        )
    # False comes first: encrypted before not, from elsewhere before from here only.
    told.sort(key=lambda url: (url.scheme is not Scheme.TLS, url.is_local))
    url = reached or told[0]
    if line.host is not None and url.scheme is Scheme.TLS:
        host, port = line.host
        url = attrs.evolve(url, host=host, port=port or url.port)
    return attrs.evolve(url, pin=url.pin if line.has_pin else None, token=invited.token)


async def _explain(
    session: Session, name: str, url: ServerUrl, *, is_told: bool, qr: bool | None
) -> None:
    """Say what to do with the line, to whoever sits there, and what it is not good for, to everybody.

    `is_told` is whether the host in it is what the daemon says, and not what was asked for.
    """
    if url.is_local and not is_told:
        await session.remark(
            f"This is for this machine only: from elsewhere, {url.address} does not lead here."
        )
    elif url.is_local:
        await session.remark(
            f"This is for this machine only: the daemon listens on {url.address}. To let others in "
            "over the network, start it with --listen 0.0.0.0:7700, and invite again."
        )
    if not session.terminal.has(2):
        return
    # Where the line goes into a file or a program, it is not for the screen.
    if session.terminal.has(1) if qr is None else qr:
        await session.remark(_qr_code(url.reveal()))
    await session.remark(
        f"{name} types `sockserv login`, and pastes this line when asked. It is good for one login."
    )


def _qr_code(text: str) -> str:
    import io

    import segno

    code = io.StringIO()
    segno.make(text, micro=False, error="l").terminal(code, border=2, compact=True)
    return code.getvalue().rstrip("\n")
