"""`sockserv certificate`: the daemon's own certificate, which its clients know it by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from sockserv.cli.options import App, Command, Group, pass_app
from sockserv.cli.output import as_json_line, printable

if TYPE_CHECKING:
    from sockserv.tls.certificates import CertifiedKey

__all__ = ["command"]

_TAKES: Final = ("--state", "--json")


@click.group(
    "certificate",
    cls=Group,
    takes=_TAKES,
    epilog="""\b
Examples:
  sockserv certificate show
  sockserv certificate renew""",
)
def command() -> None:
    """Show or renew the certificate of the daemon of this account.

    It is in the state directory; no daemon needs to run.
    """


@command.command("show", cls=Command, takes=_TAKES, epilog="Example:  sockserv certificate show")
@pass_app
def show(app: App) -> None:
    """Show the daemon's own certificate: pin, names, dates.

    The pin is what clients know the daemon by: compare it with the one that a client complains about.
    """
    from sockserv.state import StateDirectory
    from sockserv.tls import own

    _tell(app, own.load(StateDirectory.locate(app.options.state).path))


@command.command(
    "renew",
    cls=Command,
    takes=_TAKES,
    epilog="""\b
Examples:
  sockserv certificate renew            another ten years; no client notices
  sockserv certificate renew --new-key  if somebody else may have the key""",
)
@click.option(
    "--new-key", is_flag=True, help="Make a new key, too: every client is to be invited again."
)
@pass_app
def renew(app: App, *, new_key: bool) -> None:
    """Make the daemon a new certificate.

    It has the names of this machine as they are now. The key stays, and with it the pin: clients do not notice. A
    running daemon shows the new certificate from the next connection on.
    """
    from datetime import UTC, datetime

    from sockserv import machine
    from sockserv.state import StateDirectory
    from sockserv.tls import own

    directory = StateDirectory.locate(app.options.state).path
    _tell(app, own.renew(directory, machine.names(), new_key=new_key, now=datetime.now(UTC)))
    if new_key and not app.options.json:
        click.echo(
            "sockserv: clients that know the daemon by its old pin refuse it now; invite them again",
            err=True,
        )


def _tell(app: App, certified: CertifiedKey) -> None:
    from sockserv.tls.certificates import names_of, pin_of

    certificate = certified.certificate
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    names = names_of(certificate)
    if app.options.json:
        values: dict[str, Any] = {
            "pin": pin_of(certificate),
            "names": names,
            "not_before": f"{begin:%Y-%m-%dT%H:%M:%SZ}",
            "not_after": f"{end:%Y-%m-%dT%H:%M:%SZ}",
        }
        click.echo(as_json_line(values), nl=False)
        return
    click.echo(f"pin      {pin_of(certificate)}")
    click.echo(printable(f"names    {', '.join(names)}"))
    click.echo(f"valid    {begin:%Y-%m-%d} to {end:%Y-%m-%d}")
