"""The messages that are to be sent, and their numbers.

Invariants:

1. What waits, sent or not, is at most `max_queued_messages` and `max_queued_bytes`; one more is an error to whoever
   sends it.
2. A message has its number from its first sending on, so that one that expires in the queue leaves no gap.
3. No message is sent that is `MAX_AHEAD_MESSAGES` or more after the oldest that is not acknowledged: the peer keeps no
   more of those that have to wait for one before them.
"""

from __future__ import annotations

from typing import Final

from sockserv.errors import MessageTooLarge, NoRoom
from sockserv.limits import DatagramLimits
from sockserv.wire.datagrams.events import DeliveryState, OutgoingMessage
from sockserv.wire.datagrams.incoming import MAX_AHEAD_MESSAGES
from sockserv.wire.datagrams.layout import MAX_MESSAGE_BYTES

__all__ = ["MAX_NUMBER", "MAX_STREAM", "Outbox"]

MAX_STREAM: Final = 2**32 - 1
MAX_NUMBER: Final = 2**32 - 1

_SENT: Final = DeliveryState.SENT
"""As in `flight`."""


class Outbox:
    """Messages in their order; `again` are those that were lost, which go first.

    `max_streams` is how many streams the peer accepts.
    """

    __slots__ = (
        "_again",
        "_limits",
        "_max_streams",
        "_next_position",
        "_numbers",
        "_order",
        "_queue",
        "_waiting_bytes",
        "_waiting_messages",
        "is_worn_out",
    )

    def __init__(
        self, limits: DatagramLimits, max_streams: int, again: list[OutgoingMessage]
    ) -> None:
        self.is_worn_out = False
        """Whether a stream has no numbers left."""
        self._limits = limits
        self._max_streams = max_streams
        self._again = again
        # Lists, of which several are taken at once: an empty deque has 760 bytes, and most sessions are idle.
        self._queue: list[OutgoingMessage] = []
        self._numbers: dict[int, int] = {}
        """The number last given, of each stream."""
        self._order: list[OutgoingMessage] = []
        """What was sent, from the oldest on that is not acknowledged."""
        self._next_position = 0
        self._waiting_messages = 0
        self._waiting_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._queue and not self._again

    @property
    def waiting_messages(self) -> int:
        """How many messages are neither acknowledged nor given up."""
        return self._waiting_messages

    def put(self, stream: int, body: bytes, now: float) -> OutgoingMessage:
        """Queue a message.

        Raises `ValueError` for a stream out of range, `MessageTooLarge` for a body beyond `MAX_MESSAGE_BYTES`, and
        `NoRoom` when as much as may wait waits already.
        """
        if not 0 <= stream <= MAX_STREAM:
            raise ValueError(f"the stream is {stream}: it must lie between 0 and {MAX_STREAM}")
        size = len(body)
        if size > MAX_MESSAGE_BYTES:
            raise MessageTooLarge(
                f"a message of {size} bytes does not fit into a datagram, which takes {MAX_MESSAGE_BYTES}: "
                "send it over the connection"
            )
        limits = self._limits
        if (
            self._waiting_messages >= limits.max_queued_messages
            or self._waiting_bytes + size > limits.max_queued_bytes
        ):
            raise NoRoom(
                f"{self._waiting_messages} messages with {self._waiting_bytes} bytes wait for the peer already: "
                "send more when some of them are acknowledged"
            )
        if stream not in self._numbers:
            if len(self._numbers) >= self._max_streams:
                raise NoRoom(f"this session has {self._max_streams} streams already")
            self._numbers[stream] = 0
        message = OutgoingMessage(stream, body, now)
        self._queue.append(message)
        self._waiting_messages += 1
        self._waiting_bytes += size
        return message

    def take(self, room_bytes: int, now: float) -> list[OutgoingMessage]:
        """The next messages for one datagram, which are sent now."""
        taken: list[OutgoingMessage] = []
        if self._again:
            room_bytes = self._take_again(room_bytes, taken)
        count = 0
        for message in self._queue:
            room_bytes -= message.size_bytes
            if room_bytes < 0 or not self._number(message, now):
                break
            taken.append(message)
            count += 1
        if count:
            del self._queue[:count]
        return taken

    def _take_again(self, room_bytes: int, taken: list[OutgoingMessage]) -> int:
        """Take what was lost, but for what has come late; returns the room that is left, below 0 if that is none."""
        count = 0
        for message in self._again:
            if message.state is _SENT:
                room_bytes -= message.size_bytes
                if room_bytes < 0:
                    break
                taken.append(message)
            count += 1
        del self._again[:count]
        return room_bytes

    def _number(self, message: OutgoingMessage, now: float) -> bool:
        """Give a message its number; False if it may not be sent yet."""
        order = self._order
        position = self._next_position
        if order and position - order[0].position >= MAX_AHEAD_MESSAGES:
            return False
        number = self._numbers[message.stream] + 1
        if number > MAX_NUMBER:
            self.is_worn_out = True
            return False
        self._numbers[message.stream] = message.number = number
        message.state = _SENT
        message.position = position
        message.sent_at = now
        self._next_position = position + 1
        order.append(message)
        return True

    def forget(self, message: OutgoingMessage) -> None:
        """A message was acknowledged or given up: it waits no longer."""
        self._waiting_messages -= 1
        self._waiting_bytes -= len(message.body)
        count = 0
        for sent in self._order:
            if sent.state is _SENT:
                break
            count += 1
        if count:
            del self._order[:count]

    def next_expiry(self) -> float | None:
        """When the oldest message that was never sent has waited for too long."""
        return self._queue[0].queued_at + self._limits.give_up_seconds if self._queue else None

    @property
    def waiting_since(self) -> float | None:
        """When the oldest message was sent that is not acknowledged; None if there is none."""
        return self._order[0].sent_at if self._order else None

    def expire(self, now: float) -> list[OutgoingMessage]:
        """Give up the messages that were not sent in time."""
        at = self.next_expiry()
        if at is None or at > now:
            return []
        patience = self._limits.give_up_seconds
        expired = [message for message in self._queue if message.queued_at + patience <= now]
        del self._queue[: len(expired)]
        return [self._give_up(message) for message in expired]

    def give_up(self) -> list[OutgoingMessage]:
        """Give up all messages: those that were sent first, each kind in its order."""
        sent = [m for m in self._order if m.state is _SENT]
        given_up = [self._give_up(message) for message in (*sent, *self._queue)]
        self._order.clear()
        self._again.clear()
        self._queue.clear()
        return given_up

    def _give_up(self, message: OutgoingMessage) -> OutgoingMessage:
        message.state = DeliveryState.UNDELIVERED
        self.forget(message)
        return message
