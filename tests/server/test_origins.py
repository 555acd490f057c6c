"""Where a connection comes from."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import closing
from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from sockserv.server.origins import is_here, origin_of
from sockserv.testing import Link, MemoryNetwork, RawPeer
from sockserv.trust import Origin, PeerCertificate


@attrs.frozen
class Transport:
    address: Any
    handle: Any = None

    def getPeer(self) -> Any:
        return self.address

    def getHandle(self) -> Any:
        return self.handle


class Elsewhere(socket.socket):
    """A Unix socket whose other end is in another container."""

    def getsockopt(self, *_: int) -> Any:
        return struct.pack("iII", 0, self.account, self.account)

    account = 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (IPv4Address("TCP", "192.0.2.7", 4711), Origin("192.0.2.7", 4711)),
        (IPv6Address("TCP", "2001:DB8::0:7", 4711), Origin("2001:db8::7", 4711)),
        (IPv6Address("TCP", "fe80::1%eth0", 4711), Origin("fe80::1%eth0", 4711)),
        # One person is not two, whichever listener they came by.
        (IPv6Address("TCP", "::ffff:192.0.2.7", 4711), Origin("192.0.2.7", 4711)),
        (UNIXAddress(None), Origin()),
        (None, Origin()),
    ],
)
def test_an_address(address: Any, expected: Origin) -> None:
    assert origin_of(Transport(address)) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (IPv4Address("TCP", "127.0.0.1", 4711), True),
        (IPv4Address("TCP", "127.9.9.9", 4711), True),
        (IPv6Address("TCP", "::1", 4711), True),
        (IPv6Address("TCP", "::ffff:127.0.0.1", 4711), True),
        (UNIXAddress(None), True),
        (IPv4Address("TCP", "192.0.2.7", 4711), False),
        (IPv6Address("TCP", "::ffff:192.0.2.7", 4711), False),
        (IPv6Address("TCP", "fe80::1%eth0", 4711), False),
        (IPv4Address("TCP", "a proxy", 4711), False),
    ],
)
def test_whether_it_is_of_this_machine(address: Any, expected: bool) -> None:
    assert is_here(address) is expected


def test_the_account_at_the_other_end_of_a_unix_socket() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        assert origin_of(Transport(UNIXAddress(None), ours)) == Origin(uid=os.geteuid())


@pytest.mark.parametrize("account", [65534, 0xFFFFFFFF])
def test_an_account_without_a_number_here(account: int) -> None:
    with Elsewhere(socket.AF_UNIX) as ours:
        ours.account = account
        assert origin_of(Transport(UNIXAddress(None), ours)) == Origin()


@pytest.mark.parametrize(
    "origin",
    [
        Origin("192.0.2.7", 4711),
        Origin("2001:db8::7", 4711),
        Origin(uid=1000),
        Origin("192.0.2.7", 1, certificate=PeerCertificate("sha256:x", ("alice",), True)),
    ],
)
def test_a_link_has_the_origin_that_the_test_says(origin: Origin) -> None:
    server = RawPeer()
    MemoryNetwork().join(RawPeer(), server, Link(origin=origin))
    transport: Any = server.transport
    assert transport.origin == origin
    # Code that asks the transport for its address is told no other one.
    assert origin_of(transport) == Origin(origin.address, origin.port)
