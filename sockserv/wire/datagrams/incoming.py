"""The peer's messages: each once, and each stream in order.

Invariants:

1. A message is handed on once, after all that have a lower number in its stream.
2. At most `MAX_AHEAD_MESSAGES` messages are kept that wait for one before them: a peer that keeps to the protocol never
   sends more.
"""

from __future__ import annotations

from typing import Final

from sockserv.wire.datagrams.drops import DatagramDropped, DropReason
from sockserv.wire.datagrams.events import MessageReceived

__all__ = ["MAX_AHEAD_MESSAGES", "Incoming"]

MAX_AHEAD_MESSAGES: Final = 512
"""How far, in messages of all streams, a sender may be ahead of the oldest that is not acknowledged."""

_Message = tuple[int, int, bytes]


class Incoming:
    """The streams of the peer, at most `max_streams`."""

    __slots__ = ("_ahead", "_ahead_count", "_max_streams", "_next")

    def __init__(self, max_streams: int) -> None:
        self._max_streams = max_streams
        self._next: dict[int, int] = {}
        """The number that comes next, of each stream that has begun."""
        self._ahead: dict[int, dict[int, bytes]] = {}
        """What came too early, by stream and number."""
        self._ahead_count = 0

    @property
    def waiting_messages(self) -> int:
        """How many messages are kept because one before them is missing."""
        return self._ahead_count

    def check(self, messages: list[_Message]) -> None:
        """Raises `DatagramDropped` if these are more than a peer may send; nothing has changed then."""
        if (
            self._ahead_count + len(messages) <= MAX_AHEAD_MESSAGES
            and len(self._next) + len(messages) <= self._max_streams
        ):
            return
        streams = {stream for stream, _, _ in messages if stream not in self._next}
        ahead = {
            (stream, number)
            for stream, number, _ in messages
            if number > self._next.get(stream, 1) and number not in self._ahead.get(stream, ())
        }
        if (
            len(self._next) + len(streams) > self._max_streams
            or self._ahead_count + len(ahead) > MAX_AHEAD_MESSAGES
        ):
            raise DatagramDropped(DropReason.EXCESSIVE)

    def take(self, messages: list[_Message]) -> list[MessageReceived]:
        """What can be handed on now that these have come."""
        received: list[MessageReceived] = []
        expected = self._next
        for stream, number, body in messages:
            next_number = expected.get(stream, 1)
            if number == next_number:
                expected[stream] = number + 1
                received.append(MessageReceived(stream, number, body))
                if stream in self._ahead:
                    self._take_waiting(stream, received)
            elif number > next_number:
                self._keep(stream, number, body)
        return received

    def _keep(self, stream: int, number: int, body: bytes) -> None:
        self._next.setdefault(stream, 1)
        waiting = self._ahead.setdefault(stream, {})
        if number not in waiting:
            waiting[number] = body
            self._ahead_count += 1

    def _take_waiting(self, stream: int, received: list[MessageReceived]) -> None:
        waiting = self._ahead[stream]
        number = self._next[stream]
        while number in waiting:
            received.append(MessageReceived(stream, number, waiting.pop(number)))
            self._ahead_count -= 1
            number += 1
        self._next[stream] = number
        if not waiting:
            del self._ahead[stream]
