"""Flow control: who sends more than the other takes waits, and nobody else does."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater

from sockserv.client import OutgoingCall
from sockserv.errors import CallEnded, InternalError
from sockserv.limits import Limits
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import OWNER, Link, MemoryServer, RandomSizes
from tests.net.probe import Probe, frames_of, open_frame

WINDOW = 10_000
TIGHT = Limits(window_bytes=WINDOW, send_buffer_bytes=WINDOW, frame_body_bytes=1000)


class Sender:
    """Sends pieces in a call for ever; `sent_bytes` is what `send` has taken."""

    def __init__(self, call: OutgoingCall, piece: bytes = bytes(500)) -> None:
        self.sent_bytes = 0
        self.done = Deferred.fromCoroutine(self._send(call, piece))

    async def _send(self, call: OutgoingCall, piece: bytes) -> None:
        while True:
            await call.send(piece)
            self.sent_bytes += len(piece)


# Slow readers


def test_a_handler_that_does_not_read_pauses_the_caller() -> None:
    probe = Probe()
    link = Link()
    with MemoryServer([probe], limits=TIGHT) as memory:
        client = memory.connect(link=link, limits=TIGHT)
        call = memory.run(client.open("probe.hold"))
        sender = Sender(call)
        memory.flush()
        # A window at the server, and a buffer here.
        at_rest = sender.sent_bytes
        assert WINDOW < at_rest <= 2 * WINDOW
        assert link.to_server.delivered_bytes < WINDOW + 2000
        read = 0
        while sender.sent_bytes == at_rest:
            read += memory.run(_read(probe.calls[0]))
            memory.flush()
        # Credit comes by halves of a window, and a sender goes on when half of its buffer is free.
        assert WINDOW / 2 <= read <= 1.5 * WINDOW
        assert sender.sent_bytes <= at_rest + read + 500
        sender.done.addErrback(lambda failure: None)


async def _read(call: Call[Any]) -> int:
    return len(await anext(aiter(call.body)))


def test_a_caller_that_does_not_read_pauses_the_handler() -> None:
    link = Link()
    with MemoryServer([Probe()], limits=TIGHT) as memory:
        client = memory.connect(link=link, limits=TIGHT)
        call = memory.run(client.open("probe.flood"))
        memory.flush()
        before = link.to_client.delivered_bytes
        assert WINDOW < before < WINDOW + 2000
        received = len(memory.read(call, enough_bytes=3 * WINDOW))
        memory.flush()
        assert received >= 3 * WINDOW
        assert link.to_client.delivered_bytes - before <= received + 3 * WINDOW
        call.cancel()


def test_a_stalled_network_pauses_the_handler_within_its_buffers() -> None:
    link = Link(buffer_bytes=1000)
    probe = Probe()
    with MemoryServer([probe]) as memory:
        client = memory.connect(link=link)
        link.to_client.stall()
        call = memory.run(client.open("probe.flood"))
        memory.flush()
        # What was handed to the transport at once, and the buffer of the call.
        assert link.to_client.waiting_bytes <= 512 * 1024
        link.to_client.resume()
        memory.flush()
        assert len(memory.read(call, enough_bytes=600_000)) >= 600_000
        call.cancel()


def test_others_are_served_while_one_is_not_read() -> None:
    with MemoryServer([Probe(), Echo()], limits=TIGHT) as memory:
        client = memory.connect(limits=TIGHT)
        memory.run(client.open("probe.flood"))
        memory.flush()
        for _ in range(3):
            assert memory.run(client.call("echo", body=bytes(3 * WINDOW))).body == bytes(3 * WINDOW)
        memory.run(client.ping())


# Both at once


@pytest.mark.parametrize("buffer_bytes", [1, 5000])
@pytest.mark.parametrize("fragments", [None, RandomSizes(3, 700)])
def test_two_that_flood_each_other_and_do_not_read(buffer_bytes: int, fragments: Any) -> None:
    """Neither hangs: both still hear of the other, and stop at their windows."""
    link = Link(buffer_bytes=buffer_bytes, fragments=fragments)
    with MemoryServer([Probe(), Echo()], limits=TIGHT) as memory:
        client = memory.connect(link=link, limits=TIGHT)
        calls = [memory.run(client.open("probe.flood")) for _ in range(5)]
        senders = [Sender(call) for call in calls]
        memory.flush()
        assert all(WINDOW < sender.sent_bytes <= 2 * WINDOW for sender in senders)
        memory.run(client.ping())
        assert memory.run(client.call("echo", body=b"still here")).body == b"still here"
        for call, sender in zip(calls, senders, strict=True):
            sender.done.addErrback(lambda failure: None)
            call.cancel()
        memory.flush()
        memory.run(client.ping())


def test_a_megabyte_each_way_through_a_narrow_link() -> None:
    body = bytes(range(256)) * 4096
    link = Link(buffer_bytes=1000)
    with MemoryServer([Echo()], limits=TIGHT) as memory:
        client = memory.connect(link=link, limits=TIGHT)
        replies = [client.call("echo", body=body) for _ in range(3)]
        assert [reply.body == body for reply in memory.run(gatherResults(replies))] == [True] * 3


# Turns


def test_streams_take_turns() -> None:
    limits = Limits(frame_body_bytes=1000)
    with MemoryServer([Probe()], limits=limits) as memory:
        raw = memory.connect_raw(OWNER)
        for number in (3, 5, 7):
            raw.send(open_frame(number, "probe.flood", args={"piece_bytes": 9000}, end=True))
        memory.flush()
        order = [frame["call"] for frame in raw.take_frames() if frame.body]
        rounds = order[order.index(7) :]
        assert rounds[:150] == [7, 3, 5] * 50


def test_a_small_answer_does_not_wait_for_a_large_one() -> None:
    link = Link(buffer_bytes=1000)
    with MemoryServer([Probe(), Echo()]) as memory:
        client = memory.connect(link=link)
        memory.run(client.open("probe.flood"))
        memory.run(client.open("probe.flood"))
        link.to_client.stall()
        memory.flush()
        small = client.call("echo", body=b"small")
        memory.flush()
        waiting = link.to_client.waiting_bytes
        before = link.to_client.delivered_bytes
        link.to_client.resume()
        memory.run(small)
        assert link.to_client.delivered_bytes - before <= waiting + 256 * 1024


# How answers are framed


@attrs.frozen
class Pieces:
    sizes: list[int]
    wait: bool = False
    result: str | None = None


class Framed(Service):
    @operation("framed", args=Pieces, permission="framed")
    async def framed(self, call: Call[Pieces]) -> str | None:
        for size in call.args.sizes:
            await call.send(bytes(size))
            if call.args.wait:
                await deferLater(call.clock, 1.0)
        return call.args.result

    @operation("framed.last", args=Pieces, permission="framed")
    def last(self, call: Call[Pieces]) -> str | None:
        for size in call.args.sizes:
            call.send_last(bytes(size))
        return call.args.result


@pytest.mark.parametrize(
    ("op", "args", "expected"),
    [
        ("framed", {"sizes": []}, [("reply", 0)]),
        ("framed", {"sizes": [10], "result": "r"}, [("reply", 10)]),
        ("framed", {"sizes": [10, 20]}, [("data", 10), ("reply", 20)]),
        ("framed", {"sizes": [0, 20]}, [("reply", 20)]),
        ("framed", {"sizes": [16_384]}, [("reply", 16_384)]),
        ("framed", {"sizes": [16_385]}, [("data", 16_385), ("reply", 0)]),
        ("framed", {"sizes": [10, 16_385]}, [("data", 10), ("data", 16_385), ("reply", 0)]),
        ("framed", {"sizes": [10], "wait": True}, [("data", 10), ("reply", 0)]),
        ("framed.last", {"sizes": [10, 70_000]}, [("data", 10), ("data", 65_536), ("reply", 4464)]),
    ],
)
def test_the_last_small_piece_rides_with_the_reply(
    op: str, args: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    with MemoryServer([Framed()]) as memory:
        raw = memory.connect_raw()
        raw.send_hello(max_header_bytes=4096, window_bytes=1_000_000, max_body_bytes=1_000_000)
        raw.send(open_frame(1, "auth.token", args={"token": memory.token_of(OWNER)}, end=True))
        raw.send(open_frame(3, op, args=args, end=True))
        memory.advance(2.0)
        assert frames_of(memory, raw, 3) == expected


def test_a_piece_goes_out_when_the_handler_waits() -> None:
    with MemoryServer([Framed()]) as memory:
        raw = memory.connect_raw(OWNER)
        raw.send(open_frame(3, "framed", args={"sizes": [10, 20], "wait": True}, end=True))
        assert frames_of(memory, raw, 3) == [("data", 10)]
        memory.advance(1.0)
        assert frames_of(memory, raw, 3) == [("data", 20)]
        memory.advance(1.0)
        assert frames_of(memory, raw, 3) == [("reply", 0)]


# More than one in the same call


class Crowd(Service):
    """Several coroutines send in one call, each on a stream of its own."""

    @operation("crowd", permission="crowd")
    async def crowd(self, call: Call[Any]) -> None:
        await DeferredList(
            [Deferred.fromCoroutine(self._send(call, stream)) for stream in range(4)]
        )

    async def _send(self, call: Call[Any], stream: int) -> None:
        for number in range(200):
            await call.send(b"%03d " % number * 100, stream=stream)


def test_several_senders_wait_and_keep_their_order() -> None:
    with MemoryServer([Crowd()], limits=TIGHT) as memory:
        client = memory.connect(limits=TIGHT)
        call = memory.run(client.open("crowd"))

        async def read() -> dict[int, bytes]:
            streams = dict.fromkeys(range(4), b"")
            while (taken := await call.body.take()) is not None:
                streams[taken[0]] += taken[1]
            return streams

        expected = b"".join(b"%03d " % number * 100 for number in range(200))
        assert memory.run(read()) == dict.fromkeys(range(4), expected)


def test_the_caller_has_streams_too() -> None:
    class Sorter(Service):
        @operation("sort", permission="sort")
        async def sort(self, call: Call[Any]) -> dict[int, str]:
            found: dict[int, str] = {}
            while (taken := await call.body.take()) is not None:
                found[taken[0]] = found.get(taken[0], "") + taken[1].decode()
            return found

    with MemoryServer([Sorter()]) as memory:
        call = memory.run(memory.connect().open("sort"))
        for stream, text in ((0, b"in"), (255, b"last"), (0, b"put")):
            memory.run(call.send(text, stream=stream))
        call.end()
        assert memory.run(call.result(dict[int, str])) == {0: "input", 255: "last"}


def test_a_body_has_one_reader() -> None:
    class Two(Service):
        @operation("two", permission="two")
        async def two(self, call: Call[Any]) -> None:
            await gatherResults(
                [Deferred.fromCoroutine(call.body.read(max_bytes=9)) for _ in range(2)],
                consumeErrors=True,
            )

    with MemoryServer([Two()]) as memory:
        call = memory.run(memory.connect().open("two"))
        memory.flush()
        with pytest.raises(InternalError):
            memory.run(call.raw_result())
        (failure,) = memory.take_failures()
        assert "one reader at a time" in str(failure.subFailure.value)  # type: ignore[attr-defined]


# When answers go out


class Late(Service):
    """Answers after a while."""

    @operation("late.coroutine", permission="late")
    async def coroutine(self, call: Call[Any]) -> str:
        await deferLater(call.clock, 1.0)
        return "late"

    @operation("late.deferred", permission="late")
    def deferred(self, call: Call[Any]) -> Deferred[str]:
        return deferLater(call.clock, 1.0, lambda: "late")


@pytest.mark.parametrize("op", ["late.coroutine", "late.deferred"])
def test_an_answer_goes_out_when_it_is_there(op: str) -> None:
    """Not only with the next delivery."""
    with MemoryServer([Late()]) as memory:
        client = memory.connect()
        assert memory.run(client.call(op), max_seconds=1.0).result == "late"
        assert memory.clock.seconds() == 1.0


class Detached(Service):
    """Sends from outside of its handler, and for ever."""

    def __init__(self) -> None:
        self.sent = 0
        self.failure: Exception | None = None

    @operation("detached.send", permission="detached")
    async def send(self, call: Call[Any]) -> None:
        Deferred.fromCoroutine(self._send_on(call))
        await Deferred()

    async def _send_on(self, call: Call[Any]) -> None:
        try:
            while True:
                await call.send(bytes(1000))
                self.sent += 1000
        except CallEnded as error:
            self.failure = error


@pytest.mark.parametrize("end", ["cancel", "deadline", "cut"])
def test_a_stream_without_end_comes_to_one_with_its_call(end: str) -> None:
    service = Detached()
    link = Link()
    with MemoryServer([service]) as memory:
        client = memory.connect(link=link)
        call = memory.run(client.open("detached.send", timeout_seconds=5.0))
        memory.flush()
        assert service.sent > 0
        assert service.failure is None
        if end == "cancel":
            call.cancel()
        elif end == "cut":
            link.cut()
        memory.advance(5.0 if end == "deadline" else 0.0)
        assert "nobody waits for the answer" in str(service.failure)
