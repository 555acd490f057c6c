"""The composition root: services, an authenticator and limits, joined to the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from sockserv.client import connect_endpoint
from sockserv.errors import ConnectionEnded, UnknownOperation
from sockserv.limits import Limits
from sockserv.server import Server
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import MemoryEndpoint, MemoryNetwork, MemoryServer, RawPeer
from sockserv.trust import Anonymous, Identity, Login, Origin
from sockserv.trust.audit import Event
from tests.server.test_audited import Sink

GUEST = Anonymous(Identity("guest", frozenset({"echo"})))


class Reserved(Service):
    @operation("auth.token", permission=None)
    def login(self, call: Call[Any]) -> None:
        """Logins are not a service's business."""


@pytest.mark.parametrize("services", [[Echo(), Echo()], [Reserved()]])
def test_two_operations_of_the_same_name(services: list[Service]) -> None:
    with pytest.raises(ValueError, match="exists already"):
        Server(MemoryReactorClock(), services, authenticator=GUEST)


def test_listening_on_an_endpoint_in_words() -> None:
    reactor = MemoryReactorClock()
    server = Server(reactor, [Echo()], authenticator=GUEST)
    ports: list[Any] = []
    server.listen("tcp:7700:interface=127.0.0.1").addCallback(ports.append)
    server.listen("unix:/run/socket").addCallback(ports.append)
    assert len(ports) == 2
    ((port, factory, _, interface),) = reactor.tcpServers
    assert (port, interface) == (7700, "127.0.0.1")
    assert factory is server.factory
    assert reactor.unixServers[0][0] == "/run/socket"


@pytest.mark.parametrize("description", ["", "nonsense", "tcp:port", "carrier-pigeon:roof"])
def test_words_that_describe_no_endpoint(description: str) -> None:
    server = Server(MemoryReactorClock(), [], authenticator=GUEST)
    with pytest.raises(ValueError):  # noqa: PT011  # the words are Twisted's
        server.listen(description)


def test_a_port_that_is_taken() -> None:
    network = MemoryNetwork()
    endpoint = MemoryEndpoint(network)
    network.run(endpoint.listen(Factory.forProtocol(RawPeer)))
    server = Server(network.clock, [], authenticator=GUEST)
    with pytest.raises(CannotListenError):
        network.run(server.listen(endpoint))
    network.run(server.stop())


def test_several_ports() -> None:
    network = MemoryNetwork()
    server = Server(network.clock, [Echo()], authenticator=GUEST)
    endpoints = [MemoryEndpoint(network) for _ in range(2)]
    for endpoint in endpoints:
        network.run(server.listen(endpoint))
    clients = [network.run(connect_endpoint(network.clock, e.client())) for e in endpoints]
    assert server.connections == 2
    for client in clients:
        assert network.run(client.call("echo", body=b"x")).body == b"x"
    network.run(server.stop())
    assert server.connections == 0
    assert [endpoint.factory for endpoint in endpoints] == [None, None]
    network.flush()
    assert network.clock.getDelayedCalls() == []


def test_a_factory_for_endpoints_of_ones_own() -> None:
    network = MemoryNetwork()
    endpoint = MemoryEndpoint(network)
    server = Server(network.clock, [Echo()], authenticator=GUEST)
    port = network.run(endpoint.listen(server.factory))
    client = network.run(connect_endpoint(network.clock, endpoint.client()))
    assert network.run(client.call("echo", body=b"x")).body == b"x"
    stopping = server.stop()
    network.run(stopping)
    assert server.connections == 0
    # It still listens, because nobody told it not to; but there is nothing to be had any more.
    raw = RawPeer()
    network.join(raw, server.factory.buildProtocol(None))  # type: ignore[arg-type]  # makes one always
    network.flush()
    assert raw.take_frames()[-1]["code"] == "shutting-down"
    assert raw.is_closed
    port.stopListening()


class Threads:
    """A thread pool that works at once, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def callInThreadWithCallback(
        self, on_result: Callable[[bool, Any], None], function: Callable[..., Any], *args: Any
    ) -> None:
        self.calls += 1
        on_result(True, function(*args))


class Reactor(MemoryReactorClock):
    """A reactor with threads that are none."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = Threads()

    def getThreadPool(self) -> Threads:
        return self.threads

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)


class Blocking(Service):
    @operation("blocking", permission="echo")
    async def blocking(self, call: Call[Any]) -> int:
        return await call.in_thread(sum, [1, 2, 3])


def test_blocking_work_is_done_by_the_threads_of_the_reactor() -> None:
    reactor = Reactor()
    network = MemoryNetwork(reactor)
    endpoint = MemoryEndpoint(network)
    server = Server(reactor, [Blocking()], authenticator=GUEST)
    network.run(server.listen(endpoint))
    client = network.run(connect_endpoint(reactor, endpoint.client()))
    assert network.run(client.call("blocking")).result == 6
    assert reactor.threads.calls == 1
    network.run(server.stop())


def test_blocking_work_is_done_elsewhere() -> None:
    def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        done.callback(100 * function(*args))
        return done

    network = MemoryNetwork()
    endpoint = MemoryEndpoint(network)
    server = Server(network.clock, [Blocking()], authenticator=GUEST, in_thread=in_thread)
    network.run(server.listen(endpoint))
    client = network.run(connect_endpoint(network.clock, endpoint.client()))
    assert network.run(client.call("blocking")).result == 600
    network.run(server.stop())


def test_the_limits_are_told_to_the_peer() -> None:
    limits = Limits(max_header_bytes=5000, max_body_bytes=6000, window_bytes=7000, max_calls=8)
    with MemoryServer([], limits=limits) as memory:
        raw = memory.connect_raw()
        memory.flush()
        (hello,) = raw.take_frames()
        assert hello["limits"] == {
            "max_header_bytes": 5000,
            "max_body_bytes": 6000,
            "window_bytes": 7000,
            "max_calls": 8,
        }


class TestWhoIsBehindAConnection:
    """`factory_for`: connections that need no login, since somebody else has seen who it is."""

    SOMEBODY = Identity("guest", frozenset({"echo"}), login=Login("classic", "echo"))
    ELSEWHERE = Origin("192.0.2.7", 1234)

    def connect(self, server: Server, network: MemoryNetwork) -> Any:
        endpoint = MemoryEndpoint(network)
        network.run(endpoint.listen(server.factory_for(self.SOMEBODY, self.ELSEWHERE)))
        return connect_endpoint(network.clock, endpoint.client(), in_thread=network.in_thread)

    def test_they_are_somebody_already(self) -> None:
        with MemoryServer([Echo()]) as memory:
            client = memory.run(self.connect(memory.server, memory.network))
            assert memory.run(client.call("echo", body=b"hello")).body == b"hello"
            with pytest.raises(UnknownOperation):
                memory.run(client.call("files.get"))

    def test_the_audit_log_has_the_place_they_come_from(self) -> None:
        sink = Sink()
        with MemoryServer([Echo()], audit=sink) as memory:
            memory.run(self.connect(memory.server, memory.network))
            memory.flush()
        (login,) = [record for record in sink.records if record.event is Event.LOGIN]
        assert (login.identity, login.credential) == ("guest", "echo")
        assert login.origin == "192.0.2.7 port 1234"

    def test_they_are_asked_about_like_others(self) -> None:
        with MemoryServer([Echo()]) as memory:
            client = memory.run(self.connect(memory.server, memory.network))
            memory.server.reconsider(lambda identity: None)
            memory.advance(0)
            with pytest.raises(ConnectionEnded, match="revoked"):
                memory.run(client.call("echo"))

    def test_they_count_like_others(self) -> None:
        with MemoryServer([Echo()], limits=Limits(max_identity_connections=1)) as memory:
            memory.run(self.connect(memory.server, memory.network))
            client = memory.run(self.connect(memory.server, memory.network))
            with pytest.raises(ConnectionEnded, match="1 connections, which is the limit"):
                memory.run(client.call("echo"))
