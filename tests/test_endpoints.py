"""Endpoint descriptions: what they mean, that Twisted reads ours the same way, and which are refused."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor

from sockserv.endpoints import (
    DEFAULT_BACKLOG,
    DEFAULT_ENDPOINT,
    Endpoint,
    TcpEndpoint,
    TlsEndpoint,
    UnixEndpoint,
    parse_endpoint,
)
from sockserv.errors import ConfigError

BASE = Path("/base")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (DEFAULT_ENDPOINT, TcpEndpoint(port=7700, interface=IPv4Address("127.0.0.1"))),
        ("tcp:0:127.8.8.8:7", TcpEndpoint(port=0, interface=IPv4Address("127.8.8.8"), backlog=7)),
        (
            "tcp:interface=127.0.0.1:port=65535",
            TcpEndpoint(port=65535, interface=IPv4Address("127.0.0.1")),
        ),
        (r"tcp6:7700:interface=\:\:1", TcpEndpoint(port=7700, interface=IPv6Address("::1"))),
        ("unix:/run/s", UnixEndpoint(path=Path("/run/s"))),
        ("unix:s:mode=660:backlog=5", UnixEndpoint(path=BASE / "s", mode=0o660, backlog=5)),
        (r"unix:address=/a\:b\=c\\d", UnixEndpoint(path=Path(r"/a:b=c\d"))),
        ("unix:/" + "x" * 106, UnixEndpoint(path=Path("/" + "x" * 106))),
        (":7700", TlsEndpoint(port=7700, interface=IPv6Address("::"))),
        ("[::]:0", TlsEndpoint(port=0, interface=IPv6Address("::"))),
        ("0.0.0.0:7700", TlsEndpoint(port=7700, interface=IPv4Address("0.0.0.0"))),
        ("[2001:db8::1]:7", TlsEndpoint(port=7, interface=IPv6Address("2001:db8::1"))),
        ("tls:7700", TlsEndpoint(port=7700, interface=IPv6Address("::"))),
        (
            r"ssl:7700:interface=\:\:1:backlog=9",
            TlsEndpoint(port=7700, interface=IPv6Address("::1"), backlog=9),
        ),
        (
            "tls:7700:interface=192.0.2.1:privateKey=k:certKey=/c:extraCertChain=x:clientCA=ca"
            ":clients=required",
            TlsEndpoint(
                port=7700,
                interface=IPv4Address("192.0.2.1"),
                key=BASE / "k",
                certificate=Path("/c"),
                chain=BASE / "x",
                client_ca=BASE / "ca",
                requires_client_certificate=True,
            ),
        ),
        (
            "tls:1:interface=127.0.0.1:privateKey=both",
            TlsEndpoint(
                port=1,
                interface=IPv4Address("127.0.0.1"),
                key=BASE / "both",
                certificate=BASE / "both",
            ),
        ),
        (
            r"tls:1:interface=127.0.0.1:certKey=a\:b:clients=optional",
            TlsEndpoint(
                port=1,
                interface=IPv4Address("127.0.0.1"),
                key=BASE / "a:b",
                certificate=BASE / "a:b",
            ),
        ),
    ],
)
def test_what_a_description_means(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text, base=BASE) == endpoint
    assert parse_endpoint(str(endpoint), base=BASE) == endpoint


@pytest.mark.parametrize(
    ("text", "port", "interface"),
    [("tcp:7700:interface=127.0.0.1", 7700, "127.0.0.1"), (r"tcp6:1:interface=\:\:1", 1, "::1")],
)
def test_twisted_reads_a_tcp_endpoint_the_same_way(text: str, port: int, interface: str) -> None:
    reactor, factory = MemoryReactor(), Factory()
    serverFromString(reactor, str(parse_endpoint(text, base=BASE))).listen(factory)
    assert reactor.tcpServers == [(port, factory, DEFAULT_BACKLOG, interface)]


@pytest.mark.parametrize(("text", "path"), [("unix:/s", "/s"), (r"unix:/a\:b\=c\\d", r"/a:b=c\d")])
def test_twisted_reads_a_unix_endpoint_the_same_way(text: str, path: str) -> None:
    reactor, factory = MemoryReactor(), Factory()
    serverFromString(reactor, str(parse_endpoint(text, base=BASE))).listen(factory)
    assert reactor.unixServers == [(path, factory, DEFAULT_BACKLOG, 0o600, False)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "'' is not a kind of endpoint; expected tls, tcp, tcp6 or unix, as in tcp:7700:interf",
        ),
        ("7700", "'7700' is not a kind of endpoint"),
        ("systemd:domain=INET:index=0", "'systemd' is not a kind of endpoint"),
        ("lab:7700", "or an address and a port for TLS, as in 0.0.0.0:7700"),
        ("*:7700", "or an address and a port for TLS"),
        ("0.0.0.0:", "is not a kind of endpoint"),
        ("0.0.0.0:65536", "the port must be a number from 0 to 65535, not '65536'"),
        ("0.0.0:7700", "the interface must be an IPv4 or IPv6 address, not '0.0.0'"),
        (
            "[lab]:7700",
            "the interface must be an IPv4 or IPv6 address, not 'lab'; write 0.0.0.0:7700",
        ),
        ("[]:", "is not a kind of endpoint"),
        ("tls:7700:interface=lab", "the interface must be an IPv4 or IPv6 address, not 'lab'"),
        ("tls:7700:0.0.0.0", "too many arguments"),
        ("tls:7700:clients=some", "clients must be optional or required, not 'some'"),
        ("tls:7700:privateKey=", "privateKey needs the path of a file"),
        ("tls:7700:clientCA=a\0b", "clientCA needs the path of a file"),
        ("tls:7700:extraCertChain=x", "extraCertChain goes with a certificate"),
        ("ssl:7700:sslmethod=SSLv23_METHOD", "ssl has no argument 'sslmethod'"),
        ("tcp", "the port must be a number from 0 to 65535, not ''"),
        ("tcp:http:127.0.0.1", "the port must be a number from 0 to 65535, not 'http'"),
        ("tcp:65536:127.0.0.1", "the port must be a number from 0 to 65535, not '65536'"),
        ("tcp:-1:127.0.0.1", "the port must be a number from 0 to 65535, not '-1'"),
        ("tcp:٣:127.0.0.1", "the port must be a number"),
        ("tcp:7700", "without an interface it would be open to every network, and not encrypted"),
        ("tcp:7700:interface=", "without an interface it would be open to every network"),
        ("tcp:7700:interface=0.0.0.0", "0.0.0.0 is not loopback, and the connection would not be"),
        (
            "tcp:7700:interface=192.0.2.1",
            "write tcp:7700:interface=127.0.0.1 for this machine alone, or with TLS 192.0.2.1:7700",
        ),
        ("tcp:7700", "or with TLS 0.0.0.0:7700"),
        ("tcp6:7700", r"or with TLS \[::\]:7700"),
        (r"tcp6:7700:interface=2001\:db8\:\:1", r"or with TLS \[2001:db8::1\]:7700"),
        ("tcp:7700:interface=localhost", "the interface must be an IPv4 address, not 'localhost'"),
        (r"tcp:7700:interface=\:\:1", "the interface must be an IPv4 address, not '::1'"),
        ("tcp:1:127.0.0.1:backlog=0", "backlog must be a number from 1 to 65535, not '0'"),
        ("tcp:1:127.0.0.1:backlog=65536", "backlog must be a number from 1 to 65535"),
        ("tcp:1:127.0.0.1:5:x", "too many arguments"),
        ("tcp:1:port=2", "port is given twice"),
        ("tcp:1:mode=600", "tcp has no argument 'mode'; expected port, interface, backlog"),
        ("tcp6:7700", "without an interface it would be open to every network"),
        (r"tcp6:7700:interface=\:\:", ":: is not loopback"),
        (r"tcp6:7700:interface=\:\:ffff\:127.0.0.1", "is not loopback"),
        ("tcp6:7700:interface=127.0.0.1", "the interface must be an IPv6 address"),
        ("tcp6:7700:interface=::1", r"interface is given twice, as in tcp6:7700:interface=\\:\\:1"),
        ("unix", "a unix socket needs a path"),
        ("unix:", "a unix socket needs a path"),
        ("unix:/a\0b", "a unix socket needs a path"),
        ("unix:/" + "x" * 107, "has at most 107 bytes, and /x+ has 108"),
        ("unix:/s:mode=1777", "the mode must be three octal digits, as 600, not '1777'"),
        ("unix:/s:mode=rw", "the mode must be three octal digits"),
        ("unix:/s:lockfile=1", "leave lockfile out"),
        ("unix:/s:wantPID=1", "unix has no argument 'wantPID'"),
        ("unix:/s\\", r"it ends in a \\"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_endpoint(text, base=BASE)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("tcp:7700:interface=127.0.0.1", "tcp://127.0.0.1:7700"),
        (r"tcp6:7700:interface=\:\:1", "tcp://[::1]:7700"),
        ("0.0.0.0:7700", "sockserv://0.0.0.0:7700"),
        (":7700", "sockserv://[::]:7700"),
        ("unix:s", "unix:///base/s"),
        ("unix:/a b%20?#é", "unix:///a%20b%2520%3F%23%C3%A9"),
    ],
)
def test_what_a_client_calls_it(text: str, url: str) -> None:
    assert parse_endpoint(text, base=BASE).url == url
