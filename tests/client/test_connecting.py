"""What the client says when it does not get in."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectingCancelledError, DNSLookupError, getConnectError
from twisted.internet.error import ConnectionRefusedError as TwistedRefused
from twisted.internet.error import TimeoutError as TwistedTimeout
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from sockserv.client import connect_endpoint
from sockserv.errors import ConnectError
from sockserv.limits import Limits
from sockserv.testing import MemoryEndpoint, MemoryNetwork, MemoryServer


@implementer(IStreamClientEndpoint)
class Failing:
    """An endpoint that cannot be connected to."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return fail(self._error)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (getConnectError((111, "Connection refused")), "connection refused"),
        (getConnectError((113, "No route to host")), "no route to host"),
        (getConnectError((2, "No such file or directory")), "no such file or directory"),
        (TwistedRefused(), "connection was refused by other side"),
        (TwistedTimeout(), "user timeout caused connection failure"),
        (DNSLookupError("no results for hostname lookup: a.b"), "there is no host of this name"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_why_there_is_no_connection(error: Exception, reason: str) -> None:
    failures: list[Any] = []
    connecting = connect_endpoint(Clock(), Failing(error), name="tcp://a.b:1")
    connecting.addErrback(failures.append)
    (failure,) = failures
    assert failure.type is ConnectError
    assert failure.getErrorMessage() == f"cannot connect to tcp://a.b:1: {reason}"


@implementer(IStreamClientEndpoint)
class Stuck:
    """An endpoint that never gets anywhere; when it is cancelled, it fails as `error`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return Deferred(lambda deferred: deferred.errback(self._error))


CANCELLED = [
    ConnectingCancelledError(IPv4Address("TCP", "127.0.0.1", 1)),
    DNSLookupError("no results for hostname lookup: a.b"),
    CancelledError(),
]


@pytest.mark.parametrize("error", CANCELLED, ids=lambda error: type(error).__name__)
def test_it_takes_too_long(error: Exception) -> None:
    clock = Clock()
    failures: list[Any] = []
    connecting = connect_endpoint(clock, Stuck(error), timeout_seconds=2.5, name="tcp://a.b:1")
    connecting.addErrback(failures.append)
    clock.advance(2.4)
    assert not failures
    clock.advance(0.1)
    (failure,) = failures
    assert failure.type is ConnectError
    assert failure.getErrorMessage() == "tcp://a.b:1 did not answer within 2.5 seconds"


@pytest.mark.parametrize("error", [CANCELLED[0], CANCELLED[2]], ids=lambda e: type(e).__name__)
def test_it_is_given_up(error: Exception) -> None:
    clock = Clock()
    failures: list[Any] = []
    connecting = connect_endpoint(clock, Stuck(error))
    connecting.addErrback(failures.append)
    connecting.cancel()
    assert failures[0].type is CancelledError
    assert not clock.getDelayedCalls()


def test_a_client_knows_what_its_server_is_called() -> None:
    with MemoryServer([]) as memory:
        client = memory.connect()
        assert (client.server_name, client.server_pin) == ("the server", None)


class Greeter(Protocol):
    """Something else that listens: it says what it says, and stays."""

    def __init__(self, greeting: bytes) -> None:
        self._greeting = greeting

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._greeting)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 400 Bad Request\r\n"])
def test_something_else_listens_there(greeting: bytes) -> None:
    network = MemoryNetwork()
    endpoint = MemoryEndpoint(network)
    network.run(endpoint.listen(Factory.forProtocol(lambda: Greeter(greeting))))
    connecting = connect_endpoint(network.clock, endpoint.client(), name="tcp://a.b:1")
    with pytest.raises(ConnectError, match="^tcp://a.b:1 did not greet us as sockserv does: "):
        network.run(connecting, max_seconds=5.0)


def test_tls_is_spoken_there() -> None:
    network = MemoryNetwork()
    endpoint = MemoryEndpoint(network)
    alert = bytes.fromhex("15030300020246")
    network.run(endpoint.listen(Factory.forProtocol(lambda: Greeter(alert))))
    connecting = connect_endpoint(network.clock, endpoint.client(), name="tcp://a.b:1")
    expected = "^tcp://a.b:1 speaks TLS: its URL begins with sockserv://$"
    with pytest.raises(ConnectError, match=expected):
        network.run(connecting, max_seconds=5.0)


def test_a_server_without_room_says_so() -> None:
    with MemoryServer([], limits=Limits(max_connections=1)) as memory:
        memory.connect()
        with pytest.raises(ConnectError, match="1 connections are open, which is the limit"):
            memory.connect()
