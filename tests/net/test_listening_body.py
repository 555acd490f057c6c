"""A body whose reader is told when there is news, and waits for nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from sockserv.errors import CallCancelled
from sockserv.net.body import Body
from sockserv.net.running import RunningCall


class Reader:
    """Takes all that there is whenever it is told."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.pieces: list[bytes] = []
        self.told = 0
        body.listen(self.on_news)

    def on_news(self) -> None:
        self.told += 1
        while (piece := self.body.next_piece()) is not None:
            self.pieces.append(piece)


def make_body() -> Body:
    peer = SimpleNamespace(consume=lambda call, count, keeps_up: None)
    return Body(cast(RunningCall, SimpleNamespace(is_receiving=True, is_ended=False, peer=peer)))


def arrive(body: Body, *pieces: bytes) -> None:
    for piece in pieces:
        body.feed(0, piece)
    body.wake()


def test_pieces_and_the_end() -> None:
    body = make_body()
    reader = Reader(body)
    arrive(body, b"a", b"b")
    arrive(body, b"c")
    assert (reader.pieces, reader.told, body.is_at_end) == ([b"a", b"b", b"c"], 2, False)
    assert body.taken_bytes == 3
    body.end()
    assert (reader.told, body.is_at_end) == (3, True)
    assert body.next_piece() is None


def test_what_came_before() -> None:
    body = make_body()
    arrive(body, b"early")
    reader = Reader(body)
    assert reader.told == 0
    reader.on_news()
    assert reader.pieces == [b"early"]


def test_the_end_is_after_the_last_piece() -> None:
    body = make_body()
    arrive(body, b"last")
    body.end()
    assert not body.is_at_end
    assert body.next_piece() == b"last"
    assert body.is_at_end


def test_what_it_fails_with_comes_after_the_last_piece() -> None:
    body = make_body()
    arrive(body, b"last")
    body.end(CallCancelled("the call was cancelled"))
    assert body.next_piece() == b"last"
    with pytest.raises(CallCancelled):
        body.next_piece()


def test_nobody_is_told_of_what_is_discarded() -> None:
    body = make_body()
    reader = Reader(body)
    body.discard()
    arrive(body, b"late")
    body.end()
    assert (reader.told, reader.pieces) == (0, [])
