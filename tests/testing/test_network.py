"""Turns, time and results."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater

from sockserv.testing import Deadlock, Link, Livelock, MemoryEndpoint, MemoryNetwork
from tests.testing.fakes import Recorder


class Bouncer(Recorder):
    """Sends everything back, for ever."""

    def dataReceived(self, data: bytes) -> None:
        self.link.write(data)


def test_run_gives_the_result_of_a_deferred() -> None:
    assert MemoryNetwork().run(succeed(3)) == 3


def test_run_gives_the_result_of_a_coroutine() -> None:
    network = MemoryNetwork()

    async def work() -> str:
        return await network.in_thread(lambda: "done")

    assert network.run(work()) == "done"


def test_run_raises_what_a_deferred_fails_with() -> None:
    with pytest.raises(KeyError, match="x"):
        MemoryNetwork().run(fail(KeyError("x")))


def test_a_deadlock_is_told_at_once_and_says_what_waits() -> None:
    network = MemoryNetwork()
    client = Recorder()
    link = network.join(client, Recorder())
    link.to_server.stall()
    client.link.write(b"hello")
    network.clock.callLater(30, lambda: None)
    with pytest.raises(Deadlock) as caught:
        network.run(Deferred())
    message = str(caught.value)
    assert "nothing moves any more" in message
    assert "to server <0 bytes delivered, 5 waiting, stalled>" in message
    assert "timers are due in 30 seconds" in message


def test_run_lets_time_pass_when_it_may() -> None:
    network = MemoryNetwork()
    later = deferLater(network.clock, 3.0, lambda: "late")
    with pytest.raises(Deadlock):
        network.run(deferLater(network.clock, 3.0, lambda: "late"), max_seconds=2.9)
    assert network.clock.seconds() == 0.0
    assert network.run(later, max_seconds=3.0) == "late"
    assert network.clock.seconds() == 3.0


def test_what_never_ends_is_told() -> None:
    network = MemoryNetwork(max_turns=100)
    client = Bouncer()
    network.join(client, Bouncer())
    client.link.write(b"ball")
    with pytest.raises(Livelock, match="after 100 turns"):
        network.flush()
    with pytest.raises(Livelock, match="after 100 turns"):
        network.run(Deferred())


def test_time_passes_from_timer_to_timer() -> None:
    """What a timer sets in motion happens before the next timer is due."""
    network = MemoryNetwork()
    client = Recorder()
    server = Recorder()
    network.join(client, server)
    seen: list[tuple[float, int]] = []
    for second in (1.1, 2.2, 3.3):
        network.clock.callLater(second, client.link.write, b"x")
        network.clock.callLater(
            second + 0.5, lambda: seen.append((network.clock.seconds(), len(server.received)))
        )
    network.advance(5.0)
    assert seen == [(1.6, 1), (2.7, 2), (3.8, 3)]
    assert network.clock.seconds() == 5.0


def test_a_timer_that_is_due_now_needs_no_time() -> None:
    network = MemoryNetwork()
    called: list[int] = []
    network.clock.callLater(0, called.append, 1)
    network.flush()
    assert called == [1]


def test_the_thread_that_is_none() -> None:
    network = MemoryNetwork()

    def divide(dividend: int, divisor: int) -> float:
        return dividend / divisor

    waiting = network.in_thread(divide, 6, 3)
    assert not waiting.called, "like a thread, it answers later"
    assert network.run(waiting) == 2
    with pytest.raises(ZeroDivisionError):
        network.run(network.in_thread(divide, 6, 0))
    cancelled = network.in_thread(divide, 6, 3)
    cancelled.cancel()
    network.flush()
    with pytest.raises(CancelledError):
        network.run(cancelled)


def test_an_endpoint_connects_while_somebody_listens() -> None:
    network = MemoryNetwork()
    endpoint = MemoryEndpoint(network)
    with pytest.raises(ConnectionRefusedError):
        network.run(connectProtocol(endpoint.client(), Recorder()))
    port = network.run(endpoint.listen(Factory.forProtocol(Recorder)))
    port.startListening()
    assert port.getHost() == IPv4Address("TCP", "127.0.0.1", 7700)
    with pytest.raises(CannotListenError):
        network.run(endpoint.listen(Factory.forProtocol(Recorder)))
    link = Link()
    client = network.run(connectProtocol(endpoint.client(link), Recorder()))
    assert network.links == [link]
    assert client.transport is not None
    port.stopListening()
    port.stopListening()
    with pytest.raises(ConnectionRefusedError):
        network.run(connectProtocol(endpoint.client(), Recorder()))


def test_connecting_can_be_cancelled() -> None:
    network = MemoryNetwork()
    endpoint = MemoryEndpoint(network)
    network.run(endpoint.listen(Factory.forProtocol(Recorder)))
    connecting = connectProtocol(endpoint.client(), Recorder())
    connecting.cancel()
    with pytest.raises(CancelledError):
        network.run(connecting)
    network.flush()
    assert network.links == []
