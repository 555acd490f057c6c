r"""The addresses that a daemon listens on, written as Twisted writes them.

`tcp:7700:interface=127.0.0.1`, `tcp6:7700:interface=\:\:1` and `unix:/run/user/1000/sockserv.sock`: a kind, then
arguments by position or by name, apart by `:`, with `\` before a `:`, `=` or `\` that is meant literally (see
`twisted.internet.endpoints.serverFromString`). Here they are checked, without a reactor and without binding anything.

What is stricter than in Twisted: TCP listens on loopback only, since it is not encrypted, and a Unix socket is
for its owner only (`mode=600`) unless another mode is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from urllib.parse import quote

import attrs

from sockserv.errors import ConfigError

__all__ = [
    "DEFAULT_BACKLOG",
    "DEFAULT_ENDPOINT",
    "Endpoint",
    "TcpEndpoint",
    "UnixEndpoint",
    "parse_endpoint",
]

DEFAULT_PORT = 7700
DEFAULT_ENDPOINT = f"tcp:{DEFAULT_PORT}:interface=127.0.0.1"

DEFAULT_BACKLOG = 1024
"""How many connections may wait to be accepted. Beyond that the system makes clients wait for a second and
more, and with Twisted's own 50 it does so at every burst of clients."""

_MAX_SOCKET_PATH_BYTES = 107
_MAX_BACKLOG = 65_535

_FIELD = re.compile(r"((?:[^:\\]|\\.)*)(:|\Z)", re.DOTALL)
_NAMED = re.compile(r"((?:[^=\\]|\\.)*)=(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"([\\:=])")

_PARAMETERS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
}
_ENCRYPTED = {"ssl", "tls"}


@attrs.frozen(kw_only=True)
class TcpEndpoint:
    """A TCP port on loopback; port 0 lets the system choose one."""

    port: int
    interface: IPv4Address | IPv6Address
    backlog: int = DEFAULT_BACKLOG

    @property
    def url(self) -> str:
        """What a client calls it: `tcp://127.0.0.1:7700`, `tcp://[::1]:7700`."""
        host = str(self.interface)
        return (
            f"tcp://{host}:{self.port}"
            if self.interface.version == 4
            else f"tcp://[{host}]:{self.port}"
        )

    def __str__(self) -> str:
        """The description for `serverFromString`."""
        kind = "tcp" if self.interface.version == 4 else "tcp6"
        return f"{kind}:{self.port}:interface={_quoted(str(self.interface))}:backlog={self.backlog}"


@attrs.frozen(kw_only=True)
class UnixEndpoint:
    """A Unix stream socket; `path` is absolute, `mode` its permission bits."""

    path: Path
    mode: int = 0o600
    backlog: int = DEFAULT_BACKLOG

    @property
    def url(self) -> str:
        """What a client calls it: `unix:///run/sockserv.sock`, percent-encoded where that is needed."""
        return f"unix://{quote(os.fsencode(self.path))}"

    def __str__(self) -> str:
        """The description for `serverFromString`."""
        # Twisted's lock file trusts process ids, which another process may have after a restart of the
        # machine; the daemon sees for itself whether somebody listens (`sockserv.daemon`).
        mode, backlog = f"{self.mode:o}", self.backlog
        return f"unix:{_quoted(str(self.path))}:mode={mode}:backlog={backlog}:lockfile=0"


Endpoint = TcpEndpoint | UnixEndpoint


def parse_endpoint(text: str, *, base: Path) -> Endpoint:
    """The endpoint that `text` describes; a relative path of a Unix socket counts from `base`.

    Raises `ConfigError` that begins with `text`, when it is none or one that the daemon does not listen on.
    """
    try:
        kind, arguments = _arguments(text)
        backlog = _number(
            "backlog", arguments.get("backlog", str(DEFAULT_BACKLOG)), 1, _MAX_BACKLOG
        )
        if kind == "unix":
            return _unix(arguments, backlog, base)
        return _tcp(kind, arguments, backlog)
    except ValueError as error:
        raise ConfigError(f"{text}: {error}") from None


def _arguments(text: str) -> tuple[str, Mapping[str, str]]:
    """The kind of an endpoint, and its arguments by name."""
    kind, *fields = _fields(text)
    if kind in _ENCRYPTED:
        raise ValueError(
            "encrypted listeners are not there yet; listen on loopback (tcp, tcp6) or on a unix socket"
        )
    if kind not in _PARAMETERS:
        raise ValueError(
            f"{kind!r} is not a kind of endpoint; expected tcp, tcp6 or unix, as in {DEFAULT_ENDPOINT}"
        )
    names = _PARAMETERS[kind]
    positions = iter(names)
    arguments: dict[str, str] = {}
    for field in fields:
        named = _NAMED.fullmatch(field)
        name, value = named.groups() if named else (next(positions, None), field)
        if name is None:
            raise ValueError(
                f"too many arguments; write a : that belongs to one of them as \\:{_hint(kind)}"
            )
        if name not in names:
            raise ValueError(f"{kind} has no argument {name!r}; expected {', '.join(names)}")
        if name in arguments:
            raise ValueError(f"{name} is given twice{_hint(kind)}")
        arguments[name] = _ESCAPED.sub(r"\1", value)
    return kind, arguments


def _fields(text: str) -> list[str]:
    fields = []
    position = 0
    while True:
        match = _FIELD.match(text, position)
        if match is None:
            raise ValueError("it ends in a \\ with nothing to stand before")
        fields.append(match[1])
        if not match[2]:
            return fields
        position = match.end()


def _tcp(kind: str, arguments: Mapping[str, str], backlog: int) -> TcpEndpoint:
    port = _number("the port", arguments.get("port", ""), 0, 65_535)
    address = IPv4Address if kind == "tcp" else IPv6Address
    loopback = "127.0.0.1" if kind == "tcp" else r"\:\:1"
    written = arguments.get("interface", "")
    advice = f"write {kind}:{port}:interface={loopback}"
    if not written:
        raise ValueError(
            "without an interface it would be open to every network, and not encrypted; " + advice
        )
    try:
        interface = address(written)
    except ValueError:
        raise ValueError(
            f"the interface must be an IPv{4 if kind == 'tcp' else 6} address, not {written!r}; {advice}"
        ) from None
    # An IPv4 address in IPv6's clothes counts as loopback from Python 3.13 on, and not before: never here.
    if not interface.is_loopback or getattr(interface, "ipv4_mapped", None):
        raise ValueError(
            f"{interface} is not loopback, and the connection would not be encrypted; {advice}"
        )
    return TcpEndpoint(port=port, interface=interface, backlog=backlog)


def _unix(arguments: Mapping[str, str], backlog: int, base: Path) -> UnixEndpoint:
    written = arguments.get("address", "")
    if not written or "\0" in written:
        raise ValueError("a unix socket needs a path, as in unix:/run/user/1000/sockserv.sock")
    path = base / written
    length = len(os.fsencode(path))
    if length > _MAX_SOCKET_PATH_BYTES:
        raise ValueError(
            f"the path of a unix socket has at most {_MAX_SOCKET_PATH_BYTES} bytes, and {path} has {length}"
        )
    mode = arguments.get("mode", "600")
    if not re.fullmatch("[0-7]{3}", mode):
        raise ValueError(f"the mode must be three octal digits, as 600, not {mode!r}")
    if arguments.get("lockfile", "0") != "0":
        raise ValueError("leave lockfile out: the daemon finds out itself whether somebody listens")
    return UnixEndpoint(path=path, mode=int(mode, 8), backlog=backlog)


def _number(name: str, text: str, least: int, most: int) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a number from {least} to {most}, not {text!r}")
    return int(text)


def _hint(kind: str) -> str:
    return r", as in tcp6:7700:interface=\:\:1" if kind == "tcp6" else ""


def _quoted(value: str) -> str:
    return _SPECIAL.sub(r"\\\1", value)
