"""Calling from a program: results, bodies, errors, and what happens to those who wait."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from sockserv import __version__
from sockserv.client import Reply
from sockserv.errors import (
    CallCancelled,
    CallError,
    ConnectionEnded,
    InvalidArgument,
    MessageTooLarge,
    RemoteError,
    ReplyTooLarge,
    Unavailable,
    UnexpectedResult,
)
from sockserv.limits import Limits
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo, EchoArguments
from sockserv.testing import MemoryServer
from tests.client.raw_server import RawServer
from tests.net.probe import Probe


class Busy(CallError):
    code = "shop.busy"


@attrs.frozen
class Order:
    item: str
    count: int = 1


@attrs.frozen
class Receipt:
    item: str
    price: float


class Shop(Service):
    @operation("shop.buy", args=Order, permission="shop")
    def buy(self, call: Call[Order]) -> Receipt:
        if call.args.item == "nothing":
            raise Busy("come back later", details={"seconds": 60})
        return Receipt(call.args.item, 2.5 * call.args.count)

    @operation("shop.catalogue", permission="shop")
    async def catalogue(self, call: Call[Any]) -> list[str]:
        await call.send(b"the catalogue")
        return ["apple", "pear"]

    @operation("shop.nothing", permission="shop")
    def nothing(self, call: Call[Any]) -> None:
        """Answers with neither a result nor a body."""


# Results


def test_a_result_as_plain_values() -> None:
    with MemoryServer([Shop()]) as memory:
        client = memory.connect()
        reply = memory.run(client.call("shop.buy", {"item": "apple", "count": 2}))
        assert reply == Reply({"item": "apple", "price": 5.0}, b"")


def test_a_result_as_an_object() -> None:
    with MemoryServer([Shop()]) as memory:
        client = memory.connect()
        reply = memory.run(client.call("shop.buy", Order("pear"), result=Receipt))
        assert reply.result == Receipt("pear", 2.5)


def test_a_result_with_a_body() -> None:
    with MemoryServer([Shop()]) as memory:
        reply = memory.run(memory.connect().call("shop.catalogue", result=list[str]))
        assert reply == Reply(["apple", "pear"], b"the catalogue")


def test_no_result() -> None:
    with MemoryServer([Shop()]) as memory:
        client = memory.connect()
        assert memory.run(client.call("shop.nothing")) == Reply(None, b"")
        call = memory.run(client.open("shop.nothing", end=True))
        assert memory.run(call.result()) is None


def test_a_result_that_is_something_else() -> None:
    with MemoryServer([Shop()]) as memory:
        client = memory.connect()
        with pytest.raises(UnexpectedResult, match="not what was expected"):
            memory.run(client.call("shop.catalogue", result=Receipt))
        call = memory.run(client.open("shop.catalogue"))
        with pytest.raises(UnexpectedResult):
            memory.run(call.result(int))
        assert memory.run(call.result(list[str])) == ["apple", "pear"]


# Errors


def test_an_error_of_the_services_own() -> None:
    with MemoryServer([Shop()]) as memory:
        with pytest.raises(Busy, match="come back later") as caught:
            memory.run(memory.connect().call("shop.buy", Order("nothing")))
        assert caught.value.details == {"seconds": 60}


def test_arguments_that_are_wrong_name_the_field() -> None:
    with MemoryServer([Shop()]) as memory:
        client = memory.connect()
        with pytest.raises(InvalidArgument, match="count"):
            memory.run(client.call("shop.buy", {"item": "apple", "count": "two"}))
        with pytest.raises(InvalidArgument, match="item"):
            memory.run(client.call("shop.buy"))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (object(), TypeError),
        ({"item": 1j}, TypeError),
        ({"item": "x" * 70_000}, MessageTooLarge),
    ],
)
def test_arguments_that_cannot_be_sent(args: Any, expected: type[Exception]) -> None:
    with MemoryServer([Shop()]) as memory:
        client = memory.connect()
        with pytest.raises(expected):
            memory.run(client.call("shop.buy", args))
        with pytest.raises(expected):
            memory.run(client.open("shop.buy", args))
        assert memory.run(client.call("shop.nothing")).result is None


# Bodies


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 16_384, 16_385, 65_536, 65_537, 2_000_000])
def test_a_body_of_any_size(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    with MemoryServer([Echo()]) as memory:
        client = memory.connect()
        assert memory.run(client.call("echo", body=body[:size])).body == body[:size]


def test_several_at_once() -> None:
    with MemoryServer([Echo()]) as memory:
        client = memory.connect()
        bodies = [b"%d" % number * 1000 for number in range(300)]
        calls = [client.call("echo", EchoArguments(), body=body) for body in bodies]
        assert [reply.body for reply in memory.run(gatherResults(calls))] == bodies


def test_many_that_go_together_do_not_wait_for_each_other() -> None:
    with MemoryServer([Echo()]) as server:
        client = server.connect()
        body = bytes(4096)
        with client.together():
            # More than may wait to be sent at a time.
            calls = [client.call("echo", body=body) for _ in range(24)]
            assert len(client._peer.connection.calls.outgoing) == 24
        assert all(reply.body == body for reply in server.run(gatherResults(calls)))


@pytest.mark.parametrize(("max_bytes", "fits"), [(1000, True), (999, False), (0, False)])
def test_an_answer_as_large_as_agreed(max_bytes: int, fits: bool) -> None:
    with MemoryServer([Echo()]) as memory:
        client = memory.connect()
        calling = client.call("echo", body=bytes(1000), max_reply_bytes=max_bytes)
        if fits:
            assert len(memory.run(calling).body) == 1000
        else:
            with pytest.raises(ReplyTooLarge, match=f"larger than {max_bytes} bytes"):
                memory.run(calling)
        assert memory.run(client.call("echo", body=b"x")).body == b"x"


def test_an_answer_that_is_too_large_is_stopped() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        with pytest.raises(ReplyTooLarge):
            memory.run(memory.connect().call("probe.flood", max_reply_bytes=10_000))
        memory.flush()
        assert probe.ends == ["ended"]


def test_a_streaming_call_begins_with_a_body() -> None:
    with MemoryServer([Echo()]) as memory:
        client = memory.connect()
        call = memory.run(client.open("echo", body=b"first "))
        memory.run(call.send(b"second"))
        call.end()
        assert memory.run(call.body.read(max_bytes=100)) == b"first second"
        assert memory.run(call.result()) is None
        whole = memory.run(client.open("echo", {"upper": True}, body=b"whole", end=True))
        assert memory.run(whole.body.read(max_bytes=100)) == b"WHOLE"


def test_several_may_wait_for_one_result() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        call = memory.run(memory.connect().open("probe.hold"))
        waiting = [Deferred.fromCoroutine(call.result()) for _ in range(3)]
        memory.flush()
        waiting[1].addErrback(lambda failure: failure.trap(CancelledError) and None)
        waiting[1].cancel()
        probe.let_go(7)
        assert [memory.run(one) for one in (waiting[0], waiting[2])] == [7, 7]
        assert memory.run(call.result()) == 7


# The client itself


def test_what_a_client_says_of_itself() -> None:
    with MemoryServer([]) as memory:
        client = memory.connect()
        assert client.identity == "owner"
        assert client.server_agent == f"sockserv/{__version__}"
        assert "127.0.0.1" in repr(client)


def test_a_coroutine_runs_as_in_production() -> None:
    async def program(client: Any) -> bytes:
        call = await client.open("echo")
        await call.send(b"hello ")
        first = await anext(call.body)
        await call.send(b"world")
        call.end()
        rest = [piece async for piece in call.body]
        return b"".join([first, *rest])

    with MemoryServer([Echo()]) as memory:
        assert memory.run(program(memory.connect())) == b"hello world"


def test_giving_up_while_waiting() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=Limits(max_calls=1)) as memory:
        client = memory.connect()
        first = client.call("probe.hold")
        opening = client.open("probe.hold")
        memory.flush()
        opening.addErrback(lambda failure: failure.trap(CancelledError) and None)
        opening.cancel()
        assert memory.run(opening) is None
        probe.let_go()
        memory.run(first)
        memory.flush()
        assert len(probe.calls) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_closing(when: str) -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        client = memory.connect()
        calling = client.call("probe.hold")
        if when == "after":
            memory.flush()
        closing = client.close()
        with pytest.raises(ConnectionEnded, match="the client is done"):
            memory.run(calling)
        memory.run(closing)
        memory.flush()
        assert memory.server.connections == 0


# Servers that do not keep to the protocol


def test_a_protocol_error_ends_everything() -> None:
    server = RawServer()
    client = server.connect()
    calling = client.call("op")
    pinging = client.ping()
    server.send({"type": "reply", "call": 99})
    for waiting in (calling, pinging, client.call("op"), client.ping()):
        with pytest.raises(ConnectionEnded, match="call 99, which was never opened"):
            server.run(waiting)
    assert server.peer.take_frames()[-1]["code"] == "unknown-call"
    assert server.peer.is_closed
    server.run(client.close())


def test_an_answer_to_a_call_that_was_given_up() -> None:
    server = RawServer()
    client = server.connect()
    call = server.run(client.open("op", body=b"x"))
    call.cancel()
    server.send({"type": "data", "call": 1}, b"too late")
    server.send({"type": "reply", "call": 1, "result": "too late"})
    with pytest.raises(CallCancelled):
        server.run(call.result())
    calling = client.call("op")
    server.send({"type": "reply", "call": 3, "result": "in time"}, b"body")
    assert server.run(calling) == Reply("in time", b"body")


def test_a_body_that_comes_in_pieces_before_its_reply() -> None:
    server = RawServer()
    client = server.connect()
    calling = client.call("op")
    server.send({"type": "data", "call": 1}, b"one ")
    server.send({"type": "data", "call": 1, "end": True}, b"two")
    server.send({"type": "reply", "call": 1})
    assert server.run(calling).body == b"one two"
    calling = client.call("op")
    server.send({"type": "data", "call": 3}, b"one ")
    server.send({"type": "reply", "call": 3}, b"two")
    assert server.run(calling).body == b"one two"


def test_an_error_that_nobody_knows_here() -> None:
    server = RawServer()
    calling = server.connect().call("op")
    server.send(
        {"type": "error", "call": 1, "code": "new.kind", "message": "so", "details": {"x": [1]}}
    )
    with pytest.raises(RemoteError, match="so") as caught:
        server.run(calling)
    assert caught.value.wire_code == "new.kind"
    assert caught.value.details == {"x": [1]}


def test_a_server_cannot_call_a_client() -> None:
    server = RawServer()
    server.connect()
    server.send({"type": "open", "call": 2, "op": "run", "end": True})
    (answer,) = server.peer.take_frames()
    assert (answer["call"], answer["code"]) == (2, "unknown-operation")


def test_a_server_that_says_goodbye_and_ends_what_still_runs() -> None:
    server = RawServer()
    client = server.connect()
    calling = client.call("op")
    server.send({"type": "goodbye", "code": "shutting-down", "message": "for tonight"})
    server.peer.close()
    with pytest.raises(ConnectionEnded, match="going away: for tonight"):
        server.run(calling)


def test_a_server_that_says_goodbye() -> None:
    server = RawServer()
    client = server.connect()
    calling = client.call("op")
    server.send({"type": "goodbye", "code": "shutting-down", "message": "for tonight"})
    with pytest.raises(Unavailable, match="going away: for tonight"):
        server.run(client.call("op"))
    server.send({"type": "reply", "call": 1, "result": "done"})
    assert server.run(calling).result == "done"
    assert server.peer.is_closed
