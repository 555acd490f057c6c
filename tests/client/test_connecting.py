"""What the client says when it does not get in."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as TwistedRefused
from twisted.internet.error import DNSLookupError, getConnectError
from twisted.internet.error import TimeoutError as TwistedTimeout
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from sockserv.client import connect_endpoint
from sockserv.errors import ConnectError
from sockserv.testing import MemoryServer


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


def test_a_client_knows_what_its_server_is_called() -> None:
    with MemoryServer([]) as memory:
        assert memory.connect().server_name == "the server"
