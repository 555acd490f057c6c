"""The server in memory: who connects, what a test sees, and what it must not leave behind."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from sockserv.errors import (
    AuthenticationFailed,
    ConnectError,
    ConnectionEnded,
    InternalError,
    PermissionDenied,
    UnknownOperation,
)
from sockserv.limits import Limits
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import (
    OWNER,
    HandlerFailed,
    LeftOver,
    Link,
    MemoryNetwork,
    MemoryServer,
    RawPeer,
    frame,
    split_frames,
)
from sockserv.trust import Anonymous, Identity, TokenAuthenticator, hash_token

ALICE = Identity("alice", frozenset({"echo"}))
BOB = Identity("bob")


class Faulty(Service):
    @operation("faulty.crash", permission=None)
    def crash(self, call: Call[Any]) -> None:
        raise KeyError("nobody thought of this")

    @operation("faulty.timer", permission=None)
    def timer(self, call: Call[Any]) -> None:
        call.clock.callLater(100, lambda: None)

    @operation("faulty.hang", permission=None)
    async def hang(self, call: Call[Any]) -> None:
        await Deferred()


def test_clients_are_who_they_are_said_to_be() -> None:
    with MemoryServer([Echo()]) as memory:
        owner = memory.connect()
        alice = memory.connect(ALICE)
        bob = memory.connect(BOB)
        assert [c.identity for c in (owner, alice, bob)] == ["owner", "alice", "bob"]
        assert memory.server.connections == 3
        assert memory.run(alice.call("echo", body=b"hi")).body == b"hi"
        with pytest.raises(PermissionDenied):
            memory.run(bob.call("echo", body=b"hi"))


def test_another_authenticator() -> None:
    tokens = TokenAuthenticator({hash_token("s3cret"): ALICE})
    with MemoryServer([Echo()], authenticator=tokens) as memory:
        assert memory.connect(token="s3cret").identity == "alice"
        with pytest.raises(AuthenticationFailed, match="the token is not valid here"):
            memory.connect(token="guess")


def test_everybody_is_let_in() -> None:
    with MemoryServer([Echo()], authenticator=Anonymous(ALICE)) as memory:
        client = memory.connect()
        assert client.identity is None
        assert memory.run(client.call("echo", body=b"hi")).body == b"hi"


def test_connecting_can_take_its_time() -> None:
    with MemoryServer([Echo()]) as memory:
        link = Link(delay_seconds=2.0)
        connecting = memory.start_connecting(link=link, timeout_seconds=5.0)
        memory.flush()
        with pytest.raises(ConnectError, match="did not answer within 5 seconds"):
            memory.run(connecting, max_seconds=10.0)
        memory.advance(10.0)
        assert memory.server.connections == 0


def test_limits_of_both_sides() -> None:
    with MemoryServer([Echo()], limits=Limits(max_calls=7)) as memory:
        raw = memory.connect_raw()
        raw.send_hello()
        memory.connect(limits=Limits(max_calls=9))
        memory.flush()
        (hello,) = raw.take_frames()
        assert hello["limits"]["max_calls"] == 7


def test_read_gives_what_is_there() -> None:
    with MemoryServer([Echo()]) as memory:
        call = memory.run(memory.connect().open("echo"))
        assert memory.read(call) == b""
        memory.run(call.send(b"one"))
        memory.run(call.send(b"two"))
        assert memory.read(call) == b"onetwo"
        assert memory.read(call) == b""
        call.end()
        assert memory.read(call) == b""


def test_read_raises_what_the_call_failed_with() -> None:
    with MemoryServer([Echo()]) as memory:
        call = memory.run(memory.connect().open("no.such"))
        memory.flush()
        with pytest.raises(UnknownOperation):
            memory.read(call)
        link = Link()
        call = memory.run(memory.connect(link=link).open("echo"))
        memory.run(call.send(b"half of it"))
        memory.flush()
        link.cut()
        assert memory.read(call) == b"half of it"
        with pytest.raises(ConnectionEnded):
            memory.read(call)


def test_a_raw_peer_sees_the_frames() -> None:
    with MemoryServer([Echo()]) as memory:
        raw = memory.connect_raw()
        memory.flush()
        (hello,) = raw.take_frames()
        assert hello["type"] == "hello"
        assert hello["auth"] == ["token"]
        raw.send_hello(window_bytes=10)
        raw.send_bytes(frame({"type": "ping", "token": 7}))
        memory.flush()
        assert raw.take_frames()[-1]["code"] == "login-required"
        assert raw.is_closed


def test_a_raw_peer_that_is_logged_in() -> None:
    with MemoryServer([Echo()]) as memory:
        raw = memory.connect_raw(ALICE)
        raw.send({"type": "open", "call": 3, "op": "echo", "end": True}, b"hello")
        raw.send({"type": "open", "call": 5, "op": "echo", "end": True}, b"world")
        raw.pause_reading()
        memory.flush()
        assert raw.received == b""
        raw.resume_reading()
        memory.flush()
        assert raw.take_bodies(5) == b"world"
        raw.close_writing()
        memory.flush()
        assert raw.is_closed


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_raw_peer_can_go(how: str) -> None:
    with MemoryServer([Echo()]) as memory:
        raw = memory.connect_raw(OWNER)
        getattr(raw, how)()
        memory.flush()
        assert raw.is_closed
        assert memory.server.connections == 0


def test_a_raw_peer_whose_login_is_refused() -> None:
    with (
        MemoryServer([], authenticator=TokenAuthenticator({})) as memory,
        pytest.raises(AuthenticationFailed, match="the login of alice failed"),
    ):
        memory.connect_raw(ALICE)


def test_half_a_frame_is_no_frame() -> None:
    whole = frame({"type": "data", "call": 1}, b"12345")
    for end in range(len(whole)):
        assert split_frames(whole[:end]) == ([], whole[:end])
    (one,), rest = split_frames(whole + b"rest")
    assert one["call"] == 1
    assert one.body == b"12345"
    assert rest == b"rest"


def test_bodies_of_one_call() -> None:
    raw = RawPeer()
    raw.dataReceived(frame({"call": 1}, b"a") + frame({"type": "ping"}) + frame({"call": 2}, b"b"))
    raw.dataReceived(frame({"call": 1}, b"c"))
    assert raw.take_bodies(1) == b"ac"


# What a test must not leave behind


def test_an_unexpected_failure_fails_the_test() -> None:
    with (
        pytest.raises(HandlerFailed, match="nobody thought of this"),
        MemoryServer([Faulty()]) as memory,
        contextlib.suppress(InternalError),
    ):
        memory.run(memory.connect().call("faulty.crash"))


def test_an_expected_failure_is_taken() -> None:
    with MemoryServer([Faulty()]) as memory:
        client = memory.connect()
        with pytest.raises(InternalError):
            memory.run(client.call("faulty.crash"))
        (failure,) = memory.take_failures()
        assert isinstance(failure, KeyError)
        assert memory.take_failures() == []


def test_the_error_of_a_failing_test_tells_what_the_handler_raised() -> None:
    with pytest.raises(InternalError) as caught, MemoryServer([Faulty()]) as memory:
        memory.run(memory.connect().call("faulty.crash"))
    (note,) = caught.value.__notes__
    assert "nobody thought of this" in note


def test_a_timer_left_over_fails_the_test() -> None:
    with pytest.raises(LeftOver, match="timers still run"), MemoryServer([Faulty()]) as memory:
        memory.run(memory.connect().call("faulty.timer"))


def test_calls_that_run_are_ended_by_the_end() -> None:
    with MemoryServer([Faulty()]) as memory:
        client = memory.connect()
        outcome: list[Any] = []
        client.call("faulty.hang").addBoth(outcome.append)
        memory.flush()
        assert outcome == []
    assert "ConnectionEnded" in repr(outcome)


def test_a_stalled_link_does_not_hold_up_the_end() -> None:
    with MemoryServer([Echo()]) as memory:
        link = Link(delay_seconds=0.5)
        client = memory.run(memory.start_connecting(link=link), max_seconds=5.0)
        client.call("echo", body=b"x").addErrback(lambda failure: None)
        link.stall()
    assert memory.server.connections == 0


def test_two_servers_on_one_network() -> None:
    network = MemoryNetwork()
    with (
        MemoryServer([Echo()], network=network) as one,
        MemoryServer([Echo()], network=network) as other,
    ):
        first = one.connect()
        second = other.connect()
        assert network.run(first.call("echo", body=b"1")).body == b"1"
        assert network.run(second.call("echo", body=b"2")).body == b"2"
