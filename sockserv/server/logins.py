"""Logging in: the operations `auth.NAME`, one for each method that the authenticator offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import (
    AuthenticationFailed,
    CallCancelled,
    CallError,
    GoodbyeCode,
    InternalError,
    InvalidArgument,
    PermissionDenied,
    SockservError,
    Unavailable,
)
from sockserv.limits import Limits
from sockserv.net.calls import IncomingCall
from sockserv.net.peer import Peer
from sockserv.server.origins import Origins
from sockserv.server.trail import AuditTrail
from sockserv.trust.authentication import Authenticator
from sockserv.trust.identities import EVERYTHING, Identity
from sockserv.trust.origin import Origin
from sockserv.trust.throttle import Throttle, source_of
from sockserv.wire.connection import Phase
from sockserv.wire.messages import LOGIN_PREFIX

__all__ = ["Logins"]


_UNGUESSABLE: Final = frozenset({"token", "certificate", "uid"})
"""Logins that are looked at whoever else fails at the same address: nobody gets one right by trying often."""


class AuthenticatorFailed(SockservError):
    """An authenticator failed in a way that it did not foresee."""


class Logins:
    """Lets peers log in, one attempt at a time, a few attempts in all; who guesses waits longer and longer."""

    _log = Logger()

    def __init__(
        self,
        authenticator: Authenticator,
        limits: Limits,
        clock: IReactorTime,
        origins: Origins,
        trail: AuditTrail,
        *,
        on_admitted: Callable[[Peer], None] = lambda peer: None,
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._origins = origins
        self._trail = trail
        self._limits = limits
        self._on_admitted = on_admitted
        self._throttle = Throttle(clock, limits)
        self._turned_away_in_a_row = 0
        self._changes = 0
        self._current: Callable[[Identity], Identity | None] = lambda identity: identity
        # The connections whose login is being checked, or has failed and is not answered yet.
        self._busy: set[Peer] = set()
        # Who is logged in, by name, and by how many connections.
        self._names: dict[Peer, str] = {}
        self._present: Counter[str] = Counter()

    async def login(self, call: IncomingCall) -> dict[str, str]:
        """Log the peer of a call in as whoever its credentials say; gives the result of the call."""
        peer = call.peer
        method = call.request.op.removeprefix(LOGIN_PREFIX)
        if peer.identity is not None:
            raise PermissionDenied(f"this connection is logged in as {peer.identity.name} already")
        source = source_of(self._origins.of(peer))
        is_full = self._throttle.is_full(source)
        if is_full and method not in _UNGUESSABLE:
            raise self._turned_away(call)
        if not is_full:
            self._turned_away_in_a_row = 0
        if peer in self._busy:
            # Otherwise as many could be tried at once as there may be calls.
            error = AuthenticationFailed("another login is being checked: wait for its answer")
            self._count(peer, method, error)
            self._end_after_too_many(call, error)
            raise error
        self._busy.add(peer)
        try:
            identity = await self._try(call, method, source)
        finally:
            self._busy.discard(peer)
        self.admit(peer, identity, method)
        return {"identity": identity.name}

    def admit(self, peer: Peer, identity: Identity, method: str) -> None:
        """The peer is `identity`, which a login by `method` has shown.

        Raises `Unavailable` where that has too many connections.
        """
        self._enter(peer, identity)
        peer.login(identity)
        self._on_admitted(peer)
        self._trail.logged_in(peer, method)
        self._log.info("{peer} logged in by {method}", peer=peer, method=method)

    def left(self, peer: Peer) -> None:
        """The connection has ended."""
        name = self._names.pop(peer, None)
        if name is not None:
            self._present[name] -= 1
            if not self._present[name]:
                del self._present[name]

    def _enter(self, peer: Peer, identity: Identity) -> None:
        """Count one more connection of an identity. Raises `Unavailable` where it has too many."""
        name = identity.name
        most = self._limits.max_identity_connections
        # Whoever may do everything could do so, too, to whoever has taken all the room.
        if self._present[name] >= most and not identity.may(EVERYTHING):
            self._log.warn(
                "{peer} not let in: {name} has {count} connections",
                peer=peer,
                name=name,
                count=most,
            )
            raise Unavailable(f"{name} has {most} connections, which is the limit: close some")
        self._names[peer] = name
        self._present[name] += 1

    async def _try(self, call: IncomingCall, method: str, source: str) -> Identity:
        """Who the credentials belong to; that they are nobody's is said after a while."""
        started = self._clock.seconds()
        changes = self._changes
        try:
            identity = await self._identify(method, call.request.args, self._origins.of(call.peer))
            return identity if changes == self._changes else self._still(identity)
        except Exception as raised:
            failure = raised
        if self._throttle.is_full(source):
            raise self._turned_away(call)
        # To hang up, or to wait only for a moment, is no way to try more often: it counts.
        seconds = self._throttle.failed(source, started=started)
        error = self._call_error(failure)
        self._count(call.peer, method, error)
        try:
            if not isinstance(failure, CancelledError):
                await deferLater(self._clock, seconds)
        finally:
            self._end_after_too_many(call, error)
        raise error

    def changed(self, current: Callable[[Identity], Identity | None]) -> None:
        """Identities have changed; `current` says what one that was known before is now."""
        self._changes += 1
        self._current = current

    def _still(self, identity: Identity) -> Identity:
        """Who it is now, whom an authenticator may have looked up before a change."""
        now = self._current(identity)
        if now is None:
            raise AuthenticationFailed("the login was revoked while it was checked")
        return now

    async def _identify(self, method: str, arguments: msgspec.Raw, origin: Origin) -> Identity:
        if method not in self._authenticator.methods:
            offered = ", ".join(self._authenticator.methods) or "none is needed"
            raise AuthenticationFailed(
                f"there is no login by {method[:80]!r} here; offered: {offered}"
            )
        try:
            credentials = msgspec.json.decode(arguments, type=dict[str, Any])
        except msgspec.DecodeError:
            raise InvalidArgument("the arguments of a login are a JSON object") from None
        found = self._authenticator.authenticate(method, credentials, origin)
        return await found if isinstance(found, Awaitable) else found

    def _turned_away(self, call: IncomingCall) -> AuthenticationFailed:
        """The error for a login whose answer is not even held back; it is the last of its connection."""
        self._turned_away_in_a_row += 1
        self._trail.login_turned_away()
        # A flood of logins must not flood the log as well.
        if self._turned_away_in_a_row & (self._turned_away_in_a_row - 1) == 0:
            self._log.warn(
                "{peer} was not let try a login, {count} in a row: too many have failed from there",
                peer=call.peer,
                count=self._turned_away_in_a_row,
            )
        error = AuthenticationFailed("too many logins from where you are have failed: wait a while")
        self._end(call, error)
        return error

    def _count(self, peer: Peer, method: str, error: CallError) -> None:
        peer.failed_logins += 1
        self._log.warn(
            "{peer} failed to log in by {method!r}, attempt {count}: {why}",
            peer=peer,
            method=method[:80],
            count=peer.failed_logins,
            why=error,
        )
        self._trail.login_failed(peer, method, error)

    def _end_after_too_many(self, call: IncomingCall, error: CallError) -> None:
        if call.peer.failed_logins >= self._limits.max_login_attempts:
            self._end(call, error)

    @staticmethod
    def _end(call: IncomingCall, error: CallError) -> None:
        if call.peer.connection.phase is Phase.CLOSED:
            return  # this is one of those that have been ended with another
        call.peer.fail(call, error)
        call.peer.close(GoodbyeCode.LOGIN_FAILED, "too many logins failed")

    def _call_error(self, failure: Exception) -> CallError:
        """What is said of a failed login."""
        if isinstance(failure, CallError):
            return failure
        if isinstance(failure, CancelledError):
            return CallCancelled("the login was given up")
        # What the authenticator says of it may hold the credentials.
        kept = AuthenticatorFailed(f"it raised {type(failure).__name__}")
        self._log.failure(
            "the authenticator failed", Failure(kept.with_traceback(failure.__traceback__))
        )
        return InternalError("the login failed unexpectedly; the other side's log says why")
