"""Windows that grow, and pieces of files among what waits to be sent."""

from __future__ import annotations

from sockserv.limits import Limits
from sockserv.wire.calls import CallState, FileSpan
from sockserv.wire.connection import Connection, Role
from tests.wire.sides import in_one_piece, split_frames


class TestGrowth:
    """A window grows for who keeps up, as far as there is something left."""

    def windows(self, limits: Limits, *consumed: tuple[int, bool]) -> list[int]:
        """The credit that is given for what is consumed in one call, in its turn."""
        connection = Connection(Role.SERVER, limits)
        call = CallState(1, 0, 0)
        connection.calls.incoming[1] = call
        given = []
        for count, keeps_up in consumed:
            if connection.consume(call, count, keeps_up=keeps_up):
                given.append(call.receive_credit)
                call.receive_credit = 0
        return given

    def test_it_doubles_twice(self) -> None:
        limits = Limits(window_bytes=1000, window_growth_bytes=10_000)
        given = self.windows(limits, (500, True), (1000, True), (2000, True), (4000, True))
        assert given == [500 + 1000, 1000 + 2000, 2000, 4000]

    def test_not_for_who_does_not_keep_up(self) -> None:
        limits = Limits(window_bytes=1000, window_growth_bytes=10_000)
        assert self.windows(limits, (500, False), (500, False)) == [500, 500]

    def test_only_as_far_as_there_is_something_left(self) -> None:
        limits = Limits(window_bytes=1000, window_growth_bytes=700)
        assert self.windows(limits, (500, True), (850, True), (850, True)) == [1200, 850, 850]

    def test_credit_is_given_by_halves_of_the_grown_window(self) -> None:
        limits = Limits(window_bytes=1000, window_growth_bytes=1000)
        assert self.windows(limits, (500, True), (500, True), (499, True), (1, True)) == [
            1500,
            1000,
        ]


def test_what_is_lost_before_an_answer_fails_the_call() -> None:
    connection = Connection(Role.SERVER, Limits())
    call = CallState(1, 10**6, 0)
    connection.calls.incoming[1] = call
    connection.send(call, FileSpan("a file", 0, 100_000))
    connection.reply(call)
    assert connection.calls.incoming
    connection.drop_unsent(call)
    assert not connection.calls.incoming
    (error,) = split_frames(in_one_piece(connection.data_to_send()))
    assert (error.header["type"], error.header["code"]) == ("error", "internal")
    assert connection.take_drained() == [call, call]


def test_what_is_lost_before_there_is_an_answer_is_the_senders_affair() -> None:
    connection = Connection(Role.SERVER, Limits())
    call = CallState(1, 10**6, 0)
    connection.calls.incoming[1] = call
    connection.send(call, FileSpan("a file", 0, 100_000))
    connection.drop_unsent(call)
    assert not call.is_ended
    assert connection.data_to_send() == []
    assert call in connection.take_drained()


class TestSpans:
    """A piece of a file stands among the bytes that wait, and has its turn like them."""

    def test_its_frames_are_larger(self) -> None:
        connection = Connection(Role.SERVER, Limits(frame_body_bytes=100))
        call = CallState(1, 10**6, 0)
        connection.calls.incoming[1] = call
        connection._outbox.limit_frames(100, 10_000)
        connection.send(call, FileSpan("a file", 7, 5000))
        spans = [part for part in connection.data_to_send() if isinstance(part, FileSpan)]
        assert {len(span) for span in spans[:-1]} == {1600}
        assert [span.offset for span in spans] == list(range(7, 5007, 1600))
        assert sum(map(len, spans)) == 5000

    def test_they_are_no_larger_than_the_peer_takes(self) -> None:
        connection = Connection(Role.SERVER, Limits())
        call = CallState(1, 10**6, 0)
        connection.calls.incoming[1] = call
        connection._outbox.limit_frames(65536, 70_000)
        connection.send(call, FileSpan("a file", 0, 200_000))
        spans = [part for part in connection.data_to_send() if isinstance(part, FileSpan)]
        assert max(map(len, spans)) == 70_000

    def test_they_wait_for_credit(self) -> None:
        connection = Connection(Role.SERVER, Limits())
        call = CallState(1, 1000, 0)
        connection.calls.incoming[1] = call
        connection.send(call, FileSpan("a file", 0, 200_000))
        assert [len(part) for part in connection.data_to_send()][1:] == [1000]
        assert connection.data_to_send() == []
