"""What becomes of connections when those who are logged in may do less than before, or nothing any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, cast

from twisted.logger import Logger

from sockserv.errors import GoodbyeCode, PermissionDenied
from sockserv.net.calls import IncomingCall
from sockserv.net.peer import Peer
from sockserv.server.trail import AuditTrail
from sockserv.trust.identities import Identity
from sockserv.trust.store import ADMIN

__all__ = ["Revocation"]

_REVOKED: Final = "the login of {name} was revoked, or has expired"


class Revocation:
    """Asks again who a peer is, and ends what it may not do any more.

    `permission_of` says what an operation needs.
    """

    _log = Logger()

    def __init__(self, permission_of: Callable[[str], str | None], trail: AuditTrail) -> None:
        self._permission_of = permission_of
        self._trail = trail

    def reconsider(self, peer: Peer, current: Callable[[Identity], Identity | None]) -> None:
        """Let the peer be what `current` makes of its identity; None ends its calls and its connection.

        Of the running calls those end whose permission has changed in any way, unless they have said that what it
        is now allows them; of who is an admin no more all that need one. The others go on.
        """
        before: Identity | None = peer.identity
        if before is None or not peer.is_logged_in:
            return  # nobody yet, or the connection is closing already
        try:
            now = current(before)
        except Exception:
            self._log.failure("nobody knows who {peer} is now", peer=peer)
            return
        if now is None:
            self._revoke(peer, _REVOKED.format(name=before.name))
        elif now is not before and now != before:
            peer.identity = now
            self._end_changed(peer, before, now)

    def _revoke(self, peer: Peer, why: str) -> None:
        self._log.info("{peer} is cut off: {why}", peer=peer, why=why)
        self._trail.revoked(peer, why)
        peer.hold()
        for call in _running(peer):
            self._end(call, PermissionDenied(why, details={"revoked": True}))
        peer.close(GoodbyeCode.REVOKED, why)
        peer.release()

    def _end_changed(self, peer: Peer, before: Identity, now: Identity) -> None:
        # An admin may do with what others have, by the same operations, what is permitted with one's own.
        is_admin_no_more = before.may(ADMIN) and not now.may(ADMIN)
        peer.hold()
        for call in _running(peer):
            permission = self._permission_of(call.op)
            reaches_less = is_admin_no_more and permission is not None
            is_the_same = before.grant(permission) == now.grant(permission)
            if not reaches_less and (is_the_same or self._allows(now, permission, call)):
                continue
            why = f"what {now.name} may do by the permission {permission!r} was changed"
            self._trail.revoked(peer, f"{call.op}: {why}")
            details = {"permission": permission, "revoked": True}
            self._end(call, PermissionDenied(why, details=details))
        peer.release()

    def _allows(self, now: Identity, permission: str | None, call: IncomingCall) -> bool:
        """Whether a call has said that it goes on for who the caller is now."""
        if call.allows is None or not now.may(permission):
            return False
        try:
            return call.allows(now)
        except Exception:
            # Whoever cannot say it must not keep the others from being looked at.
            self._log.failure("{op} cannot say whether it may go on", op=call.op)
            return False

    def _end(self, call: IncomingCall, error: PermissionDenied) -> None:
        call.peer.fail(call, error)
        try:
            call.cancel(error)
        except Exception:
            # What a service does when it is cancelled must not keep anybody in.
            self._log.failure("{op} did not let itself be cancelled", op=call.op)


def _running(peer: Peer) -> Iterator[IncomingCall]:
    """The calls that the peer has opened and that have not ended."""
    for call in tuple(peer.connection.calls.incoming.values()):
        if not call.is_ended:
            yield cast(IncomingCall, call)
