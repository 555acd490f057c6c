"""The UDP port of a chat, and what it tells devices of itself."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import Clock

from sockserv.chat.ways import TwoWays
from sockserv.net.datagram import DatagramSessions
from sockserv.server.chat_datagrams import ChatPort
from sockserv.testing import DatagramNetwork


class Reactor(Clock):
    """A clock with UDP in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.network = DatagramNetwork()
        self.asked: list[tuple[int, str]] = []

    def listenUDP(
        self, port: int, protocol: DatagramSessions, interface: str, size: int
    ) -> IListeningPort:
        self.asked.append((port, interface))
        listening: Any = self.network.bind(protocol, (interface, port or 50_000))
        made: IListeningPort = listening
        return made


def listener(reactor: Reactor) -> TwoWays:
    return TwoWays(reactor, to_connection=lambda record: None, wake=lambda: None)


@pytest.mark.parametrize(
    ("port", "interface", "url", "offered"),
    [
        (7700, "127.0.0.1", "udp://127.0.0.1:7700", ("127.0.0.1", 7700)),
        (0, "0.0.0.0", "udp://0.0.0.0:50000", (None, 50_000)),
        (7700, "::", "udp://[::]:7700", (None, 7700)),
        (7700, "::1", "udp://[::1]:7700", ("::1", 7700)),
    ],
)
def test_where_it_is(port: int, interface: str, url: str, offered: tuple[str | None, int]) -> None:
    reactor = Reactor()
    chat_port = ChatPort(reactor, port, interface)
    chat_port.listen()
    assert (reactor.asked, chat_port.url) == ([(port, interface)], url)
    way, told = chat_port.open(listener(reactor))
    assert (told.host, told.port) == offered
    way.close()
    chat_port.stop()


def test_each_session_has_keys_of_its_own() -> None:
    reactor = Reactor()
    chat_port = ChatPort(reactor, 0, "127.0.0.1")
    chat_port.listen()
    ways = [chat_port.open(listener(reactor))[1] for _ in range(3)]
    secrets = {
        secret for way in ways for secret in (way.session, way.to_hub_key, way.to_device_key)
    }
    assert len(secrets) == 9
    assert all(len(way.to_hub_key) == 64 for way in ways)


def test_stopping_ends_all_sessions() -> None:
    reactor = Reactor()
    chat_port = ChatPort(reactor, 0, "127.0.0.1")
    chat_port.listen()
    way, _ = chat_port.open(listener(reactor))
    chat_port.stop()
    assert not way.send(b"1 0 x")
    chat_port.stop()
    assert not reactor.getDelayedCalls()
