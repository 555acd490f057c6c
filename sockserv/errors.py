"""Every error that sockserv raises, and the table that ties wire codes to classes.

The tree::

    SockservError
    ├── LocalError              this program or this machine: nothing was sent, or nobody answered
    │   ├── ConfigError         a setting is wrong
    │   ├── StateError          the state directory is missing, unsafe, or in use
    │   ├── ProfileError        a server that was logged in to cannot be used by its name
    │   │   └── UnknownServer   there is none of this name
    │   ├── CertificateError    a certificate or its key cannot be used
    │   ├── ConnectError        no connection could be made
    │   │   └── CertificateChanged  the server holds another key than the one we know it by
    │   ├── MessageTooLarge     the arguments or the result exceed what the peer accepts
    │   ├── ReplyTooLarge       the answer is larger than the caller agreed to collect
    │   ├── UnexpectedResult    the result is not of the class that the caller expects
    │   ├── FileBroken          a file became shorter, or unreadable, while it was sent
    │   ├── CallEnded           more was sent in a call that has been answered already
    │   ├── SessionOver         more was to be sent in a session of datagrams that has ended
    │   └── NoRoom              as much waits, or is open, as may be
    ├── ConnectionEnded         the connection ended before the call did: its outcome is not known
    ├── ProtocolError           the peer broke the protocol, and the connection is closed for it
    └── CallError               one call failed; the connection and the other calls go on
        ├── InvalidArgument          invalid-argument
        ├── UnknownOperation         unknown-operation
        ├── AuthenticationFailed     authentication-failed
        ├── PermissionDenied         permission-denied
        ├── CallCancelled            cancelled
        ├── DeadlineExceeded         deadline-exceeded
        ├── TooManyCalls             too-many-calls
        ├── BodyTooLarge             body-too-large
        ├── Unavailable              unavailable
        ├── AuditUnavailable         audit-unavailable
        ├── InternalError            internal
        └── RemoteError              any code that this side has no class for

A service raises a `CallError`; the peer's client raises the same class. A package that brings its
own services declares its own errors by subclassing `CallError` with a `code`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar

__all__ = [
    "AuditUnavailable",
    "AuthenticationFailed",
    "BodyTooLarge",
    "CallCancelled",
    "CallEnded",
    "CallError",
    "CertificateChanged",
    "CertificateError",
    "ConfigError",
    "ConnectError",
    "ConnectionEnded",
    "DeadlineExceeded",
    "FileBroken",
    "GoodbyeCode",
    "InternalError",
    "InvalidArgument",
    "LocalError",
    "MessageTooLarge",
    "NoRoom",
    "PermissionDenied",
    "ProfileError",
    "ProtocolError",
    "RemoteError",
    "ReplyTooLarge",
    "SessionOver",
    "SockservError",
    "StateError",
    "TooManyCalls",
    "Unavailable",
    "UnexpectedResult",
    "UnknownOperation",
    "UnknownServer",
    "error_from_wire",
]


class SockservError(Exception):
    """The root of all errors that sockserv raises; `str()` of it is one clear sentence."""


class LocalError(SockservError):
    """Something on this side is wrong; the peer has no part in it."""


class ConfigError(LocalError):
    """A setting is wrong; the message names the field and what was expected."""


class StateError(LocalError):
    """The state directory cannot be used; the message says what to type."""


class ProfileError(LocalError):
    """What is stored of a login cannot be used or written; the message says what to do."""


class UnknownServer(ProfileError):
    """No login is stored by this name; the message says which are."""


class CertificateError(LocalError):
    """A certificate or its key cannot be used; the message names the file and says why."""


class ConnectError(LocalError):
    """No connection to the server could be made."""


class CertificateChanged(ConnectError):
    """The server holds another key than the one that we know it by: it may be somebody else."""


class MessageTooLarge(LocalError):
    """Arguments or a result do not fit into one header of the peer: send them as a body.

    Or a message not into a datagram.
    """


class ReplyTooLarge(LocalError):
    """The answer's body exceeds the number of bytes that the caller agreed to collect."""


class UnexpectedResult(LocalError):
    """The call succeeded, but its result is not of the class that the caller expects."""


class FileBroken(LocalError):
    """A file became shorter, or unreadable, while it was sent: what was sent of it last is not its content."""


class CallEnded(LocalError):
    """More was to be sent in a call that the callee has answered already."""


class SessionOver(LocalError):
    """More was to be sent in a session of datagrams that has ended."""


class NoRoom(LocalError):
    """What is new finds no room: as much waits, or is open, as may be. Nothing was begun."""


class ConnectionEnded(SockservError):
    """The connection ended while the call ran: whether the work was done is not known."""


class GoodbyeCode(StrEnum):
    """Why a side ends the connection (docs/protocol.md, "Goodbye")."""

    DONE = "done"
    SHUTTING_DOWN = "shutting-down"
    BAD_FRAME = "bad-frame"
    BAD_HEADER = "bad-header"
    UNEXPECTED_MESSAGE = "unexpected-message"
    UNKNOWN_CALL = "unknown-call"
    CALL_NUMBER = "call-number"
    FLOW_CONTROL = "flow-control"
    UNSUPPORTED_VERSION = "unsupported-version"
    LOGIN_REQUIRED = "login-required"
    LOGIN_FAILED = "login-failed"
    LOGIN_TIMEOUT = "login-timeout"
    REVOKED = "revoked"
    IDLE_TIMEOUT = "idle-timeout"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    TOO_MUCH_HELD = "too-much-held"

    @property
    def is_graceful(self) -> bool:
        """Whether running calls may still end after this goodbye."""
        return self in (GoodbyeCode.DONE, GoodbyeCode.SHUTTING_DOWN)


class ProtocolError(SockservError):
    """The peer broke the protocol; `code` is what our goodbye tells it.

    Raised by the decoders for any input that is not version 1 of the protocol. After it, the
    decoder that raised it accepts no more input.
    """

    def __init__(self, code: GoodbyeCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class CallError(SockservError):
    """A call failed. `code` goes over the wire; `details` is a JSON object with the facts.

    Subclass it with a `code` of your own (`"myapp.busy"`), and the peer that has the class raises it,
    too; a peer without it raises `RemoteError`.
    """

    code: ClassVar[str]
    _by_code: ClassVar[dict[str, type[CallError]]] = {}

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details or {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        code = cls.__dict__.get("code")
        if code is None:
            return
        other = CallError._by_code.setdefault(code, cls)
        if other is not cls and other.__qualname__ != cls.__qualname__:
            raise TypeError(f"the error code {code!r} already belongs to {other.__qualname__}")

    @property
    def wire_code(self) -> str:
        """The code that stands in the `error` message."""
        return self.code


class InvalidArgument(CallError):
    """An argument is missing, unknown or wrong; the operation was not entered."""

    code = "invalid-argument"


class UnknownOperation(CallError):
    """The peer has no operation of this name."""

    code = "unknown-operation"


class AuthenticationFailed(CallError):
    """The credentials were not accepted."""

    code = "authentication-failed"


class PermissionDenied(CallError):
    """The identity may not do this."""

    code = "permission-denied"


class CallCancelled(CallError):
    """The callee gave the call up before it was answered."""

    code = "cancelled"


class DeadlineExceeded(CallError):
    """The call was not answered within its timeout."""

    code = "deadline-exceeded"


class TooManyCalls(CallError):
    """More calls are open or waiting than a limit allows."""

    code = "too-many-calls"


class BodyTooLarge(CallError):
    """The body of the request is larger than the operation takes."""

    code = "body-too-large"


class Unavailable(CallError):
    """The peer is shutting down and takes no new calls, or has no room for another login of this identity."""

    code = "unavailable"


class AuditUnavailable(CallError):
    """The callee cannot write down what it is asked to do, and so does not do it, or does not say that all is well."""

    code = "audit-unavailable"


class InternalError(CallError):
    """The handler failed in a way it did not foresee; the peer's log has the details."""

    code = "internal"


class RemoteError(CallError):
    """A call failed with a code that no class here has."""

    def __init__(
        self, message: str, *, code: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, details=details)
        self._code = code

    @property
    def wire_code(self) -> str:
        """The code that came over the wire."""
        return self._code


def error_from_wire(code: str, message: str, details: Mapping[str, Any]) -> CallError:
    """The error for an `error` message: an instance of the class that has `code`."""
    cls = CallError._by_code.get(code)
    if cls is None:
        return RemoteError(message, code=code, details=details)
    error = cls.__new__(cls)
    # The class may have a constructor of its own; what came over the wire is what it is made of.
    CallError.__init__(error, message, details=details)
    return error
