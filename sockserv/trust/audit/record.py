"""What a line of the audit log says, and who takes it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred

__all__ = ["AuditSink", "Event", "Record"]


class Event(StrEnum):
    """What a record is about."""

    BEGIN = "begin"
    """A call that changes or runs something is about to."""
    END = "end"
    """A call has ended, and how; `begin` went before it if it could change something."""
    REFUSED = "refused"
    """A call was refused before its operation was entered."""
    LOGIN = "login"
    LOGIN_FAILED = "login-failed"
    JOB = "job"
    """A kept job has ended, and how. It may have been when no daemon ran: then this is told by the next one."""
    REVOKED = "revoked"
    """Somebody who was logged in is so no more, or holds something less."""
    START = "start"
    """The log was opened; what its last writer had left unfinished stands here."""
    STOP = "stop"
    ROTATED = "rotated"
    """The log goes on in this file."""
    LOST = "lost"
    """Records could not be written; how many stands here."""


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the log; what is None, or the default otherwise, is not written.

    Whoever has something to record leaves out `seq`, `time` and `prev`: the log fills them in.
    """

    seq: int = 0
    """The number of the record; the first one ever is 1."""
    time: str = ""
    """When it happened, as RFC 3339 has it, in UTC."""
    event: Event
    identity: str | None = None
    credential: str | None = None
    """What they logged in with, as `Login.credential` says it."""
    origin: str | None = None
    """Where the connection came from."""
    connection: int | None = None
    """The number of the connection; it begins anew with each start."""
    call: int | None = None
    """The number of the call in its connection."""
    op: str | None = None
    args: Mapping[str, Any] | None = None
    """The arguments: without secrets, and with what is long cut."""
    rule: str | None = None
    """What decided that the caller may do this, or what is missing: the permission, or a finer rule."""
    outcome: str | None = None
    """`ok`, the code of an error, `cancelled` or `disconnected`."""
    why: str | None = None
    """An error in words."""
    received_bytes: int | None = None
    """How many bytes of the request's body the operation took."""
    sent_bytes: int | None = None
    """How many bytes of the answer's body the operation sent."""
    seconds: float | None = None
    """How long the operation took."""
    facts: Mapping[str, Any] = {}
    """What else is to be said."""
    prev: str = ""
    """The hash of the record before; 64 zeros before the first."""


class AuditSink(Protocol):
    """Who takes records. Both methods are called in the reactor's thread, and do not block it."""

    def record(self, record: Record) -> None:
        """Write a record when there is time: nobody waits for it. Never raises."""

    def write(self, record: Record) -> Deferred[None]:
        """Write a record; fires when it is sure to be on the disk.

        Fails with `AuditUnavailable` when it cannot be written, unless the log was told to pass over that.
        Cancelling takes nothing back.
        """
