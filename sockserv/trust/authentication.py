"""How a peer proves who it is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from sockserv.errors import AuthenticationFailed, InvalidArgument
from sockserv.trust.identities import Identity
from sockserv.trust.origin import Origin

__all__ = ["Anonymous", "Authenticator", "TokenAuthenticator", "hash_token"]


class Authenticator(Protocol):
    """Decides who a peer is.

    `methods` are the names of the logins it offers; the operation `auth.NAME` tries one. With no
    method at all, every peer is `anonymous` without a login.
    """

    @property
    def methods(self) -> tuple[str, ...]:
        """The logins offered, the preferred one first."""

    @property
    def anonymous(self) -> Identity | None:
        """Who a peer is that has not logged in; None where a login is needed."""

    def authenticate(
        self, method: str, credentials: Mapping[str, Any], origin: Origin
    ) -> Identity | Awaitable[Identity]:
        """Who holds these credentials, and has come from `origin`.

        `credentials` are what the peer says of itself, `origin` what its connection proves. Raises
        `AuthenticationFailed` when nobody does, `InvalidArgument` when they are not complete.
        """


def hash_token(token: str) -> str:
    """What is kept of a token: its SHA-256 in hexadecimal.

    A token is 256 random bits, so that there is nothing to gain from a slow, salted hash.
    """
    return hashlib.sha256(token.encode()).hexdigest()


class TokenAuthenticator:
    """Knows identities by their tokens, of which it holds only the hashes."""

    methods = ("token",)
    anonymous = None

    def __init__(self, identities: Mapping[str, Identity]) -> None:
        self._identities = dict(identities)

    def authenticate(self, method: str, credentials: Mapping[str, Any], origin: Origin) -> Identity:
        """The identity whose token this is; see `Authenticator`."""
        token = credentials.get("token")
        if method != "token" or not isinstance(token, str) or set(credentials) != {"token"}:
            raise InvalidArgument('a login by token takes one argument, "token", a string')
        digest = hash_token(token)
        found = None
        # All of them, and each in constant time: how long it takes tells nothing.
        for known, identity in self._identities.items():
            if hmac.compare_digest(known, digest):
                found = identity
        if found is None:
            raise AuthenticationFailed("the token is not valid here")
        return found


class Anonymous:
    """Lets everybody in as one identity: for listeners that only the right people can reach."""

    methods = ()

    def __init__(self, identity: Identity) -> None:
        self.anonymous = identity

    def authenticate(self, method: str, credentials: Mapping[str, Any], origin: Origin) -> Identity:
        """Nobody logs in here."""
        raise AuthenticationFailed("no login is needed here")
