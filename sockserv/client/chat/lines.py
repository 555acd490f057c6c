"""The lines of one session at the hub: over its call, and by datagrams where the hub offers them
and they get through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockserv.chat.lines import Event, decode_event
from sockserv.chat.ways import BadRecord, DatagramWay, TwoWays
from sockserv.errors import UnexpectedResult

if TYPE_CHECKING:
    from sockserv.net.calls import OutgoingCall

__all__ = ["CallLines", "Lines", "TwoWayLines", "event_of"]


def event_of(line: bytes) -> Event:
    """What the hub says. Raises `UnexpectedResult` for what is no event."""
    try:
        return decode_event(line)
    except ValueError as error:
        raise UnexpectedResult(f"the hub says what is no event: {error}") from None


class Lines(Protocol):
    """What comes and goes."""

    def send(self, line: bytes) -> None:
        """Say a line; never waits."""

    async def receive(self) -> bytes | None:
        """The next line; None when there are no more. Raises what the call fails with, and `UnexpectedResult`."""

    @property
    def has_more(self) -> bool:
        """Whether the next line is here already."""

    def close(self) -> None:
        """Nothing more is wanted."""


class CallLines:
    """The lines in both bodies of a call."""

    def __init__(self, call: OutgoingCall) -> None:
        self._call = call
        self._body = aiter(call.body)
        self._begun = b""
        self._received: deque[bytes] = deque()
        self._outgoing: list[bytes] = []
        self._writer: Deferred[None] | None = None
        self._writing = Deferred.fromCoroutine(self._write())
        self._writing.addErrback(lambda _: None)  # reading fails with the same

    @property
    def has_more(self) -> bool:
        """Whether the next line is here already."""
        return bool(self._received)

    def send(self, line: bytes) -> None:
        """Say a line; never waits."""
        self._outgoing.append(line + b"\n")
        writer, self._writer = self._writer, None
        if writer is not None and not writer.called:
            writer.callback(None)

    async def receive(self) -> bytes | None:
        """The next line; None when there are no more. Raises what the call fails with."""
        while not self._received:
            piece = await anext(self._body, None)
            if piece is None:
                return None
            *lines, self._begun = (self._begun + piece).split(b"\n")
            self._received.extend(lines)
        return self._received.popleft()

    def close(self) -> None:
        """Nothing more is wanted."""
        self._writing.cancel()

    async def _write(self) -> None:
        while True:
            while self._outgoing:
                lines, self._outgoing = self._outgoing, []
                await self._call.send(b"".join(lines))
            self._writer = Deferred()
            await self._writer


class TwoWayLines:
    """The lines in the records of a session, from when the hub has offered datagrams on.

    `open_way` begins the datagrams, and tells what is given to it what happens to them. `on_way` is told whenever
    lines go another way.
    """

    def __init__(
        self,
        clock: IReactorTime,
        call: CallLines,
        open_way: Callable[[TwoWays], DatagramWay | None],
        *,
        on_way: Callable[[bool, str], None],
    ) -> None:
        self._call = call
        self._reader: Deferred[None] | None = None
        self._ways = ways = TwoWays(
            clock,
            to_connection=call.send,
            wake=self._wake,
            on_way=on_way,
        )
        way = open_way(ways)
        if way is not None:
            ways.use(way)
        self._reading = Deferred.fromCoroutine(self._read())

    @property
    def has_more(self) -> bool:
        """Whether the next line is here already."""
        return self._ways.has_more

    @property
    def goes_by_datagrams(self) -> bool:
        """Whether the next line does, if it is not too long."""
        return self._ways.goes_by_datagrams

    def send(self, line: bytes) -> None:
        """Say a line; never waits."""
        self._ways.send(line)

    async def receive(self) -> bytes | None:
        """The next line; None when there are no more. Raises what the call fails with, and `UnexpectedResult`."""
        try:
            return await self._next_line()
        except BadRecord as error:
            raise UnexpectedResult(f"the hub says what is no event: {error}") from None

    async def _next_line(self) -> bytes | None:
        ways = self._ways
        while (line := ways.next_line()) is None and not ways.is_complete:
            self._reader = Deferred()
            try:
                await self._reader
            finally:
                self._reader = None
        return line

    def close(self) -> None:
        """Nothing more is wanted."""
        self._reading.cancel()
        self._ways.close()
        self._call.close()

    async def _read(self) -> None:
        try:
            while (record := await self._call.receive()) is not None:
                self._ways.take_record(record)
            self._ways.complete()
        except Exception as error:
            self._ways.fail(error)

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)
