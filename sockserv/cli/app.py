"""The command line: `sockserv` and its commands, and how it ends."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

import click

from sockserv import __version__
from sockserv.cli.complaints import DEBUG_VARIABLE, complaint_about
from sockserv.cli.exits import EXPLANATION, EndedBySignal, ExitStatus
from sockserv.cli.options import App, Group, Options
from sockserv.cli.process import end_by_signal, leave
from sockserv.cli.terminal import ProcessTerminal

if TYPE_CHECKING:
    from sockserv.cli.session import Work

__all__ = ["execute", "sockserv"]

_COMMANDS: Final = (
    *("ping", "echo"),
    *("put", "get", "sync"),
    *("exec", "shell", "jobs", "attach", "wait", "kill"),
    *("ls", "stat", "mkdir", "mv", "rm", "digest", "usage"),
    *("chat", "who"),
    *("login", "logout", "servers", "whoami"),
    *("invite", "identities", "revoke", "policy"),
    *("audit", "certificate", "config"),
)
"""Each is the `command` of the module of its name, which is imported when it is needed."""

_EPILOG: Final = f"""\b
Examples:
  sockserv ping
  sockserv echo --upper < poem.txt
  sockserv exec -- df -h
  sockserv put -r photos
  sockserv --server tcp://127.0.0.1:7700 --token-file token ping

\b
{EXPLANATION}
"""


class _Root(Group):
    """`sockserv` itself."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the help."""
        return [*_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"sockserv.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Root,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def sockserv() -> None:
    """Call a sockserv daemon.

    Without any option that is the daemon of this account, which `twistd --nodaemon sockserv` starts:
    it leaves a note of where it listens, and the token to log in with, in its state directory.
    """


def execute(arguments: Sequence[str]) -> NoReturn:
    """Run the command line `arguments`, say what went wrong, and end the process."""
    app = App(run=_run, terminal=ProcessTerminal())
    try:
        # What comes back is None, or a status that click itself ends with: that of `--help`, for one.
        status = sockserv.main([*arguments], prog_name="sockserv", standalone_mode=False, obj=app)
    except EndedBySignal as end:
        end_by_signal(end.number)
    except SystemExit:
        # So click ends when who read our output has gone; the system ends other programs with this.
        end_by_signal(signal.SIGPIPE)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        complaint = complaint_about(error)
        status = complaint.status
        # Where standard error cannot be written to, the status still tells.
        as_json = app.options.json
        if complaint.status == ExitStatus.USAGE:
            as_json = _wants_json(arguments)
        with suppress(OSError):
            os.write(2, complaint.line(as_json=as_json))
    leave(status or ExitStatus.DONE)


def _run(options: Options, work: Work) -> None:
    # Imported late: help, wrong options and `config check` need no reactor.
    from sockserv.cli.run import run_on_reactor

    run_on_reactor(options, work)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether errors are to be shown as JSON, where the command line is wrong."""
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours
