"""What a client can prove who it is with, and the login by one of these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs
import msgspec

from sockserv.errors import AuthenticationFailed
from sockserv.net.peer import Peer
from sockserv.urls import Scheme, ServerUrl
from sockserv.wire.messages import LOGIN_PREFIX, encode_value

__all__ = ["Credentials", "log_in_with"]

_ONLY_OVER: Final = {"certificate": Scheme.TLS, "uid": Scheme.UNIX}


@attrs.frozen(kw_only=True)
class Credentials:
    """All that could be used to log in.

    `has_certificate` says whether the connection shows a certificate of ours. `server` is what is connected to, where
    that is known: on a Unix socket the server sees the account.
    """

    token: str | None = attrs.field(default=None, repr=False)
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    has_certificate: bool = False
    server: ServerUrl | None = None

    @property
    def has_secrets(self) -> bool:
        """Whether there is anything that nobody on the way may read."""
        return self.token is not None or self.password is not None

    @property
    def has_more(self) -> bool:
        """Whether somebody has said how to log in otherwise than with a token."""
        return self.has_certificate or self.user is not None

    def logins(self) -> dict[str, dict[str, str]]:
        """The methods that could be used, the preferred one first, with what each takes."""
        logins: dict[str, dict[str, str]] = {}
        if self.token is not None:
            logins["token"] = {"token": self.token}
        if self.has_certificate:
            logins["certificate"] = {}
        if self.server is not None and self.server.scheme is Scheme.UNIX:
            logins["uid"] = {}
        if self.user is not None and self.password is not None:
            logins["password"] = {"user": self.user, "password": self.password}
        return logins

    def can_use(self, method: str) -> bool:
        """Whether a login by this method is possible at all over the connection."""
        if self.server is None:
            return True
        scheme = self.server.scheme
        if method in _ONLY_OVER:
            return scheme is _ONLY_OVER[method]
        # Nothing secret is sent for all to read.
        return scheme is not Scheme.TCP or self.server.is_local


class _LoginResult(msgspec.Struct):
    identity: str


async def log_in_with(credentials: Credentials, peer: Peer) -> str | None:
    """Log in to the server that has greeted us, in the first way that it offers; gives who we are there.

    Raises `AuthenticationFailed` when there is no such way, or the server refuses us.
    """
    assert peer.hello is not None
    methods = peer.hello.auth
    if not methods:
        return None
    logins = credentials.logins()
    method = next((method for method in logins if method in methods), None)
    if method is None:
        raise AuthenticationFailed(_why_there_is_none(credentials, logins, methods))
    call = await peer.open(f"{LOGIN_PREFIX}{method}", encode_value(logins[method]), end=True)
    result: _LoginResult = await call.result(_LoginResult)
    return result.identity


def _why_there_is_none(
    credentials: Credentials, logins: Iterable[str], methods: Iterable[str]
) -> str:
    """Why none of `logins` is one of the `methods` that the server offers, and what to do."""
    possible = [method for method in methods if credentials.can_use(method)]
    asked = ", ".join(possible)
    if credentials.server is not None and not possible:
        return (
            f"it asks for a login ({', '.join(methods)}), and none of that is possible over "
            f"{credentials.server.scheme}://: take another URL of it"
        )
    if logins:
        return f"it takes no {'s and no '.join(logins)}s, but {asked}"
    if "token" in possible:
        return (
            f"it asks for a login ({asked}), and no token is known for it: "
            "`sockserv login` with an invitation, or --token-file, gives one"
        )
    return f"it asks for a login ({asked}), and none is known for it: see `sockserv login --help`"
