"""The carrier of a session that goes by datagrams where these get through, and over the call else."""

from __future__ import annotations

from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred

from sockserv.chat.facts import DatagramSession
from sockserv.chat.ways import BadRecord, DatagramWay, TwoWays
from sockserv.errors import InvalidArgument, Unavailable
from sockserv.services.api import Call
from sockserv.services.chat.carrier import CallCarrier

__all__ = ["Datagrams", "OfferedWay", "TwoWayCarrier"]

_MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
_MAX_WAITING_RECORDS: Final = 4096
"""Of what waits for the call. Nobody who says the truth about what was taken comes near."""


class OfferedWay(DatagramWay, Protocol):
    """A session of datagrams; `offered` is what the device needs to know of it."""

    @property
    def offered(self) -> DatagramSession:
        """Where it is, and its keys."""


class Datagrams(Protocol):
    """Opens sessions of datagrams."""

    def open(self, listener: TwoWays) -> OfferedWay:
        """One for a device; what happens to it is told to `listener`. Raises `NoRoom`."""


class TwoWayCarrier:
    """A session by datagrams and over the call that it was asked for with. Raises what `Datagrams.open` raises.

    The first line that is sent is the event which offers the datagrams; it goes over the call as it is. All others are
    in records.
    """

    def __init__(self, call: Call[Any], datagrams: Datagrams) -> None:
        self._call = CallCarrier(call)
        self._ways = ways = TwoWays(
            call.clock,
            to_connection=self._to_call,
            wake=self._wake,
        )
        self._reader: Deferred[None] | None = None
        self._has_offered = False
        way = datagrams.open(ways)
        self.offered = way.offered
        ways.use(way)

    @property
    def waiting(self) -> int:
        """How many lines have not gone yet."""
        return self._ways.waiting

    def send(self, line: bytes) -> None:
        """Send an event; never waits."""
        if self._has_offered:
            self._ways.send(line)
        else:
            self._has_offered = True
            self._call.send(line)

    async def receive(self) -> bytes | None:
        """The next command; None when the device has no more.

        Raises `InvalidArgument`, and `Unavailable` for a device that takes nothing.
        """
        try:
            return await self._next_line()
        except BadRecord as error:
            raise InvalidArgument(str(error)) from None

    async def _next_line(self) -> bytes | None:
        ways = self._ways
        while (line := ways.next_line()) is None and not ways.is_complete:
            self._reader = Deferred()
            try:
                await self._reader
            finally:
                self._reader = None
        return line

    async def run(self) -> None:
        """Move what comes and goes, until it is cancelled or the call ends. Raises what sending raises."""
        reading = Deferred.fromCoroutine(self._read())
        try:
            await self._call.run()
        finally:
            reading.cancel()

    async def _read(self) -> None:
        try:
            while (record := await self._call.receive()) is not None:
                self._ways.take_record(record)
            self._ways.complete()
        except Exception as error:
            self._ways.fail(error)

    def close(self) -> None:
        """The session has ended."""
        self._ways.close()

    def _to_call(self, record: bytes) -> None:
        self._call.send(record)
        if (
            self._call.waiting > _MAX_WAITING_RECORDS
            or self._call.waiting_bytes > _MAX_WAITING_BYTES
        ):
            self._ways.fail(Unavailable("the device has taken nothing for too long: join again"))

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.callback(None)
