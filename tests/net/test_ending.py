"""However a call ends, each side learns of it once, and nothing of it stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from sockserv.client import Client
from sockserv.errors import (
    CallCancelled,
    CallEnded,
    ConnectionEnded,
    DeadlineExceeded,
    InternalError,
    MessageTooLarge,
    SockservError,
    TooManyCalls,
    Unavailable,
)
from sockserv.limits import Limits
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import OWNER, Link, MemoryServer, frame, split_frames
from sockserv.testing.channel import Turns
from tests.net.probe import Probe, open_frame


class Outcome:
    """What comes of a Deferred, however often."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.results: list[Any] = []
        self.errors: list[type[BaseException] | None] = []
        deferred.addCallbacks(self.results.append, self._failed)

    def _failed(self, failure: Failure) -> None:
        self.errors.append(failure.type)

    @property
    def is_there(self) -> bool:
        return bool(self.results or self.errors)


# Cancelling


def test_cancelled_before_it_is_sent() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        client = memory.connect()
        call = memory.run(client.open("probe.hold"))
        call.cancel()
        call.cancel()
        with pytest.raises(CallCancelled):
            memory.run(call.raw_result())
        memory.run(client.ping())
        assert probe.ends == ["cancelled"]


def test_cancelled_in_the_middle() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        client = memory.connect()
        outcome = Outcome(calling := client.call("probe.hold"))
        memory.flush()
        assert len(probe.calls) == 1
        calling.cancel()
        assert outcome.errors == [CancelledError]
        memory.flush()
        assert probe.ends == ["cancelled"]
        assert outcome.errors == [CancelledError]


def test_cancelled_when_it_has_ended() -> None:
    with MemoryServer([Probe()]) as memory:
        client = memory.connect()
        call = memory.run(client.open("probe.now"))
        assert memory.run(call.result()) == "now"
        call.cancel()
        assert memory.run(call.result()) == "now"
        memory.run(client.ping())


def test_cancelled_while_the_answer_is_on_its_way() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        link = Link()
        client = memory.connect(link=link)
        call = memory.run(client.open("probe.hold"))
        memory.flush()
        link.stall()
        probe.let_go("too late")
        call.cancel()
        link.resume()
        with pytest.raises(CallCancelled):
            memory.run(call.raw_result())
        memory.run(client.ping())
        assert probe.ends == ["returned"]


@pytest.mark.parametrize("raw_cancels", [1, 3])
def test_a_cancelled_call_is_answered_once(raw_cancels: int) -> None:
    with MemoryServer([Probe()]) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "probe.hold"))
        for _ in range(raw_cancels):
            raw.send({"type": "cancel", "call": 3})
        memory.flush()
        raw.send({"type": "cancel", "call": 3})
        raw.send({"type": "data", "call": 3, "end": True}, b"late")
        memory.flush()
        (answer,) = raw.take_frames()
        assert (answer["type"], answer["code"]) == ("error", "cancelled")
        assert not raw.is_closed


def test_a_cancelled_call_makes_room_for_the_next() -> None:
    with MemoryServer([Probe()], limits=Limits(max_calls=1)) as memory:
        client = memory.connect()
        first = memory.run(client.open("probe.flood"))
        second = client.call("probe.now")
        memory.flush()
        assert not second.called
        first.cancel()
        assert memory.run(second).result == "now"


class Slow(Service):
    """Takes a second to tidy up when it is cancelled."""

    @operation("slow", permission="slow")
    async def slow(self, call: Call[Any]) -> str:
        try:
            await Deferred()
        except CancelledError:
            tidied: Deferred[None] = Deferred()
            call.clock.callLater(1.0, tidied.callback, None)
            await tidied
            return "tidied"
        raise AssertionError


def test_a_handler_may_take_its_time_to_end() -> None:
    with MemoryServer([Slow()], limits=Limits(max_calls=1)) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "slow"))
        raw.send({"type": "cancel", "call": 3})
        raw.send(open_frame(5, "slow"))
        memory.flush()
        (refusal,) = raw.take_frames()
        assert (refusal["call"], refusal["code"]) == (5, "too-many-calls")
        memory.advance(1.0)
        (answer,) = raw.take_frames()
        assert (answer["call"], answer["type"]) == (3, "reply")


# Deadlines


def test_both_sides_keep_the_deadline() -> None:
    probe = Probe()
    link = Link()
    with MemoryServer([probe]) as memory:
        client = memory.connect(link=link)
        outcome = Outcome(client.call("probe.hold", timeout_seconds=5.0))
        memory.flush()
        (call,) = probe.calls
        assert call.seconds_left == 5.0
        memory.advance(2.0)
        assert call.seconds_left == 3.0
        link.stall()
        memory.advance(2.9)
        assert not outcome.is_there
        assert probe.ends == []
        memory.advance(0.1)
        assert outcome.errors == [DeadlineExceeded]
        assert probe.ends == ["cancelled"]
        assert call.seconds_left == 0.0
        link.resume()
        memory.run(client.ping())
        assert outcome.errors == [DeadlineExceeded]


def test_an_answer_in_time_stops_the_clock() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        client = memory.connect()
        calling = client.call("probe.hold", timeout_seconds=5.0)
        memory.advance(4.9)
        probe.let_go("in time")
        assert memory.run(calling).result == "in time"
        memory.advance(10.0)
        assert probe.ends == ["returned"]


def test_without_a_deadline_nobody_hurries() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        calling = memory.connect().call("probe.hold")
        memory.flush()
        assert probe.calls[0].seconds_left is None
        memory.advance(3600.0)
        probe.let_go("at last")
        assert memory.run(calling).result == "at last"


def test_the_deadline_of_a_call_that_waits_to_be_opened() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=Limits(max_calls=1)) as memory:
        client = memory.connect()
        first = client.call("probe.hold")
        second = Outcome(client.call("probe.hold", timeout_seconds=5.0))
        third = client.call("probe.hold", timeout_seconds=9.0)
        memory.advance(5.0)
        assert second.errors == [DeadlineExceeded]
        memory.advance(2.0)
        probe.let_go(1)
        memory.flush()
        assert memory.run(first).result == 1
        assert len(probe.calls) == 2
        assert probe.calls[1].seconds_left == 2.0, "the wait counts"
        probe.let_go(3)
        assert memory.run(third).result == 3


# What is left of a body


class Reader(Service):
    """Reads the body outside of its handler; `failure` is what the body ended with."""

    failure: Exception | None = None

    @operation("read", permission="read")
    async def read(self, call: Call[Any]) -> None:
        Deferred.fromCoroutine(self._read(call))
        await Deferred()

    async def _read(self, call: Call[Any]) -> None:
        try:
            async for _ in call.body:
                pass
        except SockservError as error:
            self.failure = error


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("cancel", CallCancelled),
        ("deadline", DeadlineExceeded),
        ("cut", ConnectionEnded),
        ("close", ConnectionEnded),
    ],
)
def test_a_body_that_breaks_off_says_why(end: str, expected: type[Exception]) -> None:
    reader = Reader()
    link = Link()
    with MemoryServer([reader]) as memory:
        client = memory.connect(link=link)
        call = memory.run(client.open("read", body=b"the beginning", timeout_seconds=5.0))
        memory.flush()
        if end == "cancel":
            call.cancel()
        elif end == "deadline":
            memory.advance(5.0)
        elif end == "cut":
            link.cut()
        else:
            client.close()
        memory.flush()
        assert type(reader.failure) is expected
        with pytest.raises(CallCancelled if end == "cancel" else expected):
            memory.run(call.body.read(max_bytes=100))


def test_what_came_before_the_end_can_still_be_read() -> None:
    probe = Probe()
    link = Link()
    with MemoryServer([probe]) as memory:
        call = memory.run(memory.connect(link=link).open("probe.hold"))
        memory.flush()
        Deferred.fromCoroutine(probe.calls[0].send(b"the beginning"))
        memory.flush()
        link.cut()
        memory.flush()
        assert memory.run(anext(call.body)) == b"the beginning"
        with pytest.raises(ConnectionEnded):
            memory.run(anext(call.body))


def test_sending_in_a_call_that_was_answered() -> None:
    with MemoryServer([Probe()]) as memory:
        call = memory.run(memory.connect().open("probe.now"))
        memory.flush()
        with pytest.raises(CallEnded, match="answered already"):
            memory.run(call.send(b"x"))
        call.end()


def test_sending_in_a_call_that_has_failed() -> None:
    with MemoryServer([Probe()]) as memory:
        call = memory.run(memory.connect().open("probe.hold", timeout_seconds=1.0))
        memory.advance(1.0)
        with pytest.raises(DeadlineExceeded):
            memory.run(call.send(b"x"))


# More calls than the peer takes


def test_calls_wait_for_their_turn() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=Limits(max_calls=2)) as memory:
        client = memory.connect()
        calls = [client.call("probe.hold") for _ in range(6)]
        outcomes = [Outcome(call) for call in calls]
        memory.flush()
        assert len(probe.calls) == 2
        calls[3].cancel()
        for number in range(5):
            probe.let_go(number)
            memory.flush()
        assert [len(outcome.results) for outcome in outcomes] == [1, 1, 1, 0, 1, 1]
        assert outcomes[3].errors == [CancelledError]
        assert [o.results[0].result for o in outcomes if o.results] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("is_too_many", [False, True])
def test_so_many_may_wait_and_no_more(is_too_many: bool) -> None:
    probe = Probe()
    with MemoryServer([probe], limits=Limits(max_calls=1)) as memory:
        client = memory.connect(limits=Limits(max_waiting_calls=3))
        outcomes = [Outcome(client.call("probe.hold")) for _ in range(4 + is_too_many)]
        memory.flush()
        assert [o.errors for o in outcomes[:4]] == [[]] * 4
        if is_too_many:
            assert outcomes[4].errors == [TooManyCalls]
        for number in range(4):
            probe.let_go(number)
            memory.flush()
        assert [o.results[0].result for o in outcomes[:4]] == [0, 1, 2, 3]


def test_one_that_cannot_be_sent_does_not_hold_up_those_behind_it() -> None:
    probe = Probe()
    with MemoryServer([probe], limits=Limits(max_calls=1)) as memory:
        client = memory.connect()
        first = client.call("probe.hold")
        large = Outcome(client.call("probe.hold", {"x": "x" * 100_000}))
        last = client.call("probe.now")
        memory.flush()
        probe.let_go()
        memory.run(first)
        assert memory.run(last).result == "now"
        assert large.errors == [MessageTooLarge]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("goodbye", Unavailable),
        ("cut", ConnectionEnded),
        ("close", ConnectionEnded),
    ],
)
def test_those_that_wait_learn_of_the_end(end: str, expected: type[Exception]) -> None:
    probe = Probe()
    link = Link()
    with MemoryServer([probe], limits=Limits(max_calls=1)) as memory:
        client = memory.connect(link=link)
        client.call("probe.hold").addErrback(lambda failure: None)
        waiting = [Outcome(client.call("probe.hold")) for _ in range(3)]
        memory.flush()
        if end == "goodbye":
            memory.server.stop()
        elif end == "cut":
            link.cut()
        else:
            client.close()
        memory.flush()
        assert [outcome.errors for outcome in waiting] == [[expected]] * 3
        assert Outcome(client.call("probe.now")).errors == [expected]


# The end of the connection


def conversation(memory: MemoryServer, link: Link) -> list[Outcome]:
    """Something of everything; what came of each part."""
    outcomes = [Outcome(memory.start_connecting(link=link, limits=NARROW))]
    memory.flush()
    for client in outcomes[0].results:
        outcomes += [
            Outcome(client.call("echo", body=b"small")),
            Outcome(client.call("echo", {"upper": True}, body=b"larger" * 9)),
            Outcome(client.call("no.such")),
            Outcome(client.ping()),
            Outcome(Deferred.fromCoroutine(stream(client))),
            Outcome(client.call("probe.flood", {"piece_bytes": 40}, max_reply_bytes=60)),
        ]
        memory.flush()
    return outcomes


async def stream(client: Client) -> bytes:
    call = await client.open("echo")
    try:
        for _ in range(2):
            await call.send(b"x" * 70)
        call.end()
        return await call.body.read(max_bytes=1000)
    finally:
        call.cancel()


NARROW = Limits(window_bytes=80, send_buffer_bytes=80)


def test_a_conversation_that_is_not_disturbed() -> None:
    with MemoryServer([Echo(), Probe()], limits=NARROW) as memory:
        outcomes = conversation(memory, Link())
        assert [len(o.results) for o in outcomes] == [1, 1, 1, 0, 1, 1, 0]
        assert [len(o.errors) for o in outcomes] == [0, 0, 0, 1, 0, 0, 1]


class Recording(Link):
    """Keeps what was delivered, each way."""

    def join(self, turns: Turns, client: IProtocol, server: IProtocol) -> None:
        self.received = {"to_client": self._tee(client), "to_server": self._tee(server)}
        super().join(turns, client, server)

    def _tee(self, protocol: Any) -> bytearray:
        received = bytearray()
        take = protocol.dataReceived

        def tee(data: bytes) -> None:
            received.extend(data)
            take(data)

        protocol.dataReceived = tee
        return received


def places_to_cut(direction: str) -> list[int]:
    """Each border of a frame and of its prefix, the byte before and after, and some in between."""
    link = Recording()
    with MemoryServer([Echo(), Probe()], limits=NARROW) as memory:
        conversation(memory, link)
        received = bytes(link.received[direction])
    frames, rest = split_frames(received)
    assert not rest
    assert len(frames) > 5
    places = set(range(0, len(received), 17))
    border = 0
    for one in frames:
        places.update(range(border - 1, border + 6))
        border += len(frame(one.header, one.body))
    assert border == len(received)
    return sorted(place for place in places if 0 <= place < border)


@pytest.mark.parametrize("direction", ["to_server", "to_client"])
def test_the_link_dies_anywhere(direction: str) -> None:
    """Each part of the conversation has exactly one outcome, and nothing is left behind."""
    for count in places_to_cut(direction):
        link = Link()
        getattr(link, direction).cut_after(count)
        with MemoryServer([Echo(), Probe()], limits=NARROW) as memory:
            outcomes = conversation(memory, link)
            assert [len(o.results) + len(o.errors) for o in outcomes] == [1] * len(outcomes), count
            assert memory.server.connections == 0


def test_the_end_is_told_to_both() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        link = Link()
        client = memory.connect(link=link)
        outcomes = [Outcome(client.call("probe.hold")), Outcome(client.ping())]
        link.stall()
        outcomes.append(Outcome(client.ping()))
        memory.flush()
        closing = [client.close(), client.close()]
        assert [o.errors for o in outcomes] == [[ConnectionEnded]] * 3
        link.resume()
        for one in closing:
            memory.run(one)
        memory.run(client.close())
        memory.flush()
        assert probe.ends == ["cancelled"]
        assert memory.server.connections == 0
        assert Outcome(client.call("probe.hold")).errors == [ConnectionEnded]
        assert Outcome(client.ping()).errors == [ConnectionEnded]


def test_a_goodbye_that_is_not_graceful_ends_the_calls() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "probe.hold"))
        raw.send({"type": "goodbye", "code": "internal", "message": "no more"})
        raw.send(open_frame(5, "probe.hold"))
        memory.flush()
        assert probe.ends == ["cancelled"]
        assert len(probe.calls) == 1
        assert raw.is_closed


def test_a_graceful_goodbye_lets_the_calls_end() -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "probe.hold"))
        raw.send({"type": "goodbye", "code": "done"})
        memory.flush()
        assert not raw.is_closed
        probe.let_go("bye")
        memory.flush()
        (answer,) = raw.take_frames()
        assert answer["result"] == "bye"
        assert raw.is_closed


def test_a_peer_that_does_not_close_is_cut_off() -> None:
    with MemoryServer([Probe()]) as memory:
        raw = memory.connect_raw(OWNER)
        raw.pause_reading()
        raw.send({"type": "hello", "version": 1})
        memory.flush()
        memory.advance(1.9)
        assert not raw.is_closed
        memory.advance(0.1)
        assert raw.is_closed


@pytest.mark.parametrize("end", [lambda raw: raw.close(), lambda raw: raw.close_writing()])
def test_a_peer_that_closes_its_side_has_gone(end: Callable[[Any], None]) -> None:
    probe = Probe()
    with MemoryServer([probe]) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "probe.hold"))
        end(raw)
        memory.flush()
        assert probe.ends == ["cancelled"]
        assert memory.server.connections == 0


# Handlers that fail


class Faulty(Service):
    @operation("faulty.raises", permission="faulty")
    async def raises(self, call: Call[Any]) -> None:
        raise KeyError("/etc/secret")

    @operation("faulty.raises_later", permission="faulty")
    async def raises_later(self, call: Call[Any]) -> None:
        await call.in_thread(lambda: None)
        raise KeyError("/etc/secret")

    @operation("faulty.not_json", permission="faulty")
    def not_json(self, call: Call[Any]) -> Any:
        return object()

    @operation("faulty.not_json_later", permission="faulty")
    async def not_json_later(self, call: Call[Any]) -> Any:
        await call.in_thread(lambda: None)
        return {"deep": {1j}}

    @operation("faulty.too_large", permission="faulty")
    async def too_large(self, call: Call[Any]) -> str:
        await call.send(b"some of the answer")
        return "x" * 70_000

    @operation("faulty.in_thread", permission="faulty")
    async def in_thread(self, call: Call[Any]) -> Any:
        return await call.in_thread(int, "x")


@pytest.mark.parametrize(
    ("op", "logged"),
    [
        ("raises", KeyError),
        ("raises_later", KeyError),
        ("not_json", TypeError),
        ("not_json_later", TypeError),
        ("too_large", MessageTooLarge),
        ("in_thread", ValueError),
    ],
)
def test_what_a_handler_did_not_foresee(op: str, logged: type[Exception]) -> None:
    with MemoryServer([Faulty(), Echo()]) as memory:
        client = memory.connect()
        with pytest.raises(InternalError) as caught:
            memory.run(client.call(f"faulty.{op}"))
        assert "secret" not in str(caught.value)
        (failure,) = memory.take_failures()
        assert isinstance(failure, logged)
        assert memory.run(client.call("echo", body=b"alive")).body == b"alive"
