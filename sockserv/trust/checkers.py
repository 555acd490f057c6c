"""Checkers for `twisted.cred` that look credentials up, in the identities file or anywhere else.

A checker of cred's gives the name of who holds the credentials. These know the whole `Identity` already, and give that:
to look it up again by its name would be to ask a second question, which may have another answer by then.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface, implementer

from sockserv.trust.credentials import (
    IPeerCertificate,
    IPeerUid,
    IToken,
    PeerUid,
    ShownCertificate,
    Token,
)
from sockserv.trust.identities import Identity
from sockserv.trust.origin import PeerCertificate

__all__ = ["CertificateChecker", "TokenChecker", "UidChecker"]


@implementer(ICredentialsChecker)
@attrs.frozen
class TokenChecker:
    """Knows who a token belongs to: `by_token` says it, given the token and the time, in UTC.

    `by_token` gives None for a token that is nobody's, and may raise `AuthenticationFailed` to say more than that.
    """

    credentialInterfaces: ClassVar[tuple[type[Interface], ...]] = (IToken,)

    _by_token: Callable[[str, datetime], Identity | None]
    _clock: IReactorTime

    def requestAvatarId(self, credentials: Token) -> Deferred[Any]:
        """Whose token this is."""
        now = datetime.fromtimestamp(self._clock.seconds(), UTC)
        return maybeDeferred(self._by_token, credentials.token, now).addCallback(_found)


@implementer(ICredentialsChecker)
@attrs.frozen
class CertificateChecker:
    """Knows who a TLS certificate belongs to."""

    credentialInterfaces: ClassVar[tuple[type[Interface], ...]] = (IPeerCertificate,)

    _by_certificate: Callable[[PeerCertificate], Identity | None]

    def requestAvatarId(self, credentials: ShownCertificate) -> Deferred[Any]:
        """Whose certificate this is."""
        found = maybeDeferred(self._by_certificate, credentials.certificate)
        return found.addCallback(_found)


@implementer(ICredentialsChecker)
@attrs.frozen
class UidChecker:
    """Knows who an account of this machine belongs to."""

    credentialInterfaces: ClassVar[tuple[type[Interface], ...]] = (IPeerUid,)

    _by_uid: Callable[[int], Identity | None]

    def requestAvatarId(self, credentials: PeerUid) -> Deferred[Any]:
        """Whose account this is."""
        return maybeDeferred(self._by_uid, credentials.uid).addCallback(_found)


def _found(identity: Identity | None) -> Identity:
    if identity is None:
        raise UnauthorizedLogin
    return identity
