"""What goes out, and in which order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sockserv.wire.calls import CallState
from sockserv.wire.messages import Data, Open, Ping, Reply
from sockserv.wire.outbox import Outbox
from tests.wire.sides import Frame, in_one_piece, split_frames

FRAME_BODY_BYTES = 1000
FAR_ABOVE_ALL_CREDIT = 10**9


def make_outbox(frame_body_bytes: int = FRAME_BODY_BYTES) -> Outbox:
    return Outbox(frame_body_bytes)


def make_call(number: int, credit: int = FAR_ABOVE_ALL_CREDIT) -> CallState:
    return CallState(number, credit, 0)


def take(outbox: Outbox) -> list[Frame]:
    """One turn; checks the accounts."""
    unsent = outbox.unsent_bytes
    taken = outbox.taken_bytes
    stream = in_one_piece(outbox.take())
    assert len(stream) >= unsent
    assert outbox.taken_bytes - taken == len(stream)
    assert outbox.unsent_bytes == 0
    return split_frames(stream)


def take_all(outbox: Outbox) -> list[Frame]:
    frames = []
    while not outbox.is_empty:
        frames += take(outbox)
    assert take(outbox) == []
    return frames


def put(outbox: Outbox, call: CallState, body: bytes, **fields: Any) -> bool:
    return outbox.put(call, Data(call.number, **fields), body)


def calls_of(frames: list[Frame]) -> list[int]:
    return [frame.header["call"] for frame in frames]


def test_nothing_to_send() -> None:
    outbox = make_outbox()
    assert outbox.is_empty
    assert outbox.take() == []


def test_a_small_answer_goes_at_once() -> None:
    outbox, call = make_outbox(), make_call(1, credit=5)
    assert outbox.put(call, Reply(1), b"hello")
    assert call.send_credit == 0
    assert outbox.unsent_bytes == 4 + len('{"type":"reply","call":1,"size":5}') + 5
    assert take(outbox) == [Frame({"type": "reply", "call": 1, "size": 5}, b"hello")]
    assert outbox.is_empty


@pytest.mark.parametrize("size", [1000, 1001])
def test_a_frame_is_no_larger_than_it_may_be(size: int) -> None:
    outbox, call = make_outbox(), make_call(1)
    assert put(outbox, call, bytes(size)) == (size == 1000)
    assert [len(frame.body) for frame in take(outbox)] == [1000, size - 1000][: size - 999]


@pytest.mark.parametrize("credit", [0, 1, 999, 2500])
def test_no_more_is_sent_than_the_credit_allows(credit: int) -> None:
    outbox, call = make_outbox(), make_call(1, credit)
    put(outbox, call, bytes(3000), end=True)
    assert sum(len(frame.body) for frame in take_all(outbox)) == credit
    assert (call.send_credit, call.queued_bytes) == (0, 3000 - credit)
    outbox.add_credit(call, 1)
    (frame,) = take_all(outbox)
    assert frame == Frame({"type": "data", "call": 1, "size": 1}, b"\0")
    outbox.add_credit(call, 3000)
    *_, last = take_all(outbox)
    assert last.header["end"] is True
    assert call.queued_bytes == 0


def test_an_end_needs_no_credit() -> None:
    outbox, call = make_outbox(), make_call(1, credit=0)
    assert put(outbox, call, b"", end=True)
    other = make_call(3, credit=2)
    put(outbox, other, b"abc")
    put(outbox, other, b"", end=True)
    assert [frame.body for frame in take_all(outbox)] == [b"", b"ab"]
    outbox.add_credit(other, 1)
    assert take_all(outbox) == [
        Frame({"type": "data", "call": 3, "size": 1}, b"c"),
        Frame({"type": "data", "call": 3, "end": True}),
    ]


def test_calls_take_turns() -> None:
    outbox = make_outbox()
    for number in (1, 3, 5):
        put(outbox, make_call(number), bytes(5000))
    assert calls_of(take_all(outbox)) == [1, 3, 5] * 5


def test_turns_go_on_from_one_take_to_the_next() -> None:
    outbox = make_outbox(100_000)
    for number in (1, 3, 5):
        put(outbox, make_call(number), bytes(400_000))
    turns = [calls_of(take(outbox)) for _ in range(4)]
    assert turns == [[1, 3, 5], [1, 3, 5], [1, 3, 5], [1, 3, 5]]
    outbox = make_outbox(200_000)
    for number in (1, 3, 5):
        put(outbox, make_call(number), bytes(400_000))
    assert [calls_of(take(outbox)) for _ in range(3)] == [[1, 3], [5, 1], [3, 5]]


def test_a_late_call_need_not_wait_for_the_others() -> None:
    outbox = make_outbox()
    put(outbox, make_call(1), bytes(1_000_000))
    take(outbox)
    put(outbox, make_call(3), bytes(2000))
    assert calls_of(take(outbox))[:4] == [1, 3, 1, 3]


def test_a_take_is_bounded() -> None:
    outbox = make_outbox(64 * 1024)
    put(outbox, make_call(1), bytes(10_000_000))
    for _ in range(3):
        assert 256 * 1024 <= len(in_one_piece(outbox.take())) < 330 * 1024


def test_control_messages_go_first() -> None:
    outbox = make_outbox()
    for number in (1, 3):
        put(outbox, make_call(number), bytes(5000))
    outbox.put_control(Ping(7))
    outbox.put_first(make_call(5), Open(5, "x"), b"abc")
    first, second, *rest = take_all(outbox)
    assert first == Frame({"type": "ping", "token": 7})
    assert second == Frame({"type": "open", "call": 5, "op": "x", "size": 3}, b"abc")
    assert calls_of(rest) == [1, 3] * 5


def test_a_small_answer_passes_bulk_while_little_is_waiting() -> None:
    outbox = make_outbox()
    put(outbox, make_call(1), bytes(5000))
    assert put(outbox, make_call(3), b"small")
    assert calls_of(take_all(outbox))[0] == 3


def test_small_answers_do_not_starve_bulk() -> None:
    """However many come in between, a call with a large body gets on with every take."""
    outbox = make_outbox(64 * 1024)
    bulk = make_call(1)
    put(outbox, bulk, bytes(2_000_000))
    for turn in range(6):
        for number in range(100):
            put(outbox, make_call(turn * 10_000 + 3 + 2 * number), bytes(1000))
        sent = take(outbox)
        of_bulk = sum(len(frame.body) for frame in sent if frame.header["call"] == 1)
        assert of_bulk >= 64 * 1024
        assert sum(len(frame.body) for frame in sent) < 400_000


def test_within_a_call_nothing_overtakes() -> None:
    outbox, call = make_outbox(), make_call(1, credit=1500)
    put(outbox, call, b"a" * 2000)
    assert not put(outbox, call, b"b", stream=3)
    assert not outbox.put(call, Reply(1), b"c")
    frames = take_all(outbox)
    outbox.add_credit(call, 10_000)
    frames += take_all(outbox)
    assert b"".join(frame.body for frame in frames) == b"a" * 2000 + b"bc"
    assert [frame.header["type"] for frame in frames] == ["data"] * (len(frames) - 1) + ["reply"]
    assert frames[-2].header["stream"] == 3
    assert outbox.ended == [call]


def test_a_stream_keeps_its_number_when_it_is_cut() -> None:
    outbox, call = make_outbox(), make_call(1)
    put(outbox, call, bytes(2500), stream=9, end=True)
    headers = [frame.header for frame in take_all(outbox)]
    assert [header["stream"] for header in headers] == [9, 9, 9]
    assert [header.get("end", False) for header in headers] == [False, False, True]


def test_what_is_dropped_is_not_sent() -> None:
    outbox, call, other = make_outbox(), make_call(1), make_call(3)
    put(outbox, call, bytes(5000))
    put(outbox, other, bytes(2000))
    outbox.drained = []
    outbox.drop(call)
    assert call.queued_bytes == 0
    assert outbox.drained == [call]
    assert calls_of(take_all(outbox)) == [3, 3]
    assert put(outbox, call, b"more")
    outbox.drop(call)
    assert calls_of(take_all(outbox)) == [1]


def test_whose_queue_has_shrunk() -> None:
    outbox = make_outbox()
    calls = [make_call(number) for number in (1, 3)]
    for call in calls:
        put(outbox, call, bytes(1500))
    take(outbox)
    assert {call.number for call in outbox.drained} == {1, 3}
    assert [call.queued_bytes for call in calls] == [0, 0]


def test_the_frames_shrink_to_what_the_peer_accepts() -> None:
    outbox, call = make_outbox(), make_call(1)
    outbox.limit_frames(10, 10)
    assert not put(outbox, call, bytes(25))
    assert [len(frame.body) for frame in take_all(outbox)] == [10, 10, 5]


def test_many_single_bytes_cost_one_pass() -> None:
    """A body that the peer takes a byte at a time is not copied each time."""
    outbox, call = make_outbox(), make_call(1, credit=0)
    body = bytes(range(256)) * 8
    put(outbox, call, body)
    received = b""
    for _ in range(len(body)):
        outbox.add_credit(call, 1)
        assert call.queue is not None
        waiting = call.queue[0].body
        assert isinstance(waiting, memoryview)
        assert waiting.obj is body
        received += b"".join(frame.body for frame in take_all(outbox))
    assert received == body


@pytest.mark.parametrize("seed", range(10))
def test_at_random(seed: int) -> None:
    """Whatever is put in comes out whole, in order, within its credit."""
    chance = random.Random(seed)
    outbox = make_outbox(chance.choice([1, 10, 1000]))
    calls = [make_call(number, chance.randrange(50)) for number in (1, 3, 5, 7)]
    given = {call.number: call.send_credit for call in calls}
    sent = {call.number: b"" for call in calls}
    received = dict(sent)

    def receive(frames: list[Frame]) -> None:
        for frame in frames:
            received[frame.header["call"]] += frame.body
        for number, body in received.items():
            assert len(body) <= given[number]
            assert sent[number].startswith(body)

    for _ in range(200):
        call = chance.choice(calls)
        match chance.randrange(3):
            case 0:
                body = chance.randbytes(chance.choice([0, 1, 30]))
                put(outbox, call, body)
                sent[call.number] += body
            case 1:
                more = chance.randrange(1, 40)
                given[call.number] += more
                outbox.add_credit(call, more)
            case _:
                receive(take(outbox))
    for call in calls:
        given[call.number] += FAR_ABOVE_ALL_CREDIT
        outbox.add_credit(call, FAR_ABOVE_ALL_CREDIT)
    receive(take_all(outbox))
    assert received == sent
