"""What waits in a body costs little more than its bytes, however they came."""

from __future__ import annotations

from collections.abc import Coroutine
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sockserv.net.body import Body
from sockserv.net.running import RunningCall

WINDOW_BYTES = 32 * 1024


def now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that has nothing to wait for."""
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return stop.value.value


def make_body() -> Body:
    peer = SimpleNamespace(consume=lambda call, count, keeps_up: None)
    return Body(cast(RunningCall, SimpleNamespace(is_receiving=True, is_ended=False, peer=peer)))


def take_all(body: Body) -> list[tuple[int, bytes]]:
    taken = []
    while (piece := now(body.take())) is not None:
        taken.append(piece)
    return taken


def by_stream(pieces: list[tuple[int, bytes]]) -> dict[int, bytes]:
    streams: dict[int, bytes] = {}
    for stream, piece in pieces:
        streams[stream] = streams.get(stream, b"") + piece
    return streams


def as_one(count: int) -> int:
    return 0


def two_in_turn(count: int) -> int:
    return count % 2


def all_in_turn(count: int) -> int:
    return count % 256


@pytest.mark.parametrize("stream_of", [as_one, two_in_turn, all_in_turn])
def test_a_window_of_single_bytes(stream_of: Any) -> None:
    body = make_body()
    sent = [(stream_of(count), bytes([count % 251])) for count in range(WINDOW_BYTES)]
    for stream, piece in sent:
        body.feed(stream, piece)
    body.end()
    taken = take_all(body)
    assert len(taken) < 550
    assert by_stream(taken) == by_stream(sent)


def test_the_order_between_streams_is_kept_while_few_pieces_wait() -> None:
    body = make_body()
    sent = [(count % 3, b"%d" % count) for count in range(200)]
    for stream, piece in sent:
        body.feed(stream, piece)
    body.end()
    assert take_all(body) == sent


@pytest.mark.parametrize("seed", range(8))
def test_the_order_within_a_stream_is_always_kept(seed: int) -> None:
    random = Random(seed)
    body = make_body()
    sent: list[tuple[int, bytes]] = []
    taken: list[tuple[int, bytes]] = []
    waiting = 0
    for _ in range(700):
        if waiting and random.random() < 0.3:
            piece = now(body.take())
            waiting -= len(piece[1])
            taken.append(piece)
        else:
            sent.append(
                (random.choice((0, 0, 1, 7)), random.randbytes(random.choice((1, 3, 5000))))
            )
            waiting += len(sent[-1][1])
            body.feed(*sent[-1])
    body.end()
    assert by_stream(taken + take_all(body)) == by_stream(sent)


def test_a_view_is_given_to_nobody_who_has_not_asked_for_it() -> None:
    view = memoryview(b"much of what has come " * 300)
    body = make_body()
    for stream in (0, 1, 0, 0, 1, 0):
        body.feed(stream, view)
    body.listen(lambda: None)
    assert now(body.take_view())[1] is view
    taken = [now(body.take())[1], now(body.__anext__()), body.next_piece()]
    taken += [piece for _, piece in now(body.take_all())]
    assert taken == [bytes(view)] * 5
    assert [type(piece) for piece in taken] == [bytes] * 5
    poured: list[tuple[int, bytes]] = []
    body.pour(lambda stream, piece: poured.append((stream, piece)))
    body.feed(3, view)
    assert poured == [(3, bytes(view))]
    assert isinstance(poured[0][1], bytes)
