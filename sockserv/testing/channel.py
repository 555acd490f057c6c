"""One direction of a link in memory: what a network can do to bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime

__all__ = ["BUFFER_BYTES", "Channel", "End", "Turns"]

BUFFER_BYTES: Final = 64 * 1024
"""What Twisted's transports buffer before they pause their producer."""

_DELIVERY_BYTES: Final = 64 * 1024
"""What Twisted's transports read at once."""


class Turns(Protocol):
    """Who runs the link: things to do happen in the order in which they were asked for."""

    @property
    def clock(self) -> IReactorTime:
        """What delays are measured with."""

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function in a later turn."""


class End(Protocol):
    """A transport, as its channels see it."""

    protocol: IProtocol

    @property
    def is_reading(self) -> bool:
        """Whether the protocol may be given bytes."""

    @property
    def is_discarding(self) -> bool:
        """Whether bytes that arrive go nowhere."""

    def on_sent(self) -> None:
        """All that was written has been delivered."""

    def on_end(self) -> None:
        """The other side has written its last byte, and that has been delivered."""

    def cut(self) -> None:
        """The connection has broken off."""


class Channel:
    """One direction of a link; a test turns its knobs.

    `delivered_bytes` is how many bytes the receiving protocol has been given.
    """

    __slots__ = (
        "_chunk",
        "_clock",
        "_cut_at_bytes",
        "_fragment_left",
        "_fragments",
        "_has_broken",
        "_has_ended",
        "_is_scheduled",
        "_is_stalled",
        "_offset",
        "_pieces",
        "_ready_bytes",
        "_schedule",
        "_source",
        "_target",
        "_timer",
        "_travelling",
        "_travelling_bytes",
        "buffer_bytes",
        "delay_seconds",
        "delivered_bytes",
    )

    def __init__(
        self, fragments: Iterable[int] | None, delay_seconds: float, buffer_bytes: int
    ) -> None:
        self.buffer_bytes = buffer_bytes
        self.delay_seconds = delay_seconds
        self.delivered_bytes = 0
        self._fragments: Iterator[int] | None = None if fragments is None else iter(fragments)
        self._fragment_left = 0
        self._cut_at_bytes: int | None = None
        self._is_stalled = False
        self._is_scheduled = False
        self._has_ended = False
        self._has_broken = False
        # What has been written lately, and before that the rest of what is being delivered.
        self._pieces: list[bytes] = []
        self._chunk = b""
        self._offset = 0
        self._ready_bytes = 0
        # What is on its way, with the time of its arrival.
        self._travelling: deque[tuple[float, bytes]] = deque()
        self._travelling_bytes = 0
        self._timer: IDelayedCall | None = None
        self._schedule: Callable[[Callable[[], object]], None] | None = None

    def __repr__(self) -> str:
        state = ""
        if self._is_stalled:
            state = ", stalled"
        elif self._schedule is not None and not self._target.is_reading:
            state = ", not being read"
        return f"<{self.delivered_bytes} bytes delivered, {self.waiting_bytes} waiting{state}>"

    # For tests

    @property
    def waiting_bytes(self) -> int:
        """How many bytes have been written and not been delivered."""
        return self._ready_bytes + self._travelling_bytes

    def stall(self) -> None:
        """Deliver nothing more until `resume`: the writing side's producers get paused."""
        self._is_stalled = True

    def resume(self) -> None:
        """Deliver again."""
        self._is_stalled = False
        self.wake()

    def cut_after(self, byte_count: int) -> None:
        """Cut the link, both ways, when `byte_count` bytes in all have been delivered here; soon, if there were more
        already.
        """
        self._cut_at_bytes = byte_count
        self.wake()

    # For the transports

    def join(self, turns: Turns, source: End, target: End) -> None:
        """Carry what `source` writes to `target`."""
        self._clock = turns.clock
        self._schedule = turns.call_soon
        self._source = source
        self._target = target
        if self._cut_at_bytes is not None:
            self.wake()

    def push(self, data: bytes) -> None:
        """Take what was written."""
        if self.delay_seconds or self._travelling:
            self._travel(data)
            return
        self._pieces.append(data)
        self._ready_bytes += len(data)
        if not self._is_scheduled:
            self.wake()

    def wake(self) -> None:
        """Look in a later turn for what there is to do."""
        if not self._is_scheduled and self._schedule is not None:
            self._is_scheduled = True
            self._schedule(self._deliver)

    def end(self) -> None:
        """The source writes nothing more: the target learns of it after the last byte."""
        self._has_ended = True
        self._announce()

    def break_off(self) -> None:
        """The source has gone without another word: what it wrote is lost."""
        self.drop()
        self._has_broken = True
        self._announce()

    def drop(self) -> None:
        """Forget what has not been delivered."""
        self._pieces = []
        self._chunk = b""
        self._offset = 0
        self._ready_bytes = self._travelling_bytes = 0
        self._travelling.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _announce(self) -> None:
        if self.delay_seconds:
            self._travel(b"")
        else:
            self.wake()

    def _travel(self, data: bytes) -> None:
        arrival = self._clock.seconds() + self.delay_seconds
        if self._travelling:
            # Nothing overtakes, when the delay has been made shorter on the way.
            arrival = max(arrival, self._travelling[-1][0])
        self._travelling.append((arrival, data))
        self._travelling_bytes += len(data)
        if self._timer is None:
            self._timer = self._clock.callLater(arrival - self._clock.seconds(), self._arrive)

    def _arrive(self) -> None:
        now = self._clock.seconds()
        travelling = self._travelling
        while travelling and travelling[0][0] <= now:
            data = travelling.popleft()[1]
            self._travelling_bytes -= len(data)
            self._ready_bytes += len(data)
            self._pieces.append(data)
        self._timer = None
        if travelling:
            self._timer = self._clock.callLater(travelling[0][0] - now, self._arrive)
        self.wake()

    def _deliver(self) -> None:
        self._is_scheduled = False
        target = self._target
        if self._is_stalled:
            return
        if self._has_broken:
            if not self._travelling:
                target.cut()
            return
        if target.is_discarding:
            self.drop()
        elif not target.is_reading:
            return
        elif self._ready_bytes:
            if self._cut_at_bytes is None or self.delivered_bytes < self._cut_at_bytes:
                data = self._take()
                self.delivered_bytes += len(data)
                target.protocol.dataReceived(data)
            if self._is_at_cut:
                self._cut()
            if self._ready_bytes:
                self.wake()
                return
        elif self._is_at_cut:
            self._cut()
        if self._ready_bytes or self._travelling:
            return
        if self._has_ended:
            target.on_end()
        else:
            self._source.on_sent()

    @property
    def _is_at_cut(self) -> bool:
        return self._cut_at_bytes is not None and self.delivered_bytes >= self._cut_at_bytes

    def _cut(self) -> None:
        self._source.cut()
        self._target.cut()

    def _take(self) -> bytes:
        """The next delivery."""
        if (
            self._fragments is None
            and self._cut_at_bytes is None
            and not self._offset
            and self._ready_bytes <= _DELIVERY_BYTES
        ):
            pieces = self._pieces
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._ready_bytes = 0
            return data
        size = self._next_size()
        missing = size - (len(self._chunk) - self._offset)
        if missing > 0:
            self._chunk = self._chunk[self._offset :] + b"".join(self._pieces)
            self._offset = 0
            self._pieces.clear()
        data = self._chunk[self._offset : self._offset + size]
        self._offset += size
        self._ready_bytes -= size
        if self._offset == len(self._chunk):
            self._chunk = b""
            self._offset = 0
        return data

    def _next_size(self) -> int:
        size = min(self._ready_bytes, _DELIVERY_BYTES)
        if self._fragments is not None and not self._fragment_left:
            self._fragment_left = next(self._fragments, 0)
            if self._fragment_left <= 0:
                self._fragments = None
        if self._fragments is not None:
            size = min(size, self._fragment_left)
            self._fragment_left -= size
        if self._cut_at_bytes is not None:
            size = min(size, self._cut_at_bytes - self.delivered_bytes)
        return size
