"""Logging in: the operations `auth.NAME`, one for each method that the authenticator offers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec
from twisted.logger import Logger

from sockserv.errors import (
    AuthenticationFailed,
    CallError,
    GoodbyeCode,
    InvalidArgument,
    PermissionDenied,
)
from sockserv.limits import Limits
from sockserv.net.calls import IncomingCall
from sockserv.net.peer import Peer
from sockserv.server.origins import Origins
from sockserv.server.trail import AuditTrail
from sockserv.trust.authentication import Authenticator
from sockserv.trust.identities import Identity
from sockserv.trust.origin import Origin
from sockserv.wire.messages import LOGIN_PREFIX

__all__ = ["Logins"]


class Logins:
    """Lets peers log in, one attempt at a time, a few attempts in all."""

    _log = Logger()

    def __init__(
        self, authenticator: Authenticator, limits: Limits, origins: Origins, trail: AuditTrail
    ) -> None:
        self._authenticator = authenticator
        self._origins = origins
        self._trail = trail
        self._max_login_attempts = limits.max_login_attempts
        # The connections that wait for an authenticator which takes its time.
        self._checking: set[Peer] = set()

    async def login(self, call: IncomingCall) -> dict[str, str]:
        """Log the peer of a call in as whoever its credentials say; gives the result of the call."""
        peer = call.peer
        method = call.request.op.removeprefix(LOGIN_PREFIX)
        if peer.identity is not None:
            raise PermissionDenied(f"this connection is logged in as {peer.identity.name} already")
        try:
            if peer in self._checking:
                # Otherwise as many could be tried at once as there may be calls.
                raise AuthenticationFailed("another login is being checked: wait for its answer")
            identity = await self._check(peer, method, call.request.args)
        except (AuthenticationFailed, InvalidArgument) as error:
            self._login_failed(call, method, error)
            raise
        peer.login(identity)
        self._trail.logged_in(peer, method)
        self._log.info("{peer} logged in by {method}", peer=peer, method=method)
        return {"identity": identity.name}

    async def _check(self, peer: Peer, method: str, arguments: msgspec.Raw) -> Identity:
        self._checking.add(peer)
        try:
            return await self._identify(method, arguments, self._origins.of(peer))
        finally:
            self._checking.discard(peer)

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

    def _login_failed(self, call: IncomingCall, method: str, error: CallError) -> None:
        peer = call.peer
        peer.failed_logins += 1
        self._log.warn(
            "{peer} failed to log in by {method!r}, attempt {count}: {why}",
            peer=peer,
            method=method[:80],
            count=peer.failed_logins,
            why=error,
        )
        self._trail.login_failed(peer, method, error)
        if peer.failed_logins >= self._max_login_attempts:
            # Nothing that follows the goodbye is read.
            peer.fail(call, error)
            peer.drain(GoodbyeCode.LOGIN_FAILED, "too many logins failed")
