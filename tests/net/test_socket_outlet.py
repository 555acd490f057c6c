"""Sending directly on a socket: nothing is lost, doubled or out of order, however little it takes."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from sockserv.net.outlet import SocketOutlet, outlet_for
from sockserv.server import Server
from sockserv.services.echo import Echo
from sockserv.testing import frame, split_frames
from sockserv.trust import Anonymous, Identity

EVERYTHING = 10**9


class FakeSocket:
    """A socket that takes as many bytes at each call as the test says: 0 is `EAGAIN`, an error is raised.

    It has no descriptor, so that files are read to be sent on it.
    """

    def __init__(self, takes: Iterable[int | OSError] = ()) -> None:
        self._takes: Iterator[int | OSError] = iter(takes)
        self.sent = b""
        self.calls: list[str] = []

    def send(self, data: bytes | memoryview) -> int:
        return self._take("send", bytes(data)) if len(bytes(data)) else 0

    def sendmsg(self, buffers: Sequence[bytes | memoryview], *more: object) -> int:
        assert len(buffers) <= 1024, "more than IOV_MAX"
        return self._take("sendmsg", b"".join(buffers))

    def _take(self, how: str, data: bytes) -> int:
        take = next(self._takes, EVERYTHING)
        self.calls.append(how)
        if isinstance(take, OSError):
            raise take
        if not take:
            raise BlockingIOError
        self.sent += data[:take]
        return min(take, len(data))

    def fileno(self) -> int:
        return -1

    def shutdown(self, how: int) -> None:
        self.calls.append({socket.SHUT_WR: "shutdown writing", socket.SHUT_RDWR: "shutdown"}[how])

    def setblocking(self, blocking: bool) -> None:
        """It never blocks."""

    def setsockopt(self, *option: object) -> None:
        """Has none."""

    def close(self) -> None:
        self.calls.append("close")


class FakeReactor(Clock):
    """Knows who wants to write; `run` lets them, for as long as they want."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[Any] = set()

    def addReader(self, reader: object) -> None:
        """Nothing is ever read."""

    def removeReader(self, reader: object) -> None:
        """Nothing is ever read."""

    def addWriter(self, writer: object) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        self.writers.discard(writer)

    def run(self) -> int:
        """Returns in how many turns."""
        turns = 0
        while self.writers:
            turns += 1
            for writer in tuple(self.writers):
                why = writer.doWrite()
                if why is not None:
                    self.writers.discard(writer)
                    writer.connectionLost(Failure(why))
        return turns


class FakeTransport(Connection):
    """Twisted's own transport, on a socket that is none."""

    def __init__(self, fake: FakeSocket, protocol: Protocol | None = None) -> None:
        self.fake = fake
        self.fake_reactor = FakeReactor()
        super().__init__(
            cast(socket.socket, fake), protocol or Protocol(), cast(Any, self.fake_reactor)
        )
        self.connected = True

    def getHost(self) -> UNIXAddress:
        return UNIXAddress(b"/host")

    def getPeer(self) -> UNIXAddress:
        return UNIXAddress(b"/peer")


class Fixture:
    """An outlet on a transport on a socket."""

    def __init__(self, takes: Iterable[int | OSError] = ()) -> None:
        self.fake = FakeSocket(takes)
        self.transport = FakeTransport(self.fake)
        self.refills = 0
        self.outlet = outlet_for(self.transport, self._refill)
        assert isinstance(self.outlet, SocketOutlet)

    def _refill(self) -> None:
        self.refills += 1

    def write(self, *buffers: bytes) -> None:
        self.outlet.write(buffers, sum(map(len, buffers)))

    def run(self) -> int:
        return self.transport.fake_reactor.run()


def test_small_pieces_go_out_at_once_and_together() -> None:
    it = Fixture()
    it.write(b"one ", b"two")
    assert it.fake.sent == b"one two"
    assert it.fake.calls == ["send"]
    assert not it.outlet.is_blocked
    assert it.run() == 0


def test_large_pieces_are_not_copied() -> None:
    it = Fixture()
    it.write(b"header", bytes(100_000), b"end")
    assert it.fake.sent == b"header" + bytes(100_000) + b"end"
    assert it.fake.calls == ["sendmsg"]


def test_many_pieces() -> None:
    it = Fixture()
    pieces = [b"%05d" % number * 20 for number in range(2000)]
    it.write(*pieces)
    it.run()
    assert it.fake.sent == b"".join(pieces)


@pytest.mark.parametrize("takes", [[3], [0, 3, 0], [1, 2, 3, 4, 5]])
@pytest.mark.parametrize("size", [10, 50_000])
def test_what_the_socket_does_not_take_waits_for_it(takes: list[int | OSError], size: int) -> None:
    it = Fixture(takes)
    data = bytes(range(256)) * (size // 256 + 1)
    it.write(data[:7], data[7:])
    assert (it.outlet.is_blocked, it.refills) == (True, 0)
    it.run()
    assert it.fake.sent == data
    assert (it.outlet.is_blocked, it.refills) == (False, 1)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=20), st.data())
def test_any_pieces_on_any_socket(pieces: list[bytes], data: st.DataObject) -> None:
    it = Fixture(data.draw(st.lists(st.integers(0, 30), max_size=30)))
    it.write(*pieces)
    it.run()
    assert it.fake.sent == b"".join(pieces)


def test_a_turn_is_given_up_and_comes_again() -> None:
    it = Fixture()
    it.outlet.yield_turn()
    assert (it.outlet.is_blocked, it.refills) == (True, 0)
    assert it.run() == 1
    assert (it.outlet.is_blocked, it.refills) == (False, 1)


def test_the_transport_finds_the_same_error() -> None:
    it = Fixture([ConnectionResetError(104, "reset"), ConnectionResetError(104, "reset")])
    it.write(b"data")
    assert it.outlet.is_blocked
    it.run()
    assert it.fake.calls[-1] == "close"
    assert it.refills == 0


def test_closing_leaves_the_other_half() -> None:
    it = Fixture()
    it.write(b"last")
    it.outlet.close()
    it.run()
    assert it.fake.sent == b"last"
    assert it.fake.calls == ["send", "shutdown writing"]


def test_nothing_is_sent_when_the_connection_is_lost() -> None:
    it = Fixture([3])
    it.write(b"data")
    it.outlet.stopProducing()  # type: ignore[attr-defined]  # it is a SocketOutlet
    it.transport.connected = False
    it.outlet.resumeProducing()  # type: ignore[attr-defined]
    assert it.fake.sent == b"dat"
    assert it.refills == 0


GUEST = Anonymous(Identity("guest", frozenset({"echo"})))


def served(takes: Iterable[int], request: bytes) -> tuple[bytes, int, FakeSocket]:
    """What a server sends for a request, and in how many turns of its reactor."""
    fake = FakeSocket(takes)
    server = Server(Clock(), [Echo()], authenticator=GUEST)
    protocol = cast(Protocol, server.factory.buildProtocol(UNIXAddress(b"/peer")))
    transport = FakeTransport(fake, protocol)
    protocol.makeConnection(transport)
    protocol.dataReceived(request)
    turns = transport.fake_reactor.run()
    return fake.sent, turns, fake


HELLO = frame(
    {"type": "hello", "version": 1, "limits": {"window_bytes": 10**7, "max_body_bytes": 10**6}}
)


def requests(*bodies: bytes) -> bytes:
    return HELLO + b"".join(
        frame({"type": "open", "call": 1 + 2 * number, "op": "echo", "end": True}, body)
        for number, body in enumerate(bodies)
    )


@given(st.integers(50, 70_000), st.integers(1, 5))
def test_a_server_on_a_slow_socket(take: int, count: int) -> None:
    bodies = [bytes([number]) * 20_000 for number in range(count)]
    sent, _, _ = served(repeat(take), requests(*bodies))
    frames, rest = split_frames(sent)
    assert rest == b""
    got = dict.fromkeys(range(1, 2 * count, 2), b"")
    for one in frames:
        if one.body:
            got[one["call"]] += one.body
    assert list(got.values()) == bodies


def test_small_answers_of_one_delivery_are_one_send() -> None:
    _, turns, fake = served((), requests(*[b"x"] * 50))
    assert fake.calls == ["send", "send"], "the hello, and all the answers"
    assert turns == 0


def test_a_large_answer_takes_turns() -> None:
    sent, turns, _ = served((), requests(*[bytes(900_000)] * 3))
    assert len(sent) > 2_700_000
    assert turns >= 2_700_000 // 262_144 - 1


def test_what_is_read_at_once_follows_what_there_is() -> None:
    fixture = Fixture()
    usual = fixture.transport.bufferSize
    assert usual < 128 * 1024
    fixture.outlet.on_received(usual - 1)
    assert fixture.transport.bufferSize == usual
    fixture.outlet.on_received(usual)
    fast = fixture.transport.bufferSize
    assert fast > usual
    fixture.outlet.on_received(fast)
    fixture.outlet.on_received(usual)
    assert fixture.transport.bufferSize == fast
    fixture.outlet.on_received(usual - 1)
    assert fixture.transport.bufferSize == usual
