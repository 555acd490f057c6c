"""The exit statuses of the command, and which error has which."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from sockserv.errors import (
    AuthenticationFailed,
    CallError,
    ConnectError,
    ConnectionEnded,
    PermissionDenied,
    ProtocolError,
    StateError,
    Unavailable,
)

__all__ = ["EXPLANATION", "EndedBySignal", "EndedWithStatus", "ExitStatus", "status_of"]


class EndedBySignal(Exception):
    """A signal ends the command, and so its process: there is nothing to be said."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.number = number


class EndedWithStatus(Exception):
    """An `error` ends the command with another status than errors have in other commands."""

    def __init__(self, error: Exception, status: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.status = status


class ExitStatus(IntEnum):
    """How the command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_CONNECTED = 3
    REFUSED = 4
    CONNECTION_LOST = 5


EXPLANATION = """\
Exit status:
  0  done
  1  it failed, here or at the daemon
  2  the command line is wrong
  3  no daemon, or no connection to it
  4  the daemon refused the login, or the permission
  5  the connection ended in the middle: what was done is not known
What runs a remote command ends as that did; see `sockserv exec --help`.
A signal ends the command as usual: 130 in the shell for Ctrl-C."""


_REFUSALS: Final = {"files.denied", "files.read-only"}
"""Their classes would cost every command the time to import them."""


def status_of(error: Exception) -> ExitStatus:
    """The exit status for an error."""
    match error:
        case AuthenticationFailed() | PermissionDenied():
            return ExitStatus.REFUSED
        case CallError() if error.wire_code in _REFUSALS:
            return ExitStatus.REFUSED
        case ConnectError() | StateError():
            return ExitStatus.NOT_CONNECTED
        case ConnectionEnded() | ProtocolError() | Unavailable():
            return ExitStatus.CONNECTION_LOST
        case _:
            return ExitStatus.FAILED
