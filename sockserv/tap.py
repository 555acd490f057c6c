"""What `twistd sockserv` takes, and what it runs.

`twistd` prints a traceback for an error in a service that starts, and a screenful for a wrong option. Here both
become one line on standard error and exit status 1.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

from twisted.application.service import IService, Service
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.interfaces import IReactorCore
from twisted.logger import Logger
from twisted.python import usage

from sockserv import __version__
from sockserv.classic.settings import Dialect
from sockserv.endpoints import DEFAULT_ENDPOINT
from sockserv.errors import LocalError
from sockserv.settings import Settings, load

__all__ = ["OneLineService", "Options", "client_command", "makeService"]

_TURNS_TO_CLOSE = 100

_EXPLANATIONS = r"""
Endpoints with TLS:
  0.0.0.0:7700                       all addresses of this machine, with the daemon's own certificate;
                                     [::]:7700 for IPv6, too; 192.0.2.1:7700 for one address
  tls:7700:interface=0.0.0.0:certKey=cert.pem:privateKey=key.pem:clientCA=ca.pem
                                     other certificates; :clients=required for who must show one
Endpoints for this machine alone, since they are not encrypted:
  tcp:7700:interface=127.0.0.1       a port; 0 lets the system choose one
  tcp6:7700:interface=\:\:1          the same for IPv6; the colons of an address take a \
  unix:/run/user/1000/sockserv.sock  a socket for this account; :mode=660 for its group, too

The classic endpoints are for clients that were written from the old socket tutorial. Nothing protects them: whoever
reaches one is who --classic-identity names. They take the endpoints for this machine alone.

The state directory holds the owner's token, the daemon's own certificate, and a note of where it listens,
so that clients of the same account find it. It is the one that --state names, or
the environment variable SOCKSERV_STATE, or the settings file, or the account's own.

The settings file holds what the options do, and limits; options come before it:
  listen = ["tcp:7700:interface=127.0.0.1"]
  state = "~/sockserv-state"
  [limits]
  max_calls = 64
Look it over with `sockserv config check FILE`.

In the foreground:  twistd --nodaemon --pidfile= sockserv
In the background:  twistd --pidfile=sockserv.pid --logfile=sockserv.log sockserv
"""


class Options(usage.Options, AuthOptionMixin):
    """The command line of `twistd sockserv`; after parsing, `settings` is what it comes to.

    `checkers` are what `--auth` has named: who knows passwords.
    """

    supportedInterfaces = (IUsernamePassword,)

    synopsis = (
        "[--config FILE] [--listen ENDPOINT]... [--state DIR] [--root DIR] [--auth TYPE[:ARGUMENT]]"
    )
    longdesc = (
        "Serves calls to clients of this account, without any option on "
        f"{DEFAULT_ENDPOINT}. Try it with `sockserv ping`."
    )
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", None, "Read settings from this TOML file."],
        ["state", "s", None, "Keep the state in this directory; made if it is not there."],
        ["root", "r", None, "Serve the files in this directory, instead of files/ in the state."],
        ["chat-udp", None, None, "Let chats go over UDP as well, sealed: udp:PORT:interface=IP."],
        ["classic-echo", None, None, "Speak the tutorial's echo on this endpoint."],
        [
            "classic-exec-low",
            None,
            None,
            "Speak the tutorial's exec, with a size before the answer.",
        ],
        ["classic-exec", None, None, "Speak the tutorial's exec, with a header in JSON."],
        ["classic-put", None, None, "Speak the tutorial's upload on this endpoint."],
        ["classic-chat", None, None, "Let the tutorial's chat clients in as guests: udp:PORT."],
        ["classic-identity", None, None, "Who runs the commands and stores the files of these."],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self._listen: list[str] = []
        self.settings: Settings

    def opt_listen(self, endpoint: str) -> None:
        """Listen on this endpoint; give it again for another one."""
        self._listen.append(endpoint)

    opt_l = opt_listen

    def opt_auth(self, description: str) -> None:
        """Let those with `password = true` in the identities log in by a password that this knows: file:PATH."""
        if self.checkers:
            raise usage.UsageError("--auth is there already, and only one can be asked")
        AuthOptionMixin.opt_auth(self, description)

    @property
    def checkers(self) -> list[ICredentialsChecker]:
        """Whom to ask about user names and passwords."""
        checkers: list[ICredentialsChecker] = self.get("credCheckers", [])
        return checkers

    def opt_version(self) -> NoReturn:
        """Show the version and exit."""
        print(f"sockserv {__version__}")
        raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """The text of `--help`, with what does not fit into one line for each option."""
        return f"{usage.Options.getUsage(self, width)}{_EXPLANATIONS}"

    def parseArgs(self, *arguments: str) -> None:
        """Nothing but options is taken."""
        if arguments:
            raise usage.UsageError(f"unexpected argument {arguments[0]!r}")

    def postOptions(self) -> None:
        """Make `settings` of the options, so that a mistake shows before anything starts."""
        config = self["config"]
        try:
            self.settings = load(
                config=None if config is None else Path(config),
                listen=self._listen,
                state=self["state"],
                root=self["root"],
                classic={
                    dialect: endpoint
                    for dialect in Dialect
                    if dialect is not Dialect.CHAT
                    and (endpoint := self[f"classic-{dialect.replace('_', '-')}"]) is not None
                },
                classic_chat=self["classic-chat"],
                classic_identity=self["classic-identity"],
                chat_udp=self["chat-udp"],
                environ=os.environ,
            )
        except LocalError as error:
            raise SystemExit(f"sockserv: {error}") from error

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the arguments. Exits with one line when they are wrong."""
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            raise SystemExit(f"sockserv: {error}; see `twistd sockserv --help`") from error


class _StartRefused(SystemExit, Exception):
    """The daemon does not start.

    As a `SystemExit` it ends the process without a traceback; as an `Exception` it lets `twistd` tell the
    process that waits for the daemon, and remove the pid file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 1


class OneLineService(Service):
    """Runs a daemon, and says in one line why it does not start.

    `before_stop` is called when it is asked to stop, before it waits for anything.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorCore,
        daemon: IService,
        *,
        in_foreground: bool,
        before_stop: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._daemon = daemon
        self._in_foreground = in_foreground
        self._before_stop = before_stop

    def startService(self) -> None:
        """Start the daemon. Raises what ends the process when that fails."""
        try:
            self._daemon.startService()
        except LocalError as error:
            # The reactor will never run, and what was opened closes in its next turns.
            for _ in range(_TURNS_TO_CLOSE):
                self._reactor.iterate(0)
            if self._in_foreground:
                # twistd has put its log in the place of sys.stderr.
                print(f"sockserv: {error}", file=sys.__stderr__)
            else:
                self._log.critical("sockserv: {error}", error=error)
            raise _StartRefused(str(error)) from error

    def stopService(self) -> Any:
        """Stop the daemon; fires when it has."""
        self._before_stop()
        return self._daemon.stopService()


def makeService(options: Options) -> IService:
    """The daemon that `options` describe, made to fail as `twistd` needs it."""
    # All of this stays: to look through it for garbage while it is imported takes a good part of the start.
    gc.disable()
    try:
        # Imported late: `twistd sockserv --help` and wrong options need none of it.
        from twisted.internet import reactor

        from sockserv.daemon import Daemon
    finally:
        gc.freeze()
        gc.enable()

    daemon = Daemon(reactor, options.settings, command=client_command(), checkers=options.checkers)
    twistd = options.parent
    in_foreground = twistd is None or bool(twistd.get("nodaemon", True))
    return OneLineService(
        cast(IReactorCore, reactor),
        daemon,
        in_foreground=in_foreground,
        before_stop=_let_the_next_signal_kill,
    )


def _let_the_next_signal_kill() -> None:
    """Whoever asks a second time does not wait for the running calls; Twisted would log a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def client_command() -> str:
    """How the client that was installed with this `twistd` is called."""
    beside = Path(sys.argv[0]).absolute().with_name("sockserv")
    if not beside.is_file():
        return "sockserv"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)
