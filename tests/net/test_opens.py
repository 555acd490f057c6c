"""Opening calls while the peer does not read: they wait, and nothing is cut for it."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.protocol import Factory

from sockserv.client import Client, connect_endpoint
from sockserv.testing import MemoryEndpoint, MemoryNetwork, RawPeer

CALLS = 60


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


@pytest.fixture
def joined(network: MemoryNetwork) -> tuple[Client, RawPeer]:
    """A client, and the server that a test plays."""
    server = RawPeer()
    endpoint = MemoryEndpoint(network)
    factory = Factory.forProtocol(lambda: server)
    factory.noisy = False
    network.run(endpoint.listen(factory))
    connecting = connect_endpoint(network.clock, endpoint.client())
    network.flush()
    server.send_hello(max_header_bytes=65_536, window_bytes=1_000_000, max_calls=1000)
    return network.run(connecting), server


@pytest.mark.parametrize(
    "request_of",
    [
        lambda number: {"args": {"number": number, "text": "x" * 60_000}},
        lambda number: {"body": b"x" * 16_000},
        lambda number: {"body": b"x" * 200_000},
    ],
    ids=["large arguments", "small bodies", "large bodies"],
)
def test_requests_wait_for_a_peer_that_does_not_read(
    network: MemoryNetwork, joined: tuple[Client, RawPeer], request_of: Any
) -> None:
    client, server = joined
    server.pause_reading()
    outcomes: list[Any] = []
    for number in range(CALLS):
        client.call("echo", **request_of(number)).addBoth(outcomes.append)
    network.flush()
    assert not outcomes
    server.resume_reading()
    network.flush()
    assert not outcomes
    opened = [frame["call"] for frame in server.take_frames() if frame["type"] == "open"]
    assert opened == sorted(opened)
    assert len(opened) == CALLS
    for call in opened:
        server.send({"type": "reply", "call": call})
    network.flush()
    assert len(outcomes) == CALLS
    assert all(outcome.body == b"" for outcome in outcomes)


def test_what_waits_ends_with_the_connection(
    network: MemoryNetwork, joined: tuple[Client, RawPeer]
) -> None:
    client, server = joined
    server.pause_reading()
    outcomes: list[Any] = []
    for _ in range(CALLS):
        client.call("echo", {"text": "x" * 60_000}).addErrback(outcomes.append)
    network.flush()
    server.abort()
    network.flush()
    assert len(outcomes) == CALLS
