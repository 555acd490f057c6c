"""How bytes get onto a transport."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IConsumer, ITCPTransport, ITransport
from twisted.internet.testing import StringTransport
from zope.interface import directlyProvides

from sockserv.net.outlet import outlet_for


class Transport:
    """What of a transport an outlet asks for when it is made."""

    def __init__(self, host: IAddress) -> None:
        self._host = host
        self.has_no_delay = False
        directlyProvides(self, ITransport, IConsumer, ITCPTransport)

    def getHost(self) -> IAddress:
        return self._host

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.has_no_delay = enabled

    def registerProducer(self, producer: object, streaming: bool) -> None:
        pass


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (IPv4Address("TCP", "127.0.0.1", 1), True),
        (IPv6Address("TCP", "::1", 1), True),
        (UNIXAddress(b"/socket"), False),
    ],
    ids=["IPv4", "IPv6", "Unix"],
)
def test_tcp_does_not_hold_back_small_writes(host: IAddress, expected: bool) -> None:
    transport = Transport(host)
    outlet_for(transport, lambda: None)  # type: ignore[arg-type]  # only what is asked for
    assert transport.has_no_delay is expected


def test_a_transport_that_only_looks_like_tcp_will_do() -> None:
    assert not outlet_for(StringTransport(), lambda: None).is_blocked
