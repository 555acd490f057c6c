"""One end of a session against the other, with both ways in the hands of a test."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from twisted.internet.task import Clock

from sockserv.chat.ways import (
    MAX_AHEAD_BYTES,
    MAX_AHEAD_LINES,
    STALL_SECONDS,
    BadRecord,
    TwoWays,
)

MAX_BYTES = 1156


class End:
    """One end, and what it has sent and heard."""

    def __init__(self, clock: Clock) -> None:
        self.by_connection: deque[bytes] = deque()
        self.by_datagrams: deque[bytes] = deque()
        self.is_full = False
        self.is_closed = False
        self.wakings = 0
        self.ways: list[bool] = []
        self.lines = TwoWays(
            clock,
            to_connection=self.by_connection.append,
            wake=self._wake,
            on_way=lambda by_datagrams, why: self.ways.append(by_datagrams),
        )
        self.lines.use(self)

    def _wake(self) -> None:
        self.wakings += 1

    # The datagrams

    @property
    def max_bytes(self) -> int:
        return MAX_BYTES

    def send(self, record: bytes) -> bool:
        if self.is_full:
            return False
        self.by_datagrams.append(record)
        return True

    def close(self) -> None:
        self.is_closed = True

    def heard(self) -> list[bytes]:
        found = []
        while (line := self.lines.next_line()) is not None:
            found.append(line)
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def end(clock: Clock) -> End:
    return End(clock)


class TestWhichWay:
    def test_the_connection_until_datagrams_get_through(self, end: End) -> None:
        end.lines.send(b"one")
        end.lines.opened()
        end.lines.send(b"two")
        assert [*end.by_connection] == [b"1 0 one"]
        assert [*end.by_datagrams] == [b"2 0 two"]
        assert end.ways == [True]

    @pytest.mark.parametrize(("size", "way"), [(1152, "by_datagrams"), (1153, "by_connection")])
    def test_what_is_too_long_for_a_datagram(self, end: End, size: int, way: str) -> None:
        end.lines.opened()
        end.lines.send(b"x" * size)
        assert len(getattr(end, way)) == 1

    def test_a_queue_that_is_full(self, end: End) -> None:
        end.lines.opened()
        end.is_full = True
        end.lines.send(b"one")
        assert [*end.by_connection] == [b"1 0 one"]

    def test_nothing_arrives(self, end: End, clock: Clock) -> None:
        end.lines.opened()
        end.lines.send(b"one")
        clock.advance(STALL_SECONDS / 2)
        end.lines.send(b"two")
        clock.advance(STALL_SECONDS / 2)
        assert [*end.by_connection] == [b"1 0 one", b"2 0 two"]
        end.lines.send(b"three")
        assert end.by_connection[-1] == b"3 0 three"
        end.lines.acknowledged(b"1 0 one")
        end.lines.send(b"four")
        assert end.by_datagrams[-1] == b"4 0 four"
        assert end.ways == [True, False, True]

    def test_what_arrives_in_time(self, end: End, clock: Clock) -> None:
        end.lines.opened()
        end.lines.send(b"one")
        clock.advance(STALL_SECONDS * 0.9)
        end.lines.acknowledged(b"1 0 one")
        end.lines.send(b"two")
        clock.advance(STALL_SECONDS * 0.9)
        end.lines.take_record(b"0 2 ")
        clock.advance(STALL_SECONDS)
        assert not end.by_connection
        assert not clock.getDelayedCalls()

    def test_datagrams_end(self, end: End) -> None:
        end.lines.opened()
        end.lines.send(b"one")
        end.lines.send(b"two")
        end.lines.undelivered(b"1 0 one")
        end.lines.ended("the path is lost")
        end.lines.send(b"three")
        assert [*end.by_connection] == [b"1 0 one", b"2 0 two", b"3 0 three"]
        end.lines.acknowledged(b"2 0 two")
        assert not end.lines.goes_by_datagrams

    def test_what_waits_behind_a_gap(self, end: End) -> None:
        """The other end has it, but its datagrams end before they may hand it on."""
        end.lines.opened()
        for line in (b"one", b"two", b"three"):
            end.lines.send(line)
        end.lines.acknowledged(b"1 0 one")
        end.lines.acknowledged(b"3 0 three")
        end.lines.undelivered(b"2 0 two")
        end.lines.ended("the path is lost")
        assert [*end.by_connection] == [b"2 0 two", b"3 0 three"]

    def test_closing(self, end: End, clock: Clock) -> None:
        end.lines.opened()
        end.lines.send(b"one")
        end.lines.close()
        end.lines.ended("closed")
        assert end.is_closed
        assert not end.by_connection
        assert not clock.getDelayedCalls()


class TestOrder:
    def test_what_comes_too_early_and_twice(self, end: End) -> None:
        for record in (b"2 0 two", b"3 0 three", b"2 0 two"):
            end.lines.received(record)
        assert (end.heard(), end.wakings) == ([], 0)
        end.lines.take_record(b"1 0 one")
        end.lines.received(b"1 0 one")
        assert (end.heard(), end.wakings) == ([b"one", b"two", b"three"], 1)

    @pytest.mark.parametrize("seed", range(12))
    def test_two_ends_and_any_weather(self, clock: Clock, seed: int) -> None:
        """Each way keeps its order, as both do; datagrams may be lost until they end, and any line may be long."""
        random = Random(seed)
        ends = End(clock), End(clock)
        sent: tuple[list[bytes], list[bytes]] = ([], [])
        heard: tuple[list[bytes], list[bytes]] = ([], [])
        for end in ends:
            end.lines.opened()
        for _ in range(6000):
            who = random.randrange(2)
            me, other = ends[who], ends[1 - who]
            match random.choices(range(7), (30, 20, 20, 10, 2, 10, 1))[0]:
                case 0:
                    line = b"%d %b" % (len(sent[who]), b"x" * random.choice((0, 10, 2000, 60_000)))
                    sent[who].append(line)
                    me.lines.send(line)
                case 1 if me.by_connection:
                    other.lines.take_record(me.by_connection.popleft())
                case 2 if me.by_datagrams and not me.is_closed:
                    record = me.by_datagrams.popleft()
                    other.lines.received(record)
                    me.lines.acknowledged(record)
                case 3:
                    heard[1 - who].extend(me.heard())
                case 4:
                    clock.advance(random.random())
                case 5:
                    me.is_full = not me.is_full
                case 6 if random.random() < 0.05:
                    me.is_closed = True
                    for record in me.by_datagrams:
                        me.lines.undelivered(record)
                    me.lines.ended("the path is lost")
            assert len(me.lines._ahead) + len(me.lines._received) <= MAX_AHEAD_LINES
        while any(end.by_connection or end.by_datagrams or end.lines.has_more for end in ends):
            for who in range(2):
                me, other = ends[who], ends[1 - who]
                if me.by_connection:
                    other.lines.take_record(me.by_connection.popleft())
                if me.by_datagrams:
                    record = me.by_datagrams.popleft()
                    if not me.is_closed:
                        other.lines.received(record)
                        me.lines.acknowledged(record)
                heard[1 - who].extend(me.heard())
        assert heard == sent


class TestBounds:
    def test_no_more_lines_than_the_other_end_has_room_for(self, end: End) -> None:
        for number in range(MAX_AHEAD_LINES + 10):
            end.lines.send(b"%d" % number)
        assert (len(end.by_connection), end.lines.waiting) == (MAX_AHEAD_LINES, 10)
        end.lines.take_record(b"0 4 ")
        assert (len(end.by_connection), end.lines.waiting) == (MAX_AHEAD_LINES + 4, 6)

    def test_no_more_bytes(self, end: End) -> None:
        half = b"x" * (MAX_AHEAD_BYTES // 2)
        for _ in range(3):
            end.lines.send(half)
        assert end.lines.waiting == 1
        end.lines.send(b"x")
        assert end.lines.waiting == 2
        end.lines.take_record(b"0 1 ")
        assert end.lines.waiting == 1

    def test_who_takes_lines_says_so(self, end: End) -> None:
        for number in range(1, MAX_AHEAD_LINES // 4 + 1):
            assert not end.by_connection
            end.lines.take_record(b"%d 0 x" % number)
            end.heard()
        assert [*end.by_connection] == [b"0 %d " % (MAX_AHEAD_LINES // 4)]

    def test_the_last_line_that_may_come_early(self, end: End) -> None:
        end.lines.take_record(b"%d 0 x" % MAX_AHEAD_LINES)
        with pytest.raises(BadRecord, match="too early"):
            end.lines.take_record(b"%d 0 x" % (MAX_AHEAD_LINES + 1))

    def test_as_many_bytes_as_may_wait(self, end: End) -> None:
        end.lines.take_record(b"2 0 " + b"x" * MAX_AHEAD_BYTES)
        with pytest.raises(BadRecord, match="more than"):
            end.lines.take_record(b"3 0 x")

    @pytest.mark.parametrize(
        "record",
        [
            b"",
            b"1",
            b"1 0",
            b"1 0 ",
            b"0 0 x",
            b"x 0 x",
            b"1 x x",
            b"-1 0 x",
            b"1 1 x",
            b" 1 0 x",
            b"\xb2 0 x",
            b"1" * 17 + b" 0 x",
            b"1 " + b"0" * 17 + b" x",
            b'{"type":"say"}',
        ],
    )
    def test_what_is_no_record(self, end: End, record: bytes) -> None:
        with pytest.raises(BadRecord):
            end.lines.take_record(record)
        end.lines.received(record)
        assert end.wakings == 1
        with pytest.raises(BadRecord):
            end.lines.next_line()
