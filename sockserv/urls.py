"""Where a server is, in one line: the URLs that servers print, invitations carry and clients take.

| URL | | |---|---| | `sockserv://HOST:7700/?pin=sha256:...&token=...` | TLS. With a pin the server has to hold that
key, without one a certificate that an authority has signed for HOST | | `tcp://HOST:7700` | not encrypted | |
`unix:///run/sockserv.sock` | a Unix socket; percent-encoded where that is needed |

Each of them may have a token to log in with; nothing but `ServerUrl.reveal` ever shows it.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit

import attrs

from sockserv.errors import ConnectError

__all__ = ["DEFAULT_PORT", "PIN", "Scheme", "ServerUrl", "without_secrets"]

DEFAULT_PORT: Final = 7700

PIN: Final = re.compile(r"sha256:[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
"""A pin: the SHA-256 of a public key, in base64url without padding, whose last character holds four bits."""

_TOKEN: Final = re.compile(r"[!-~]{1,1024}")
_HOST: Final = re.compile(r"[^\s\x00-\x1f\x7f/?#@\[\]\\]{1,255}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SECRETS: Final = re.compile(r"[?#].*|\S*@|[A-Za-z0-9_-]{43,}", re.DOTALL)
_MAX_URL_CHARACTERS: Final = 4096


class Scheme(StrEnum):
    """How a server is spoken to."""

    TLS = "sockserv"
    TCP = "tcp"
    UNIX = "unix"


@attrs.frozen(kw_only=True)
class ServerUrl:
    """Where a server is, which key it must hold, and the token to log in with.

    `host` and `port` are those of TCP and TLS, an IPv6 address without brackets; `path` is that of a Unix socket. The
    token is in no text that is made of this but that of `reveal`.
    """

    scheme: Scheme
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    pin: str | None = None
    token: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> ServerUrl:
        """The server that `text` stands for.

        Raises `ConnectError` that says what is wrong, and shows no part of `text` that may be secret.
        """
        try:
            if len(text) > _MAX_URL_CHARACTERS:
                raise ValueError(f"it is longer than {_MAX_URL_CHARACTERS} characters")
            return _parsed(text)
        except ValueError as error:
            shown = without_secrets(text[:_MAX_URL_CHARACTERS])
            raise ConnectError(f"{shown[:200]!r} is not the URL of a server: {error}") from None

    @property
    def address(self) -> str:
        """The URL without pin and token: what the server is called in messages."""
        if self.scheme is Scheme.UNIX:
            return f"unix://{quote(os.fsencode(self.path))}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.scheme is Scheme.UNIX or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def reveal(self) -> str:
        """The whole URL, with the token: for whoever is to have it, and for no log."""
        parameters = {"pin": self.pin, "token": self.token}
        query = "&".join(
            f"{name}={quote(value, safe=':')}" for name, value in parameters.items() if value
        )
        slash = "" if self.scheme is Scheme.UNIX else "/"
        return f"{self.address}{slash}?{query}" if query else self.address

    def __str__(self) -> str:
        """The URL without its token."""
        return attrs.evolve(self, token=None).reveal()


def without_secrets(text: str) -> str:
    """What somebody has given for a URL, with dots in the place of all that may be secret in it: for errors."""
    return _SECRETS.sub("...", text)


def _parsed(text: str) -> ServerUrl:
    """Raises `ValueError` whose message holds nothing of `text` that may be secret."""
    if _CONTROL.search(text):
        raise ValueError("it has control characters in it")
    try:
        url = urlsplit(text)
    except ValueError:
        raise ValueError("its host is not well-formed") from None
    try:
        scheme = Scheme(url.scheme)
    except ValueError:
        raise ValueError("write sockserv://HOST:PORT, tcp://HOST:PORT or unix:///PATH") from None
    if url.fragment or "#" in text:
        raise ValueError("it has a # in it; write %23 where a name has one")
    parameters = _parameters(url.query)
    pin = parameters.get("pin")
    if pin is not None and scheme is not Scheme.TLS:
        raise ValueError("a pin is only for sockserv://, which is encrypted")
    token = parameters.get("token")
    if scheme is Scheme.UNIX:
        path = os.fsdecode(_unquoted_path(url))
        return ServerUrl(scheme=scheme, port=0, path=path, token=token)
    host, port = _host_and_port(url, scheme)
    return ServerUrl(scheme=scheme, host=host, port=port, pin=pin, token=token)


def _unquoted_path(url: SplitResult) -> bytes:
    path = unquote_to_bytes(url.path)
    if url.netloc or not path.startswith(b"/") or b"\0" in path:
        raise ValueError("write unix:///PATH, with the whole path of the socket")
    return path


def _host_and_port(url: SplitResult, scheme: Scheme) -> tuple[str, int]:
    if "@" in url.netloc:
        raise ValueError("a URL of this kind has no user name in it")
    if url.path not in ("", "/"):
        raise ValueError("there is nothing to write between the port and the ?")
    try:
        port = url.port
    except ValueError:
        raise ValueError("the port is a number from 1 to 65535") from None
    if port is None and scheme is Scheme.TLS and not url.netloc.endswith(":"):
        port = DEFAULT_PORT
    if not port:
        raise ValueError("it needs a port, as in :7700")
    host = url.hostname or ""
    if not _HOST.fullmatch(host) or (":" in host) != ("[" in url.netloc):
        raise ValueError("it needs a host: a name, an IPv4 address, or an IPv6 address in [ ]")
    return host, port


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for field in query.split("&") if query else ():
        name, _, value = field.partition("=")
        value = unquote(value)
        if name not in ("pin", "token"):
            raise ValueError("after the ? only pin= and token= may stand")
        if name in parameters:
            raise ValueError(f"it has {name} twice")
        if name == "pin" and not PIN.fullmatch(value):
            raise ValueError("the pin is not whole: sha256: and 43 characters")
        if name == "token" and not _TOKEN.fullmatch(value):
            raise ValueError("the token is not whole")
        parameters[name] = value
    return parameters
