"""What a client can prove who it is with, and the login by one of these."""

from __future__ import annotations

import attrs
import msgspec

from sockserv.errors import AuthenticationFailed
from sockserv.net.peer import Peer
from sockserv.wire.messages import LOGIN_PREFIX, encode_value

__all__ = ["Credentials", "log_in_with"]


@attrs.frozen(kw_only=True)
class Credentials:
    """All that could be used to log in.

    `has_certificate` says whether the connection shows a certificate of ours, `is_unix` whether it is a Unix socket,
    where the server sees the account.
    """

    token: str | None = attrs.field(default=None, repr=False)
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    has_certificate: bool = False
    is_unix: bool = False

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
        if self.is_unix:
            logins["uid"] = {}
        if self.user is not None and self.password is not None:
            logins["password"] = {"user": self.user, "password": self.password}
        return logins


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
        asked = ", ".join(methods)
        if not logins:
            raise AuthenticationFailed(
                f"it asks for a login ({asked}), and no token is known for it"
            )
        raise AuthenticationFailed(f"it takes no {'s and no '.join(logins)}s, but {asked}")
    call = await peer.open(f"{LOGIN_PREFIX}{method}", encode_value(logins[method]), end=True)
    result: _LoginResult = await call.result(_LoginResult)
    return result.identity
