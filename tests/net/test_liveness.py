"""Peers that say nothing, or next to nothing."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from sockserv.errors import ConnectionEnded
from sockserv.limits import Limits
from sockserv.net.liveness import Liveness, Pings, Verdict
from sockserv.server import Server
from sockserv.services.echo import Echo
from sockserv.testing import OWNER, Link, MemoryServer, frame
from sockserv.trust import Anonymous, Identity
from tests.net.probe import Probe, open_frame

LIMITS = Limits(
    login_timeout_seconds=10.0, keepalive_interval_seconds=30.0, keepalive_timeout_seconds=15.0
)
TICK = 2.0
"""How often the server looks: a fifth of the shortest of these times."""


def test_silence_before_the_login() -> None:
    with MemoryServer([], limits=LIMITS) as memory:
        raw = memory.connect_raw()
        memory.advance(10.0 - 0.1)
        assert not raw.is_closed
        memory.advance(0.1 + TICK)
        hello, goodbye = raw.take_frames()
        assert hello["type"] == "hello"
        assert goodbye["code"] == "login-timeout"
        assert raw.is_closed


def test_a_hello_gives_no_more_time() -> None:
    with MemoryServer([], limits=LIMITS) as memory:
        raw = memory.connect_raw()
        for second in range(9):
            memory.advance(1.0)
            if second == 0:
                raw.send_hello()
            else:
                raw.send(open_frame(2 * second - 1, "auth.none", end=True))
        memory.advance(1.0 + TICK)
        assert raw.is_closed


def test_a_byte_at_a_time_before_the_login() -> None:
    with MemoryServer([], limits=LIMITS) as memory:
        raw = memory.connect_raw()
        for byte in b"\x00\x00\x00\x50{":
            raw.send_bytes(bytes([byte]))
            memory.advance(2.4)
        assert raw.is_closed


def test_that_a_peer_takes_what_we_send_is_a_sign_of_life() -> None:
    """On a slow link our ping stands behind much else, and its pong is long in coming."""
    clock = Clock()
    guests = Anonymous(Identity("guest"))
    server = Server(clock, [Echo()], authenticator=guests, limits=LIMITS)
    peer = server.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
    transport = StringTransport()
    assert peer is not None
    peer.makeConnection(transport)
    peer.dataReceived(frame({"type": "hello", "version": 1}))
    for _ in range(20):
        clock.pump([2.0] * 10)
        producer = transport.producer
        assert producer is not None
        producer.pauseProducing()
        producer.resumeProducing()
    assert not transport.disconnecting
    peer.connectionLost(Failure(ConnectionDone()))


def test_a_peer_that_is_there_stays() -> None:
    with MemoryServer([], limits=LIMITS) as memory:
        raw = memory.connect_raw(OWNER)
        for _ in range(20):
            memory.advance(20.0)
            for ping in raw.take_frames():
                assert ping["type"] == "ping"
                raw.send({"type": "pong", "token": ping["token"]})
        assert not raw.is_closed


def test_clients_and_servers_stay_together() -> None:
    with MemoryServer([Echo()], limits=LIMITS) as memory:
        client = memory.connect(limits=LIMITS)
        memory.advance(3600.0)
        assert memory.run(client.call("echo", body=b"x")).body == b"x"


def test_a_silent_peer_is_asked_and_then_cut_off() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=LIMITS) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "probe.hold"))
        memory.advance(30.0 - 0.1)
        assert raw.take_frames() == []
        memory.advance(0.1 + 2 * TICK)
        (ping,) = raw.take_frames()
        assert ping["type"] == "ping"
        memory.advance(15.0 - 2 * TICK - 0.1)
        assert raw.take_frames() == []
        memory.advance(0.1 + 2 * TICK)
        (goodbye,) = raw.take_frames()
        assert goodbye["code"] == "idle-timeout"
        assert raw.is_closed
        assert probe.ends == ["cancelled"]


@pytest.mark.parametrize(
    ("piece", "stays"),
    [
        (b"\x00", False),
        (b'{"type":"da', False),
        (b"b", True),
    ],
    ids=["of a prefix", "of a header", "of a body"],
)
def test_a_piece_now_and_then(piece: bytes, stays: bool) -> None:
    """Those of a body bring something; those of a header could go on for ever."""
    with MemoryServer([Probe()], limits=LIMITS) as memory:
        raw = memory.connect_raw(OWNER)
        if piece == b"b":
            raw.send(open_frame(3, "probe.swallow", size=1000))
        elif piece != b"\x00":
            raw.send_bytes(b"\x00\x00\x10\x00")
        for _ in range(3 if len(piece) > 1 or piece == b"\x00" else 20):
            raw.send_bytes(piece)
            memory.advance(20.0)
        assert raw.is_closed is not stays


def test_a_dead_network_is_found_by_both() -> None:
    probe = Probe()
    link = Link()
    with MemoryServer([probe], limits=LIMITS) as memory:
        client = memory.connect(link=link, limits=LIMITS)
        calling = client.call("probe.hold")
        memory.flush()
        link.stall()
        memory.advance(45.0 + 2 * TICK)
        with pytest.raises(ConnectionEnded, match="no sign of life for 4[56789] seconds"):
            memory.run(calling)
        assert probe.ends == ["cancelled"]
        memory.advance(2.0)
        assert memory.server.connections == 0


def test_what_is_done_about_a_silence() -> None:
    liveness = Liveness(100.0)
    assert liveness.judge(129.9, LIMITS) is Verdict.FINE
    assert liveness.judge(130.0, LIMITS) is Verdict.ASK
    assert liveness.judge(144.9, LIMITS) is Verdict.FINE
    assert liveness.judge(145.0, LIMITS) is Verdict.GONE
    liveness.has_heard = True
    assert liveness.judge(145.0, LIMITS) is Verdict.FINE
    assert liveness.silent_seconds(146.0) == 1.0
    assert liveness.judge(175.0, LIMITS) is Verdict.ASK


def test_pings_and_pongs() -> None:
    pings = Pings()
    (first, one), (second, other), (third, last) = pings.start(), pings.start(), pings.start()
    assert len({first, second, third}) == 3
    failures: list[object] = []
    one.addErrback(lambda failure: failures.append(failure.type))
    one.cancel()
    pings.answered(first)
    pings.answered(99)
    pings.answered(second)
    pings.answered(second)
    assert failures == [CancelledError]
    assert other.called
    assert not last.called
    last.addErrback(lambda failure: failures.append(failure.type))
    pings.fail(ConnectionEnded("gone"))
    pings.fail(ConnectionEnded("gone again"))
    assert failures == [CancelledError, ConnectionEnded]


def test_a_round_trip() -> None:
    with MemoryServer([]) as memory:
        client = memory.connect()
        pings = [client.ping() for _ in range(3)]
        pings[0].addErrback(lambda failure: failure.trap(CancelledError))
        pings[0].cancel()
        for ping in pings:
            memory.run(ping)
        raw = memory.connect_raw(OWNER)
        raw.send({"type": "pong", "token": 12})
        memory.flush()
        assert not raw.is_closed
