"""Logins by `twisted.cred`: a portal, its realm of identities, and any checkers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from sockserv.errors import AuthenticationFailed
from sockserv.trust.checkers import CertificateChecker, TokenChecker, UidChecker
from sockserv.trust.credentials import INTERFACES, login_of, read_credentials
from sockserv.trust.identities import Identity, IIdentity, Login
from sockserv.trust.origin import Origin
from sockserv.trust.store import IdentityStore

__all__ = ["IdentityRealm", "PortalAuthenticator", "identity_authenticator", "make_portal"]

_REFUSALS: Final[Mapping[str, str]] = {
    "token": "the token is not valid here",
    "certificate": "nobody is known here by this certificate ({pin})",
    "uid": "nobody is known here by this account ({uid})",
    "password": "the user name or the password is not right",
}
"""What somebody is told; the same for who is not known, and for who is and has given the wrong credentials.

What stands in the brackets is their own, for whoever is to write it into the identities.
"""


@implementer(IRealm)
class IdentityRealm:
    """Gives the identity for what a checker has found.

    That is the `Identity` itself, or its name, as checkers of cred's give it; `by_name` gives the identity of that name
    if it may log in so, or None. The mind of a login is a `Login`, for identities that come without one.
    """

    def __init__(self, by_name: Callable[[str], Identity | None]) -> None:
        self._by_name = by_name

    def requestAvatar(
        self, avatarId: object, mind: object, *interfaces: Any
    ) -> tuple[Any, Identity, Callable[[], None]]:
        """The identity; raises `UnauthorizedLogin` when there is none of this name."""
        if IIdentity not in interfaces:
            raise NotImplementedError("this realm has identities, and nothing else")
        identity = avatarId if isinstance(avatarId, Identity) else self._named(avatarId, mind)
        return IIdentity, identity, _log_out

    def _named(self, name: object, login: object) -> Identity:
        try:
            text = name.decode() if isinstance(name, bytes) else name
        except UnicodeDecodeError:
            raise UnauthorizedLogin from None
        # An anonymous login has an empty tuple for a name.
        identity = self._by_name(text) if isinstance(text, str) else None
        if identity is None:
            raise UnauthorizedLogin
        if identity.login is None and isinstance(login, Login):
            return attrs.evolve(identity, login=login)
        return identity


def _log_out() -> None:
    """An identity is a value, and does not mind."""


def make_portal(
    checkers: Iterable[ICredentialsChecker],
    *,
    by_name: Callable[[str], Identity | None] = lambda name: None,
) -> Portal:
    """A portal to identities, for a `PortalAuthenticator`.

    `by_name` is asked for the identity of a name that a checker has given. Raises `ValueError` when two checkers
    are for the same kind of credentials: cred would ask only one of them.
    """
    portal = Portal(IdentityRealm(by_name))
    for checker in checkers:
        taken = set(portal.listCredentialsInterfaces()) & set(checker.credentialInterfaces)
        if taken:
            kinds = ", ".join(sorted(kind.__name__ for kind in taken))
            raise ValueError(f"two checkers are for the same credentials: {kinds}")
        portal.registerChecker(checker)
    return portal


def identity_authenticator(
    store: IdentityStore, clock: IReactorTime, *, checkers: Iterable[ICredentialsChecker] = ()
) -> PortalAuthenticator:
    """Lets in the identities of a store, by all that it keeps of them.

    `checkers` may say who else somebody is: the store has the last word on whether that identity may come in so. Raises
    `ValueError` when two are for the same kind of credentials.
    """
    kept = (
        TokenChecker(store.by_token, clock),
        CertificateChecker(store.by_certificate),
        UidChecker(store.by_uid),
    )
    return PortalAuthenticator(make_portal([*kept, *checkers], by_name=store.by_name))


class PortalAuthenticator:
    """Knows identities by a portal of `twisted.cred`, whose realm has `IIdentity` avatars (as `IdentityRealm`).

    It offers the logins for which the portal has a checker: `token` (`IToken`), `certificate` (`IPeerCertificate`),
    `uid` (`IPeerUid`) and `password` (cred's `IUsernamePassword`, with bytes). Checkers for other credentials are
    never asked. What a realm gives to log out with is not called: an identity is a value, whoever else has it.
    """

    anonymous = None

    def __init__(self, portal: Portal) -> None:
        """Raises `ValueError` when nobody could log in."""
        self._portal = portal
        known = portal.listCredentialsInterfaces()
        self.methods = tuple(method for method, kind in INTERFACES.items() if kind in known)
        if not self.methods:
            raise ValueError("the portal has no checker for a token, certificate, uid or password")

    async def authenticate(
        self, method: str, credentials: Mapping[str, Any], origin: Origin
    ) -> Identity:
        """The identity that the portal's checkers and its realm find; see `Authenticator`."""
        given = read_credentials(method, credentials, origin)
        try:
            avatar: Any = await self._portal.login(given, login_of(given), IIdentity)
        except LoginFailed:
            pin = origin.certificate and origin.certificate.pin
            why = _REFUSALS[method].format(pin=pin, uid=origin.uid)
            raise AuthenticationFailed(why) from None
        _, identity, _ = avatar
        return cast(Identity, identity)
