"""Telling the audit log what happens on connections: logins, refusals, and who it was."""

from __future__ import annotations

from itertools import count
from typing import Any, Final
from weakref import WeakKeyDictionary

from sockserv.errors import CallError
from sockserv.net.calls import IncomingCall
from sockserv.net.peer import Peer
from sockserv.server.origins import Origins
from sockserv.trust.audit import AuditSink, Event, Record

__all__ = ["AuditTrail"]

_MAX_OP_CHARACTERS: Final = 80


class AuditTrail:
    """Tells the audit log of the server who did what; without a log (`sink` is None), nobody is told."""

    def __init__(self, sink: AuditSink | None, origins: Origins) -> None:
        self.sink = sink
        self._origins = origins
        self._numbers: WeakKeyDictionary[Peer, int] = WeakKeyDictionary()
        self._next_number = count(1)

    def logged_in(self, peer: Peer, method: str) -> None:
        """The peer is now who its `identity` says."""
        self._tell(peer, Event.LOGIN, outcome="ok", facts={"method": method})

    def login_failed(self, peer: Peer, method: str, error: CallError, **facts: Any) -> None:
        """A login was refused; `facts` may say more, as the name that was given."""
        self._tell(
            peer,
            Event.LOGIN_FAILED,
            outcome=error.wire_code,
            why=error.message,
            facts={"method": method[:_MAX_OP_CHARACTERS], **facts},
        )

    def revoked(self, peer: Peer, why: str) -> None:
        """What the peer's identity was permitted has been taken from it, all or some."""
        self._tell(peer, Event.REVOKED, why=why)

    def refused(self, call: IncomingCall, error: CallError, *, rule: str | None = None) -> None:
        """A call was refused before its operation was entered; `rule` is the permission that was missing."""
        self._tell(
            call.peer,
            Event.REFUSED,
            call=call.number,
            op=call.op[:_MAX_OP_CHARACTERS],
            rule=rule,
            outcome=error.wire_code,
            why=error.message,
        )

    def about(self, peer: Peer) -> dict[str, Any]:
        """The fields of a record that say who it was: their values while the connection is as it is now."""
        identity = peer.identity
        login = getattr(identity, "login", None)
        number = self._numbers.get(peer)
        if number is None:
            number = self._numbers[peer] = next(self._next_number)
        return {
            "identity": getattr(identity, "name", None),
            "credential": None if login is None else login.credential,
            "origin": str(self._origins.of(peer)),
            "connection": number,
        }

    def _tell(self, peer: Peer, event: Event, **fields: Any) -> None:
        if self.sink is not None:
            self.sink.record(Record(event=event, **self.about(peer), **fields))
