r"""The addresses that a daemon listens on, written as Twisted writes them.

`tcp:7700:interface=127.0.0.1`, `tcp6:7700:interface=\:\:1`, `unix:/run/user/1000/sockserv.sock` and
`tls:7700:interface=192.0.2.1`: a kind, then arguments by position or by name, apart by `:`, with `\` before a `:`, `=`
or `\` that is meant literally (see `twisted.internet.endpoints.serverFromString`). `0.0.0.0:7700`, `[::]:7700` and
`:7700` are short for `tls`. Here they are checked, without a reactor and without binding anything.

What is stricter than in Twisted: TCP listens on loopback only, since it is not encrypted, and a Unix socket is
for its owner only (`mode=600`) unless another mode is written.

What there is more: `tls` (or `ssl`, which is the same) takes `clientCA` and `clients`, and without a certificate shows
the daemon's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import attrs

from sockserv.errors import ConfigError
from sockserv.urls import DEFAULT_PORT, Scheme, ServerUrl

__all__ = [
    "DEFAULT_BACKLOG",
    "DEFAULT_ENDPOINT",
    "Endpoint",
    "TcpEndpoint",
    "TlsEndpoint",
    "UdpEndpoint",
    "UnixEndpoint",
    "parse_endpoint",
    "parse_udp_endpoint",
]

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

_SHORT = re.compile(r"(\[[^\]]*\]|[0-9.]*):([0-9]+)")

_TLS_FILES = ("privateKey", "certKey", "extraCertChain", "clientCA")
_TLS_PARAMETERS = ("port", "interface", "backlog", *_TLS_FILES, "clients")
_PARAMETERS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "interface", "backlog"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "tls": _TLS_PARAMETERS,
    "ssl": _TLS_PARAMETERS,
    "udp": ("port", "interface"),
}
_CLIENTS = {"optional": False, "required": True}


@attrs.frozen(kw_only=True)
class TcpEndpoint:
    """A TCP port, on loopback unless it was allowed to be open to others; port 0 lets the system choose one."""

    port: int
    interface: IPv4Address | IPv6Address
    backlog: int = DEFAULT_BACKLOG

    @property
    def url(self) -> str:
        """What a client calls it: `tcp://127.0.0.1:7700`, `tcp://[::1]:7700`."""
        return ServerUrl(scheme=Scheme.TCP, host=str(self.interface), port=self.port).address

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
        return ServerUrl(scheme=Scheme.UNIX, path=str(self.path)).address

    def __str__(self) -> str:
        """The description for `serverFromString`."""
        # Twisted's lock file trusts process ids, which another process may have after a restart of the
        # machine; the daemon sees for itself whether somebody listens (`sockserv.daemon.listening`).
        mode, backlog = f"{self.mode:o}", self.backlog
        return f"unix:{_quoted(str(self.path))}:mode={mode}:backlog={backlog}:lockfile=0"


@attrs.frozen(kw_only=True)
class TlsEndpoint:
    """A TCP port that speaks TLS, on one address or on all (`0.0.0.0`; `::` for IPv4, too); port 0 is any.

    `certificate` and `key` are PEM files, the daemon's own when both are None; `chain` has more certificates, for
    the way to an authority. `client_ca` has the authorities that must have signed a client's certificate. Without it,
    any certificate is taken as proof of its key, and of nothing else.
    """

    port: int
    interface: IPv4Address | IPv6Address
    certificate: Path | None = None
    key: Path | None = None
    chain: Path | None = None
    client_ca: Path | None = None
    requires_client_certificate: bool = False
    backlog: int = DEFAULT_BACKLOG

    @property
    def url(self) -> str:
        """Where it listens: `sockserv://0.0.0.0:7700`. A client needs an address that leads there, and often a pin."""
        return ServerUrl(scheme=Scheme.TLS, host=str(self.interface), port=self.port).address

    def __str__(self) -> str:
        """The description that `parse_endpoint` reads; Twisted knows nothing like it."""
        files = zip(
            _TLS_FILES, (self.key, self.certificate, self.chain, self.client_ca), strict=True
        )
        named = [f":{name}={_quoted(str(path))}" for name, path in files if path is not None]
        if self.requires_client_certificate:
            named.append(":clients=required")
        interface = _quoted(str(self.interface))
        return f"tls:{self.port}:interface={interface}:backlog={self.backlog}{''.join(named)}"


Endpoint = TcpEndpoint | UnixEndpoint | TlsEndpoint


@attrs.frozen(kw_only=True)
class UdpEndpoint:
    """A UDP port; port 0 lets the system choose one."""

    port: int
    interface: IPv4Address | IPv6Address

    def __str__(self) -> str:
        """The description that `parse_udp_endpoint` reads."""
        return f"udp:{self.port}:interface={_quoted(str(self.interface))}"


def parse_udp_endpoint(text: str, *, may_be_open: bool = False) -> UdpEndpoint:
    """The endpoint that `text` describes: `udp:PORT:interface=ADDRESS`, on loopback without an interface.

    Raises `ConfigError` that begins with `text`, as for an address that is not loopback, unless it `may_be_open`.
    """
    try:
        kind, arguments = _arguments(text)
        if kind != "udp":
            raise ValueError("expected udp:PORT:interface=127.0.0.1")
        interface = ip_address(arguments.get("interface") or "127.0.0.1")
        if not interface.is_loopback and not may_be_open:
            raise ValueError(f"{interface} is not loopback, and nothing would be encrypted")
        port = _number("the port", arguments.get("port", ""), 0, 65_535)
        return UdpEndpoint(port=port, interface=interface)
    except ValueError as error:
        raise ConfigError(f"{text}: {error}") from None


def parse_endpoint(text: str, *, base: Path, may_be_open: bool = False) -> Endpoint:
    """The endpoint that `text` describes; relative paths in it count from `base`.

    With `may_be_open`, TCP may be on any address, although it is not encrypted.

    Raises `ConfigError` that begins with `text`, when it is none or one that the daemon does not listen on.
    """
    try:
        short = _SHORT.fullmatch(text)
        if short is not None:
            host, port = short.groups()
            return _tls({"port": port, "interface": host.strip("[]")}, DEFAULT_BACKLOG, base)
        kind, arguments = _arguments(text)
        backlog = _number(
            "backlog", arguments.get("backlog", str(DEFAULT_BACKLOG)), 1, _MAX_BACKLOG
        )
        if kind == "unix":
            return _unix(arguments, backlog, base)
        if kind == "udp":
            raise ValueError(
                "calls do not go over UDP; write tcp: or unix:, or an address and a port"
            )
        if kind in ("tls", "ssl"):
            return _tls(arguments, backlog, base)
        return _tcp(kind, arguments, backlog, may_be_open=may_be_open)
    except ValueError as error:
        raise ConfigError(f"{text}: {error}") from None


def _arguments(text: str) -> tuple[str, Mapping[str, str]]:
    """The kind of an endpoint, and its arguments by name."""
    kind, *fields = _fields(text)
    if kind not in _PARAMETERS:
        raise ValueError(
            f"{kind!r} is not a kind of endpoint; expected tls, tcp, tcp6 or unix, as in "
            f"{DEFAULT_ENDPOINT}, or an address and a port for TLS, as in 0.0.0.0:{DEFAULT_PORT}"
        )
    names = _PARAMETERS[kind]
    # Of the many files of TLS, none is known by its place.
    positions = iter(names[:1] if names is _TLS_PARAMETERS else names)
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


def _tcp(
    kind: str, arguments: Mapping[str, str], backlog: int, *, may_be_open: bool
) -> TcpEndpoint:
    port = _number("the port", arguments.get("port", ""), 0, 65_535)
    address = IPv4Address if kind == "tcp" else IPv6Address
    loopback = "127.0.0.1" if kind == "tcp" else r"\:\:1"
    written = arguments.get("interface", "")
    local = f"write {kind}:{port}:interface={loopback}"
    encrypted = f"{local} for this machine alone, or with TLS"
    if not written:
        every = f"{'0.0.0.0' if kind == 'tcp' else '[::]'}:{port}"
        raise ValueError(
            "without an interface it would be open to every network, and not encrypted; "
            f"{encrypted} {every}"
        )
    try:
        interface = address(written)
    except ValueError:
        raise ValueError(
            f"the interface must be an IPv{4 if kind == 'tcp' else 6} address, not {written!r}; {local}"
        ) from None
    # An IPv4 address in IPv6's clothes counts as loopback from Python 3.13 on, and not before: never here.
    is_loopback = interface.is_loopback and not getattr(interface, "ipv4_mapped", None)
    if not is_loopback and not may_be_open:
        host = f"[{interface}]" if interface.version == 6 else str(interface)
        raise ValueError(
            f"{interface} is not loopback, and the connection would not be encrypted; "
            f"{encrypted} {host}:{port}"
        )
    return TcpEndpoint(port=port, interface=interface, backlog=backlog)


def _tls(arguments: Mapping[str, str], backlog: int, base: Path) -> TlsEndpoint:
    port = _number("the port", arguments.get("port", ""), 0, 65_535)
    written = arguments.get("interface") or "::"
    try:
        interface = ip_address(written)
    except ValueError:
        raise ValueError(
            f"the interface must be an IPv4 or IPv6 address, not {written!r}; "
            f"write 0.0.0.0:{port} for all of this machine"
        ) from None
    clients = arguments.get("clients", "optional")
    if clients not in _CLIENTS:
        raise ValueError(f"clients must be {' or '.join(_CLIENTS)}, not {clients!r}")
    for name in _TLS_FILES:
        value = arguments.get(name)
        if value is not None and (not value or "\0" in value):
            raise ValueError(f"{name} needs the path of a file")
    files = {name: base / arguments[name] for name in _TLS_FILES if name in arguments}
    # As in Twisted, one file may hold both, and may be named as either.
    key = files.get("privateKey") or files.get("certKey")
    if key is None and "extraCertChain" in files:
        raise ValueError("extraCertChain goes with a certificate: name that, too, with certKey")
    return TlsEndpoint(
        port=port,
        interface=interface,
        certificate=files.get("certKey") or key,
        key=key,
        chain=files.get("extraCertChain"),
        client_ca=files.get("clientCA"),
        requires_client_certificate=_CLIENTS[clients],
        backlog=backlog,
    )


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
