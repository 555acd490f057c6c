"""Telling the audit log what happens on connections: logins, refusals, and who it was."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs
from twisted.internet.interfaces import IReactorTime

from sockserv.errors import CallError
from sockserv.net.calls import IncomingCall
from sockserv.net.peer import Peer
from sockserv.server.origins import Origins
from sockserv.services.api import Operation
from sockserv.trust.audit import AuditSink, Event, Record
from sockserv.trust.audit.arguments import fitting, fitting_text, has_secrets

__all__ = ["AuditTrail"]

_MAX_OP_CHARACTERS: Final = 80

_MAX_REFUSALS: Final = 60
"""Of the refusals of one connection so many are told in a minute, and the others counted: nothing else is to be had so
cheaply by somebody who may do nothing."""

_MAX_FAILED_LOGINS: Final = 600
"""The same for failed logins, of all connections together: strangers can come from as many places as they like."""

_MINUTE_SECONDS: Final = 60.0


@attrs.define
class _Minute:
    """What was told since a time, and how many others there were."""

    since: float
    told: int = 0
    others: int = 0

    def is_over(self, now: float) -> bool:
        return now - self.since >= _MINUTE_SECONDS

    def may_tell(self, most: int) -> bool:
        """Count one more: whether it is to be told by itself."""
        if self.told < most:
            self.told += 1
            return True
        self.others += 1
        return False


class AuditTrail:
    """Tells the audit log of the server who did what; without a log (`sink` is None), nobody is told."""

    def __init__(self, clock: IReactorTime, sink: AuditSink | None, origins: Origins) -> None:
        self.sink = sink
        self._clock = clock
        self._origins = origins
        self._next_number = count(1)
        # Who it was, as a record has it, with the identity that this was made of.
        self._known: WeakKeyDictionary[Peer, tuple[Any, dict[str, Any]]] = WeakKeyDictionary()
        self._refusals: WeakKeyDictionary[Peer, _Minute] = WeakKeyDictionary()
        self._failed_logins = _Minute(clock.seconds())

    def logged_in(self, peer: Peer, method: str) -> None:
        """The peer is now who its `identity` says."""
        self._begin_minute_of_logins()
        self._tell(peer, Event.LOGIN, outcome="ok", facts={"method": method})

    def login_failed(self, peer: Peer, method: str, error: CallError, **facts: Any) -> None:
        """A login was refused; `facts` may say more, as the name that was given."""
        self._begin_minute_of_logins()
        if not self._failed_logins.may_tell(_MAX_FAILED_LOGINS):
            return
        self._tell(
            peer,
            Event.LOGIN_FAILED,
            outcome=error.wire_code,
            why=fitting_text(error.message),
            facts=fitting({"method": method[:_MAX_OP_CHARACTERS], **facts}),
        )

    def login_turned_away(self) -> None:
        """A login was refused without a look at it: that is only counted."""
        self._begin_minute_of_logins()
        self._failed_logins.others += 1

    def revoked(self, peer: Peer, why: str) -> None:
        """What the peer's identity was permitted has been taken from it, all or some."""
        self._tell(peer, Event.REVOKED, why=fitting_text(why))

    def refused(
        self, call: IncomingCall, error: CallError, operation: Operation | None = None
    ) -> CallError:
        """A call is refused before its operation is entered, None if there is no such; gives the error back."""
        if self.sink is None or not self._may_tell(call.peer):
            return error
        self._tell(
            call.peer,
            Event.REFUSED,
            call=call.number,
            op=call.op[:_MAX_OP_CHARACTERS],
            rule=None if operation is None else operation.permission,
            outcome=error.wire_code,
            # The words about a wrong argument may have its value.
            why=None if operation and has_secrets(operation.args) else fitting_text(error.message),
        )
        return error

    def ended(self, peer: Peer) -> None:
        """The connection has ended: what was only counted is told."""
        refusals = self._refusals.pop(peer, None)
        if refusals is not None and refusals.others:
            self._tell(peer, Event.REFUSED, facts={"others": refusals.others})

    def stopped(self) -> None:
        """All connections have ended: what was only counted is told."""
        others, self._failed_logins = self._failed_logins.others, _Minute(self._clock.seconds())
        if others and self.sink is not None:
            self.sink.record(Record(event=Event.LOGIN_FAILED, facts={"others": others}))

    def _begin_minute_of_logins(self) -> None:
        if self._failed_logins.is_over(self._clock.seconds()):
            self.stopped()

    def _may_tell(self, peer: Peer) -> bool:
        now = self._clock.seconds()
        refusals = self._refusals.get(peer)
        if refusals is None or refusals.is_over(now):
            self.ended(peer)
            refusals = self._refusals[peer] = _Minute(now)
        return refusals.may_tell(_MAX_REFUSALS)

    def about(self, peer: Peer) -> Mapping[str, Any]:
        """The fields of a record that say who it was."""
        identity = peer.identity
        known, about = self._known.get(peer, (None, {}))
        if not about or known is not identity:
            login = getattr(identity, "login", None)
            about = {
                "identity": getattr(identity, "name", None),
                "credential": None if login is None else login.credential,
                "origin": str(self._origins.of(peer)),
                "connection": about.get("connection") or next(self._next_number),
            }
            self._known[peer] = identity, about
        return about

    def _tell(self, peer: Peer, event: Event, **fields: Any) -> None:
        if self.sink is not None:
            self.sink.record(Record(event=event, **self.about(peer), **fields))
