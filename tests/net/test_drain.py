"""A server that stops: it takes nothing new, lets calls end, and then cuts."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from sockserv.errors import ConnectError, ConnectionEnded, Unavailable
from sockserv.limits import Limits
from sockserv.testing import OWNER, Link, MemoryServer
from tests.net.probe import Probe, open_frame

LIMITS = Limits(drain_timeout_seconds=10.0)


def test_idle_connections_close_at_once() -> None:
    with MemoryServer([], limits=LIMITS) as memory:
        client = memory.connect()
        raws = [memory.connect_raw(OWNER), memory.connect_raw()]
        memory.flush()
        for raw in raws:
            raw.take_frames()
        memory.run(memory.server.stop())
        assert memory.server.connections == 0
        memory.flush()
        for raw in raws:
            (goodbye,) = raw.take_frames()
            assert goodbye["code"] == "shutting-down"
            assert raw.is_closed
        with pytest.raises(ConnectionEnded):
            memory.run(client.ping())


def test_nobody_new_is_let_in() -> None:
    with MemoryServer([], limits=LIMITS) as memory:
        memory.run(memory.server.stop())
        with pytest.raises(ConnectError, match="refused"):
            memory.connect()
        memory.run(memory.server.stop())


def test_running_calls_may_end() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=LIMITS) as memory:
        client = memory.connect()
        calling = client.call("probe.hold")
        memory.flush()
        stopping = memory.server.stop()
        memory.flush()
        assert not stopping.called
        with pytest.raises(Unavailable):
            memory.run(client.call("probe.now"))
        memory.advance(9.9)
        probe.let_go("done")
        assert memory.run(calling).result == "done"
        memory.run(stopping)
        assert memory.server.connections == 0


def test_a_peer_that_has_not_heard_yet_is_refused() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=LIMITS) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "probe.hold"))
        memory.flush()
        memory.server.stop()
        raw.send(open_frame(5, "probe.hold"), b"body")
        memory.flush()
        goodbye, refusal = raw.take_frames()
        assert goodbye["code"] == "shutting-down"
        assert (refusal["call"], refusal["code"]) == (5, "unavailable")
        probe.let_go()
        memory.flush()
        assert raw.is_closed


@pytest.mark.parametrize("past", [0, 1], ids=["at", "past"])
def test_the_deadline_cuts(past: int) -> None:
    probe = Probe()
    with MemoryServer([probe], limits=LIMITS) as memory:
        calling = memory.connect().call("probe.hold")
        memory.flush()
        stopping = memory.server.stop()
        memory.advance(10.0 - 0.01 + 0.01 * past)
        assert stopping.called is bool(past)
        assert probe.ends == ["cancelled"] * past
        if past:
            with pytest.raises(ConnectionEnded):
                memory.run(calling)
        else:
            calling.addErrback(lambda failure: None)
            probe.let_go()
            memory.run(stopping)


def test_a_peer_that_reads_nothing_is_cut_by_the_deadline() -> None:
    with MemoryServer([Probe()], limits=LIMITS) as memory:
        link = Link(buffer_bytes=1)
        raw = memory.connect_raw(OWNER, link=link)
        raw.send(open_frame(3, "probe.flood"))
        link.to_client.stall()
        memory.flush()
        stopping = memory.server.stop()
        memory.advance(10.0)
        assert stopping.called
        assert memory.server.connections == 0


def test_stopping_twice_and_giving_up() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=LIMITS) as memory:
        memory.connect().call("probe.hold").addErrback(lambda failure: None)
        memory.flush()
        first, second, third = (memory.server.stop() for _ in range(3))
        memory.flush()
        second.addErrback(lambda failure: failure.trap(CancelledError))
        second.cancel()
        probe.let_go()
        memory.run(first)
        memory.run(third)
