"""The carrier of a session that goes by datagrams where these get through, and over the call else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from sockserv.chat.facts import DatagramSession
from sockserv.chat.ways import BadRecord, DatagramWay, TwoWays
from sockserv.errors import InvalidArgument, Unavailable
from sockserv.services.api import Call
from sockserv.services.chat.carrier import CallCarrier

__all__ = ["Datagrams", "TwoWayCarrier"]

_MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
_MAX_WAITING_RECORDS: Final = 4096
"""Of what waits for the call. Nobody who says the truth about what was taken comes near."""


class Datagrams(Protocol):
    """Opens sessions of datagrams."""

    def open(self, listener: TwoWays) -> tuple[DatagramWay, DatagramSession]:
        """One for a device, and what the device needs to know of it: where it is, and its keys.

        What happens to it is told to `listener`. Raises `NoRoom`.
        """


class TwoWayCarrier:
    """A session by datagrams and over the call that it was asked for with.

    The first line that is sent is the event which offers the datagrams; it goes over the call as it is. All others are
    in records.
    """

    __slots__ = ("_call", "_has_offered", "_on_news", "_ways")

    def __init__(self, call: Call[Any]) -> None:
        self._call = CallCarrier(call)
        self._ways = TwoWays(call.clock, to_connection=self._to_call, wake=self._wake)
        self._on_news: Callable[[], None] | None = None
        self._has_offered = False

    def open(self, datagrams: Datagrams) -> DatagramSession:
        """Begin with the datagrams; gives what is to be offered. Raises `NoRoom`."""
        way, offered = datagrams.open(self._ways)
        self._ways.use(way)
        return offered

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

    def listen(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when `next_line` has something new."""
        self._on_news = on_news
        self._call.listen(self._read)
        self._read()

    def next_line(self) -> bytes | None:
        """The next command; None if none has come.

        Raises `InvalidArgument`, and `Unavailable` for a device that takes nothing.
        """
        try:
            return self._ways.next_line()
        except BadRecord as error:
            raise InvalidArgument(str(error)) from None

    @property
    def is_complete(self) -> bool:
        """Whether the device has no more to say, and all of it was taken."""
        return self._ways.is_complete and not self._ways.has_more

    def _read(self) -> None:
        try:
            while (record := self._call.next_line()) is not None:
                self._ways.take_record(record)
            if self._call.is_complete:
                self._ways.complete()
        except Exception as error:
            self._ways.fail(error)

    def close(self) -> None:
        """The session has ended: nothing more is sent, or told."""
        self._on_news = None
        self._call.close()
        self._ways.close()

    def _to_call(self, record: bytes) -> None:
        self._call.send(record)
        if (
            self._call.waiting > _MAX_WAITING_RECORDS
            or self._call.waiting_bytes > _MAX_WAITING_BYTES
        ):
            self._ways.fail(Unavailable("the device has taken nothing for too long: join again"))

    def _wake(self) -> None:
        if self._on_news is not None:
            self._on_news()
