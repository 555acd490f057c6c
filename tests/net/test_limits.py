"""Every limit: at it all is well, and one past it there is a written answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from sockserv.errors import ConnectError, TooManyCalls
from sockserv.limits import Limits
from sockserv.services.echo import Echo
from sockserv.testing import OWNER, Link, MemoryServer, RawPeer, frame
from sockserv.trust import Identity, Origin
from tests.net.probe import Probe, open_frame

_CHECKED: dict[str, Callable[..., None]] = {}
PAST = pytest.mark.parametrize("past", [0, 1], ids=["at", "one past"])


def checks(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test is for these fields of `Limits`."""

    def register(test: Callable[..., None]) -> Callable[..., None]:
        _CHECKED.update(dict.fromkeys(names, test))
        marked: Callable[..., None] = PAST(test)
        return marked

    return register


def test_every_limit_is_checked() -> None:
    elsewhere = {
        # tests/trust/test_throttle.py
        "max_held_logins",
        "max_login_delay_seconds",
        "max_login_sources",
        # tests/net/test_held.py
        "max_held_bytes",
        # tests/net/test_arrivals.py
        "max_unauthenticated_connections_per_second",
        # tests/net/test_ending.py
        "max_waiting_calls",
        # tests/net/test_liveness.py
        "keepalive_interval_seconds",
        "keepalive_timeout_seconds",
        "login_timeout_seconds",
        # tests/net/test_drain.py
        "drain_timeout_seconds",
    }
    assert {field.name for field in attrs.fields(Limits)} == _CHECKED.keys() | elsewhere


def goodbye_of(memory: MemoryServer, raw: RawPeer) -> str | None:
    """The code of the goodbye that has come, None if none has."""
    memory.flush()
    codes = [one["code"] for one in raw.take_frames() if one["type"] == "goodbye"]
    assert raw.is_closed == bool(codes)
    return codes[0] if codes else None


def padded(header: dict[str, Any], size: int, body: bytes = b"") -> bytes:
    """A frame whose header has exactly `size` bytes, by a long operation name."""
    missing = size - (len(frame(header, body)) - 4 - len(body))
    return frame({**header, "op": header["op"] + "x" * missing}, body)


# Sizes


@checks("max_header_bytes")
def test_the_length_of_a_header(past: int) -> None:
    with MemoryServer([], limits=Limits(max_header_bytes=5000)) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send_bytes(padded(open_frame(3, "op", end=True), 5000 + past))
        assert goodbye_of(memory, raw) == (None, "bad-frame")[past]


@checks("max_login_header_bytes")
def test_the_length_of_a_header_before_the_login(past: int) -> None:
    with MemoryServer([], limits=Limits(max_login_header_bytes=4500)) as memory:
        raw = memory.connect_raw()
        raw.send_hello()
        raw.send_bytes(padded(open_frame(1, "auth.", end=True), 4500 + past))
        assert goodbye_of(memory, raw) == (None, "bad-frame")[past]


@checks("max_body_bytes")
def test_the_size_of_a_body(past: int) -> None:
    with MemoryServer([Echo()], limits=Limits(max_body_bytes=5000)) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "echo", end=True), bytes(5000 + past))
        assert goodbye_of(memory, raw) == (None, "bad-frame")[past]


@checks("window_bytes")
@pytest.mark.parametrize("rides", [True, False])
def test_what_a_peer_may_send_ahead(past: int, rides: bool) -> None:
    with MemoryServer([Probe()], limits=Limits(window_bytes=5000)) as memory:
        raw = memory.connect_raw(OWNER)
        if rides:
            raw.send(open_frame(3, "probe.hold"), bytes(5000 + past))
        else:
            raw.send(open_frame(3, "probe.hold"), bytes(2000))
            raw.send({"type": "data", "call": 3}, bytes(3000 + past))
        assert goodbye_of(memory, raw) == (None, "flow-control")[past]


@checks("window_growth_bytes")
def test_how_much_more_a_peer_may_send_ahead_when_that_is_consumed(past: int) -> None:
    limits = Limits(window_bytes=1000, window_growth_bytes=1500)
    with MemoryServer([Probe()], limits=limits) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "probe.swallow"), bytes(1000))
        raw.send(open_frame(5, "probe.swallow"), bytes(1000))
        assert goodbye_of(memory, raw) is None
        # The first one has doubled its window, and the second one has got the rest.
        raw.send({"type": "data", "call": 3}, bytes(2000))
        raw.send({"type": "data", "call": 5}, bytes(1500 + past))
        assert goodbye_of(memory, raw) == (None, "flow-control")[past]


@checks("frame_body_bytes")
def test_the_largest_body_that_is_sent(past: int) -> None:
    limits = Limits(frame_body_bytes=5000)
    with MemoryServer([Echo()], limits=limits) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "echo", end=True), bytes(5000 + past))
        memory.flush()
        sizes = [len(one.body) for one in raw.take_frames()]
        assert sizes == ([5000], [5000, 1])[past]


@pytest.mark.parametrize("size", [999, 1000, 1001, 2500])
def test_no_body_is_larger_than_the_peer_takes(size: int) -> None:
    with MemoryServer([Echo()]) as memory:
        raw = memory.connect_raw()
        raw.send_hello(max_body_bytes=1000)
        raw.send(open_frame(1, "auth.token", args={"token": memory.token_of(OWNER)}, end=True))
        raw.send(open_frame(3, "echo", end=True), bytes(size))
        memory.flush()
        sizes = [len(one.body) for one in raw.take_frames() if one.header.get("call") == 3]
        assert sum(sizes) == size
        assert max(sizes) <= 1000


@checks("send_buffer_bytes")
def test_what_may_wait_to_be_sent(past: int) -> None:
    piece = 1000  # no piece costs as much besides its bytes
    with MemoryServer([Probe()], limits=Limits(window_bytes=1)) as memory:
        client = memory.connect(limits=Limits(send_buffer_bytes=5000))
        call = memory.run(client.open("probe.hold"))
        sending = Deferred.fromCoroutine(call.send(bytes(5001 + (1 if past else -piece))))
        memory.flush()
        assert sending.called is not bool(past)
        call.cancel()
        sending.addErrback(lambda failure: None)


@checks("max_unsent_bytes")
def test_what_may_pile_up_for_a_peer_that_does_not_read(past: int) -> None:
    pong = len(frame({"type": "pong", "token": 1}))
    link = Link(buffer_bytes=1)
    with MemoryServer([], limits=Limits(max_unsent_bytes=20 * pong)) as memory:
        raw = memory.connect_raw(OWNER, link=link)
        raw.pause_reading()
        for _ in range(1 + 20 + past):  # the first one is with the transport
            raw.send({"type": "ping", "token": 1})
            memory.flush()
        assert raw.is_closed is bool(past)


# Counts


@checks("max_calls")
def test_the_calls_of_a_connection(past: int) -> None:
    with MemoryServer([Probe()], limits=Limits(max_calls=5)) as memory:
        raw = memory.connect_raw(OWNER)
        for number in range(5 + past):
            raw.send(open_frame(3 + 2 * number, "probe.hold"), b"body")
        raw.send({"type": "data", "call": 3 + 2 * (4 + past), "end": True}, b"more")
        memory.flush()
        codes = [one["code"] for one in raw.take_frames()]
        assert codes == ["too-many-calls"] * past
        assert not raw.is_closed


def test_the_client_counts_with_the_server() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=Limits(max_calls=5)) as memory:
        client = memory.connect()
        for _ in range(6):
            client.call("probe.hold").addErrback(lambda failure: failure.trap(Exception))
        memory.flush()
        assert len(probe.calls) == 5


@checks("max_connections")
def test_the_connections_of_a_server(past: int) -> None:
    with MemoryServer([], limits=Limits(max_connections=3)) as memory:
        clients = [memory.connect() for _ in range(2)]
        if past:
            memory.connect_raw()
        with MemoryLog() as log:
            raw = memory.connect_raw()
            assert goodbye_of(memory, raw) == (None, "too-many-connections")[past]
        assert len(log.lines) == past
        if past:
            with pytest.raises(ConnectError, match="3 connections are open, which is the limit"):
                memory.connect()
            memory.run(clients[0].close())
            memory.flush()
            memory.connect()


@checks("max_unauthenticated_connections")
def test_the_connections_that_wait_for_a_login(past: int) -> None:
    limits = Limits(max_unauthenticated_connections=3)
    with MemoryServer([], limits=limits) as memory:
        for _ in range(5):
            memory.connect()
        for _ in range(2 + past):
            memory.connect_raw()
        raw = memory.connect_raw()
        assert goodbye_of(memory, raw) == (None, "too-many-connections")[past]


@checks("max_identity_connections")
def test_the_connections_of_an_identity(past: int) -> None:
    with MemoryServer([], limits=Limits(max_identity_connections=3)) as memory:
        alice, bob = Identity("alice"), Identity("bob")
        clients = [memory.connect(alice) for _ in range(2 + past)]
        memory.connect(bob)
        for _ in range(5):
            memory.connect()  # the owner has to get in to whoever takes all the room
        if past:
            with pytest.raises(ConnectError, match="alice has 3 connections, which is the limit"):
                memory.connect(alice)
            memory.run(clients[0].close())
            memory.flush()
        memory.connect(alice)


class TestWhoMayWaitForALogin:
    """When as many wait as may, for somebody from another place than most of them."""

    def connect(self, memory: MemoryServer, address: str, count: int = 1) -> list[RawPeer]:
        raws = [memory.connect_raw(link=Link(origin=Origin(address, 4711))) for _ in range(count)]
        memory.flush()
        return raws

    @pytest.mark.parametrize(
        ("crowd", "other"),
        [
            ("192.0.2.1", "192.0.2.2"),
            ("::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8:0:1::1"),
            ("127.0.0.1", None),
        ],
    )
    def test_a_crowd_from_one_place_gives_up_who_has_waited_longest(
        self, crowd: str, other: str | None
    ) -> None:
        with MemoryServer([], limits=Limits(max_unauthenticated_connections=4)) as memory:
            waiting = self.connect(memory, crowd, 4)
            link = Link(origin=Origin(other))
            assert memory.connect(link=link).identity == OWNER.name
            assert [raw.is_closed for raw in waiting] == [True, False, False, False]

    @pytest.mark.parametrize(
        ("crowd", "same"), [("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8::1", "2001:db8::2")]
    )
    def test_one_more_from_the_crowd_is_refused(self, crowd: str, same: str) -> None:
        with MemoryServer([], limits=Limits(max_unauthenticated_connections=4)) as memory:
            waiting = self.connect(memory, crowd, 4)
            [raw] = self.connect(memory, same)
            assert goodbye_of(memory, raw) == "too-many-connections"
            assert not any(raw.is_closed for raw in waiting)

    def test_two_crowds_share_what_there_is(self) -> None:
        with MemoryServer([], limits=Limits(max_unauthenticated_connections=4)) as memory:
            first = self.connect(memory, "192.0.2.1", 4)
            second = self.connect(memory, "192.0.2.2", 8)
            assert [raw.is_closed for raw in first] == [True, True, False, False]
            assert [raw.is_closed for raw in second] == [False] * 2 + [True] * 6
            assert memory.server.connections == 4

    def test_who_has_logged_in_is_not_of_the_crowd(self) -> None:
        with MemoryServer([], limits=Limits(max_unauthenticated_connections=2)) as memory:
            link = Link(origin=Origin("192.0.2.1", 4711))
            client = memory.connect(link=link)
            self.connect(memory, "192.0.2.1", 2)
            self.connect(memory, "192.0.2.2")
            memory.run(client.ping())


def test_a_flood_of_connections_does_not_flood_the_log() -> None:
    with MemoryServer([], limits=Limits(max_connections=1)) as memory, MemoryLog() as log:
        memory.connect()
        for _ in range(100):
            memory.connect_raw()
        assert [line.split(" in a row")[0].split()[-1] for line in log.lines] == [
            *("1", "2", "4", "8", "16", "32", "64")
        ]
        memory.advance(59.0)
        memory.connect_raw()
        assert len(log.lines) == 7
        memory.advance(60.0)
        memory.connect_raw()
        assert len(log.lines) == 8, "counted from the start again"


@checks("max_login_attempts")
def test_wrong_tokens(past: int) -> None:
    with MemoryServer([], limits=Limits(max_login_attempts=3)) as memory:
        raw = memory.connect_raw()
        raw.send_hello()
        wrong = {"token": "guess"}
        for number in range(2 + past):
            raw.send(open_frame(1 + 2 * number, "auth.token", args=wrong, end=True))
            memory.advance(1.0)
        right = {"token": memory.token_of(OWNER)}
        raw.send(open_frame(9, "auth.token", args=right, end=True))
        memory.flush()
        answers = [one["type"] for one in raw.take_frames()]
        if past:
            assert answers == ["hello", "error", "error", "error", "goodbye"]
            assert raw.is_closed
        else:
            assert answers == ["hello", "error", "error", "reply"]


class MemoryLog:
    """What is logged as a warning, as text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> MemoryLog:
        globalLogPublisher.addObserver(self._observe)  # type: ignore[arg-type]  # any callable will do
        return self

    def __exit__(self, *error: object) -> None:
        globalLogPublisher.removeObserver(self._observe)  # type: ignore[arg-type]

    def _observe(self, event: LogEvent) -> None:
        if event["log_level"].name == "warn":
            self.lines.append(str(event["log_format"]).format(**event))


# Limits themselves


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(Limits)])
def test_a_limit_is_greater_than_zero(name: str) -> None:
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"{name} is {value}: it must be greater than 0"):
            Limits(**{name: value})


def test_limits_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="it must be at least 4096"):
        Limits(max_login_header_bytes=4095)
    with pytest.raises(ValueError, match="is greater than"):
        Limits(max_login_header_bytes=5000, max_header_bytes=4999)
    Limits(max_login_header_bytes=4096, max_header_bytes=4096)


def test_too_many_calls_can_be_tried_again() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=Limits(max_calls=1)) as memory:
        client = memory.connect(limits=Limits(max_waiting_calls=1))
        first, second = client.call("probe.hold"), client.call("probe.hold")
        with pytest.raises(TooManyCalls) as caught:
            memory.run(client.call("probe.hold"))
        assert caught.value.details == {"max_waiting_calls": 1}
        memory.flush()
        probe.let_go()
        memory.run(first)
        third = client.call("probe.hold")
        memory.flush()
        probe.let_go()
        memory.run(second)
        memory.flush()
        probe.let_go("third")
        assert memory.run(third).result == "third"
