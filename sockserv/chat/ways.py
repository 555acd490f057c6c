"""The lines of one end of a session that goes by two ways: by datagrams where these get through, else over the
connection.

A line goes in a **record**, which is the same on either way: its number in the session, how many lines of the other
end were taken, and the line, apart by spaces: `17 5 {"type":"say",...}`. The number 0 is for a record that only says
what was taken.

Invariants:

1. Each line is handed on once, in the order in which it was sent, whatever way its record came, and if it came by both.
2. A line that datagrams may not have brought, or only behind a gap, goes over the connection, too: at once when they
   end, and after `STALL_SECONDS`.
3. No more than `MAX_AHEAD_LINES`, or `MAX_AHEAD_BYTES`, are sent that the other end has not taken: nobody has to keep
   more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

__all__ = [
    "MAX_AHEAD_BYTES",
    "MAX_AHEAD_LINES",
    "STALL_SECONDS",
    "BadRecord",
    "Clock",
    "DatagramWay",
    "TwoWays",
]

MAX_AHEAD_LINES: Final = 256
MAX_AHEAD_BYTES: Final = 1024 * 1024
"""Of lines, without their numbers. One line alone may be longer."""

STALL_SECONDS: Final = 1.0
"""A line that no datagram has brought by then goes over the connection as well, as all further ones do until datagrams
get through again.
"""

_MOST_DIGITS: Final = 16


class BadRecord(ValueError):
    """The other end sends what it must not; the session cannot go on."""


class Clock(Protocol):
    """What measures time: a reactor does."""

    def seconds(self) -> float:
        """The time."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Any:
        """Call something later."""


class DatagramWay(Protocol):
    """A session of datagrams, which tells what happens to a `TwoWays`."""

    @property
    def max_bytes(self) -> int:
        """The longest record that it takes."""

    def send(self, record: bytes) -> bool:
        """Send a record, in the order of sending; False if none is taken now."""

    def close(self) -> None:
        """End it."""


@attrs.define
class _Sent:
    """A line that went by datagrams, and when."""

    line: bytes
    since: float
    has_arrived: bool = False


class TwoWays:
    """One end of a session.

    `to_connection` takes records for the connection, which keeps their order. `wake` is called when `next_line` has
    something new, which may be an error. `on_way` is told whenever lines go another way: whether it is by datagrams,
    and why.
    """

    # Of lists, which are short: an empty deque has most of a KiB, and thousands of sessions are idle.
    __slots__ = (
        "_ahead",
        "_by_datagrams",
        "_clock",
        "_datagrams",
        "_failure",
        "_is_fast",
        "_kept_bytes",
        "_last",
        "_next",
        "_on_way",
        "_queue",
        "_received",
        "_taken",
        "_timer",
        "_to_connection",
        "_told",
        "_untaken",
        "_untaken_bytes",
        "_untold_bytes",
        "_wake",
        "is_complete",
    )

    def __init__(
        self,
        clock: Clock,
        *,
        to_connection: Callable[[bytes], None],
        wake: Callable[[], None],
        on_way: Callable[[bool, str], None] = lambda by_datagrams, why: None,
    ) -> None:
        self._clock = clock
        self._to_connection = to_connection
        self._wake = wake
        self._on_way = on_way
        self._datagrams: DatagramWay | None = None
        self._is_fast = False
        self._timer: Any = None
        # What goes out.
        self._queue: list[bytes] = []
        self._last = 0
        self._untaken: list[tuple[int, int]] = []
        self._untaken_bytes = 0
        self._by_datagrams: dict[int, _Sent] = {}
        """What datagrams are to bring, by number, from the first on that is not acknowledged. Those behind it may have
        arrived, but wait there for one before them, as the stream of datagrams has an order.
        """
        # What comes in.
        self._received: list[bytes] = []
        self._failure: Exception | None = None
        self.is_complete = False
        """Whether no more comes."""
        self._next = 1
        self._ahead: dict[int, bytes] = {}
        self._taken = 0
        self._kept_bytes = 0
        """Of lines that have come, and were not taken."""
        self._told = 0
        self._untold_bytes = 0

    @property
    def waiting(self) -> int:
        """How many lines have not gone by either way."""
        return len(self._queue)

    @property
    def goes_by_datagrams(self) -> bool:
        """Whether the next line does, if it is not too long."""
        return self._is_fast

    def use(self, datagrams: DatagramWay) -> None:
        """Use these from when they are open on."""
        self._datagrams = datagrams

    def close(self) -> None:
        """End the session: nothing more is handed on."""
        datagrams, self._datagrams = self._datagrams, None
        self._is_fast = False
        self._by_datagrams.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if datagrams is not None:
            datagrams.close()

    # What goes out

    def send(self, line: bytes) -> None:
        """Send a line, as soon as the other end has taken enough of those before."""
        self._queue.append(line)
        self._flush()

    def _flush(self) -> None:
        queue = self._queue
        while queue and (
            not self._untaken
            or (
                len(self._untaken) < MAX_AHEAD_LINES
                and self._untaken_bytes + len(queue[0]) <= MAX_AHEAD_BYTES
            )
        ):
            line = queue.pop(0)
            self._last += 1
            self._untaken.append((self._last, len(line)))
            self._untaken_bytes += len(line)
            self._give(self._last, line)

    def _give(self, number: int, line: bytes) -> None:
        record = self._record(number, line)
        datagrams = self._datagrams
        if (
            self._is_fast
            and datagrams is not None
            and len(record) <= datagrams.max_bytes
            and datagrams.send(record)
        ):
            self._by_datagrams[number] = _Sent(line, self._clock.seconds())
            if self._timer is None:
                self._timer = self._clock.callLater(STALL_SECONDS, self._check)
        else:
            self._to_connection(record)

    def _record(self, number: int, line: bytes) -> bytes:
        self._told = self._taken
        self._untold_bytes = 0
        return b"%d %d %b" % (number, self._taken, line)

    def _check(self) -> None:
        """Some time has passed: look whether the datagrams that were sent have arrived."""
        self._timer = None
        if not self._by_datagrams:
            return
        first = next(iter(self._by_datagrams.values()))
        left = first.since + STALL_SECONDS - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._check)
        else:
            self._slow_down("datagrams do not arrive")

    def _slow_down(self, why: str) -> None:
        was_fast, self._is_fast = self._is_fast, False
        again, self._by_datagrams = self._by_datagrams, {}
        for number, sent in again.items():
            self._to_connection(self._record(number, sent.line))
        if was_fast:
            self._on_way(False, why)

    # What the datagrams tell

    def opened(self) -> None:
        """Datagrams get through."""
        self._speed_up()

    def acknowledged(self, record: bytes) -> None:
        """A datagram has brought a record of ours."""
        sent = self._by_datagrams.get(_number_of(record))
        if sent is not None:
            sent.has_arrived = True
            self._forget_arrived()
        self._speed_up()

    def _forget_arrived(self) -> None:
        arrived = []
        for number, sent in self._by_datagrams.items():
            if not sent.has_arrived:
                break
            arrived.append(number)
        for number in arrived:
            del self._by_datagrams[number]

    def undelivered(self, record: bytes) -> None:
        """A record of ours is given up by the datagrams; it may have arrived."""
        number = _number_of(record)
        found = self._by_datagrams.pop(number, None)
        if found is not None:
            # Those behind it stay: they wait for it there, if it was ever sent.
            self._to_connection(self._record(number, found.line))

    def ended(self, why: str) -> None:
        """No more datagrams come or go."""
        self._datagrams = None
        self._slow_down(why)

    def received(self, record: bytes) -> None:
        """A datagram has brought a record of the other end."""
        try:
            self.take_record(record)
        except BadRecord as error:
            self.fail(error)

    def _speed_up(self) -> None:
        if not self._is_fast and self._datagrams is not None:
            self._is_fast = True
            self._on_way(True, "datagrams get through")

    # What comes in

    def take_record(self, record: bytes) -> None:
        """A record has come. Raises `BadRecord`; nothing has changed then."""
        number, taken, line = _parts_of(record)
        if taken > self._last:
            raise BadRecord(f"{taken} lines cannot have been taken: {self._last} were sent")
        if number >= self._next and number not in self._ahead:
            if number > self._taken + MAX_AHEAD_LINES:
                raise BadRecord(f"line {number} comes when {self._taken} were taken: too early")
            if self._kept_bytes and self._kept_bytes + len(line) > MAX_AHEAD_BYTES:
                raise BadRecord(f"line {number} is more than what may be ahead of what was taken")
            self._kept_bytes += len(line)
            self._ahead[number] = line
        self._take_taken(taken)
        if self._next not in self._ahead:
            return
        while self._next in self._ahead:
            self._received.append(self._ahead.pop(self._next))
            self._next += 1
        self._wake()

    def _take_taken(self, taken: int) -> None:
        while self._untaken and self._untaken[0][0] <= taken:
            number, size = self._untaken.pop(0)
            self._untaken_bytes -= size
            self._by_datagrams.pop(number, None)
        self._forget_arrived()
        self._flush()

    @property
    def has_more(self) -> bool:
        """Whether a line waits for `next_line`."""
        return bool(self._received)

    def next_line(self) -> bytes | None:
        """Take the next line of the other end; None if there is none now.

        Raises what `fail` was told when no line is left.
        """
        if not self._received:
            if self._failure is not None:
                raise self._failure
            return None
        line = self._received.pop(0)
        self._taken += 1
        self._kept_bytes -= len(line)
        self._untold_bytes += len(line)
        if (
            self._taken - self._told >= MAX_AHEAD_LINES // 4
            or self._untold_bytes >= MAX_AHEAD_BYTES // 4
        ):
            # Over the connection: nobody sends it again there, and the other end may be waiting for it.
            self._to_connection(self._record(0, b""))
        return line

    def complete(self) -> None:
        """The connection brings no more."""
        self.is_complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """The session cannot go on; the first error counts."""
        if self._failure is None:
            self._failure = error
            self._wake()


def _number_of(record: bytes) -> int:
    """The number of a record of ours."""
    return int(record[: record.index(b" ")])


def _parts_of(record: bytes) -> tuple[int, int, bytes]:
    """The number of a record's line, how many were taken, and the line. Raises `BadRecord`."""
    number, _, rest = record.partition(b" ")
    taken, space, line = rest.partition(b" ")
    for digits in (number, taken):
        if not digits.isdigit() or len(digits) > _MOST_DIGITS:
            raise BadRecord("what came is no record: two numbers and a line")
    if not space or (number == b"0") == bool(line):
        raise BadRecord("what came is no record: a line has a number from 1 on")
    return int(number), int(taken), line
