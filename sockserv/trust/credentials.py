"""What a peer can log in with, as `twisted.cred` knows it: an interface for each kind, and a class.

Passwords have theirs in cred itself. `read_credentials` makes them of what a login says and its connection proves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
from twisted.cred.credentials import ICredentials, IUsernamePassword, UsernamePassword
from zope.interface import Attribute, Interface, implementer

from sockserv.errors import AuthenticationFailed, InvalidArgument
from sockserv.trust.authentication import hash_token
from sockserv.trust.identities import Login
from sockserv.trust.origin import Origin, PeerCertificate

__all__ = [
    "INTERFACES",
    "IPeerCertificate",
    "IPeerUid",
    "IToken",
    "PeerUid",
    "ShownCertificate",
    "Token",
    "login_of",
    "read_credentials",
]


class IToken(ICredentials):
    """A secret that stands for somebody."""

    token = Attribute("The token, a `str`.")


class IPeerCertificate(ICredentials):
    """The certificate of a connection by TLS, whose key the peer holds."""

    certificate = Attribute("The `PeerCertificate`.")


class IPeerUid(ICredentials):
    """The account at the other end of a Unix socket."""

    uid = Attribute("The number of the account.")


@implementer(IToken)
@attrs.frozen
class Token:
    """A token that somebody has sent; it does not show in its `repr`."""

    token: str = attrs.field(repr=False)


@implementer(IPeerCertificate)
@attrs.frozen
class ShownCertificate:
    """A certificate that somebody has shown."""

    certificate: PeerCertificate


@implementer(IPeerUid)
@attrs.frozen
class PeerUid:
    """An account that a process runs as."""

    uid: int


INTERFACES: Final[Mapping[str, type[Interface]]] = {
    "token": IToken,
    "certificate": IPeerCertificate,
    "uid": IPeerUid,
    "password": IUsernamePassword,
}
"""The credentials of each login method, the preferred one first."""


def login_of(credentials: Any) -> Login:
    """How somebody with these credentials has logged in: their kind, and a name for them that gives nothing away."""
    match credentials:
        case Token(token=token):
            return Login("token", f"token:{hash_token(token)[:8]}")
        case ShownCertificate(certificate=certificate):
            return Login("certificate", f"certificate:{certificate.pin}")
        case PeerUid(uid=uid):
            return Login("uid", f"uid:{uid}")
        case _:
            return Login("password", "password")


def read_credentials(method: str, arguments: Mapping[str, Any], origin: Origin) -> Any:
    """The credentials that a login by `method` comes with: its arguments, and what its connection proves.

    Raises `InvalidArgument` when they are not complete, `AuthenticationFailed` when the connection proves nothing.
    """
    match method:
        case "token":
            return Token(*_strings(method, arguments, "token"))
        case "certificate":
            _strings(method, arguments)
            if origin.certificate is None:
                raise AuthenticationFailed("no certificate was shown on this connection")
            return ShownCertificate(origin.certificate)
        case "uid":
            _strings(method, arguments)
            if origin.uid is None:
                raise AuthenticationFailed("only a connection by a Unix socket shows the account")
            return PeerUid(origin.uid)
        case "password":
            user, password = _strings(method, arguments, "user", "password")
            # No account has such a name, and what a checker hands it to may stop at the zero byte, or break.
            if "\0" in user + password:
                raise InvalidArgument("there is a zero byte in the user or the password")
            # What cred's own checkers compare with is bytes.
            return UsernamePassword(user.encode(), password.encode())
    raise AuthenticationFailed(f"there is no login by {method[:80]!r} here")


def _strings(method: str, arguments: Mapping[str, Any], *names: str) -> list[str]:
    values = [arguments.get(name) for name in names]
    if arguments.keys() != set(names) or not all(isinstance(value, str) for value in values):
        wanted = " and ".join(f'"{name}", a string' for name in names) or "no arguments"
        raise InvalidArgument(f"a login by {method} takes {wanted}")
    return [str(value) for value in values]
