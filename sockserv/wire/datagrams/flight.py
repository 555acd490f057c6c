"""What is on its way to the peer: what has arrived, what is lost, and how long to wait before asking again.

The scheme is that of QUIC (RFC 9002): datagrams are acknowledged, not messages, and what was lost goes out again in
another datagram with a counter of its own. So each time that is measured belongs to one sending.

Invariants:

1. A message is acknowledged when any datagram that carried it is, and that is told once.
2. A message that is not acknowledged is in `again`, or in at least one datagram that is on its way.
3. While something is on its way there is a time at which something happens if nothing comes.
"""

from __future__ import annotations

from random import Random
from typing import Final

from msgspec import Struct

from sockserv.wire.datagrams.events import DeliveryState, OutgoingMessage
from sockserv.wire.datagrams.layout import Ack
from sockserv.wire.datagrams.timing import CongestionWindow, RoundTrip

__all__ = ["Flight"]

# To look a member up in its enum is slow where it is done for each message.
_SENT: Final = DeliveryState.SENT
_ACKNOWLEDGED: Final = DeliveryState.ACKNOWLEDGED

_JITTER: Final = 0.25
"""By how much of itself a wait is longer at most, so that those who wait do not all ask at once."""

_MAX_FIRST_PATIENCE_SECONDS: Final = 1.0
"""How long to wait before one that has never answered is asked again."""

_SILENT_TIMEOUTS: Final = 3
"""After so many waits without an answer the network is taken for full."""

_MAX_LATE_DATAGRAMS: Final = 64
"""Of how many that are thought to be lost it is known what they carried."""


class _Sent(Struct):
    sent_at: float
    size_bytes: int
    messages: list[OutgoingMessage]


class Flight:
    """The datagrams that wait for an acknowledgement, by their counters.

    `again` has the messages that were lost; `is_probe_due` says that something has to be sent, whatever the window
    says, to hear from the peer.
    """

    __slots__ = (
        "_ack_delay_seconds",
        "_in_flight",
        "_jitter",
        "_largest_acked",
        "_late",
        "_loss_at",
        "_random",
        "_timeouts",
        "_waiting_since",
        "_waits_from",
        "again",
        "in_flight_bytes",
        "is_probe_due",
        "is_proved",
        "round_trip",
        "window",
    )

    def __init__(self, ack_delay_seconds: float, random: Random) -> None:
        self.again: list[OutgoingMessage] = []
        self.in_flight_bytes = 0
        self.is_probe_due = False
        self.is_proved = False
        """Whether the peer has ever been heard."""
        self.round_trip = RoundTrip()
        self.window = CongestionWindow()
        self._ack_delay_seconds = ack_delay_seconds
        self._random = random
        self._in_flight: dict[int, _Sent] = {}
        self._late: dict[int, _Sent] | None = None
        """What was thought to be lost, from when anything was on."""
        self._largest_acked = -1
        self._waits_from = 0.0
        self._loss_at: float | None = None
        self._waiting_since = 0.0
        self._timeouts = 0
        self._jitter = 1.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits for an acknowledgement."""
        return not self._in_flight

    @property
    def has_room(self) -> bool:
        """Whether one more datagram may be sent now."""
        return self.in_flight_bytes < self.window.size_bytes

    @property
    def waiting_since(self) -> float | None:
        """Since when the peer has not answered; None if nothing is on its way."""
        return self._waiting_since if self._in_flight else None

    def add(
        self, counter: int, size_bytes: int, messages: list[OutgoingMessage], now: float
    ) -> None:
        """A datagram that asks for an acknowledgement was sent."""
        if not self._in_flight:
            self._waiting_since = now
        self._in_flight[counter] = _Sent(now, size_bytes, messages)
        self.in_flight_bytes += size_bytes
        self._waits_from = now
        for message in messages:
            message.copies += 1

    def acknowledge(self, ack: Ack, now: float) -> list[OutgoingMessage] | None:
        """The peer has told what arrived: the messages of which that was not known; None if it is no news."""
        largest, bits = ack.largest, ack.bits
        counters = []
        for counter in self._in_flight:
            if counter > largest:
                break
            if bits >> (largest - counter) & 1:
                counters.append(counter)
        arrived: list[OutgoingMessage] = []
        is_late = self._late is not None and self._take_late(self._late, largest, bits, arrived)
        if not counters and not is_late:
            return None
        in_flight_bytes = self.in_flight_bytes
        for counter in counters:
            sent = self._in_flight.pop(counter)
            self.in_flight_bytes -= sent.size_bytes
            self.window.on_acked(sent.size_bytes, sent.sent_at, in_flight_bytes)
            for message in sent.messages:
                message.copies -= 1
            _take_arrived(sent, arrived)
        if counters:
            if counters[-1] == largest:
                self.round_trip.add(now - sent.sent_at, ack.delay_seconds)
            self._largest_acked = max(self._largest_acked, counters[-1])
        self._timeouts = 0
        self._waiting_since = self._waits_from = now
        self._find_lost(now)
        return arrived

    def _take_late(
        self, late: dict[int, _Sent], largest: int, bits: int, arrived: list[OutgoingMessage]
    ) -> bool:
        """Note what was thought to be lost and has come all the same; returns whether there is any."""
        come = [c for c in late if c <= largest and bits >> (largest - c) & 1]
        for counter in come:
            self.round_trip.note_spurious_loss()
            _take_arrived(late.pop(counter), arrived)
        return bool(come)

    def _find_lost(self, now: float) -> None:
        """Give up datagrams that others have overtaken by too much."""
        self._loss_at = None
        lost = []
        patience = self.round_trip.reordering_seconds
        for counter, sent in self._in_flight.items():
            if counter > self._largest_acked:
                break
            if sent.sent_at + patience > now:
                self._loss_at = sent.sent_at + patience
                break
            lost.append(counter)
        for counter in lost:
            self._lose(counter, now)

    def _lose(self, counter: int, now: float) -> None:
        late = self._late
        if late is None:
            late = self._late = {}
        sent = late[counter] = self._in_flight.pop(counter)
        if len(late) > _MAX_LATE_DATAGRAMS:
            del late[next(iter(late))]
        self.in_flight_bytes -= sent.size_bytes
        self.window.on_lost(sent.sent_at, now)
        for message in sent.messages:
            message.copies -= 1
            if not message.copies and message.state is _SENT:
                self.again.append(message)

    def next_timeout(self) -> float | None:
        """When `on_timeout` has something to do, if nothing comes before."""
        if not self._in_flight:
            return None
        if self._loss_at is not None:
            return self._loss_at
        patience = self.round_trip.patience_seconds(
            timeouts=self._timeouts, ack_delay_seconds=self._ack_delay_seconds
        )
        if not self.is_proved:
            patience = min(patience, _MAX_FIRST_PATIENCE_SECONDS)
        return self._waits_from + patience * self._jitter

    def on_timeout(self, now: float) -> None:
        """Time has passed: look for what is lost, or have something sent to hear from the peer."""
        if self._loss_at is not None and self._loss_at <= now:
            self._find_lost(now)
        at = self.next_timeout()
        if at is None or at > now:
            return
        self._timeouts += 1
        self._jitter = 1.0 + _JITTER * self._random.random()
        # As if it were sent now, even if that has to wait: or this would be due again at once.
        self._waits_from = now
        self.is_probe_due = True
        if self._timeouts >= _SILENT_TIMEOUTS:
            self.window.on_silence()

    def on_new_path(self) -> None:
        """The peer is somewhere else: nothing is known of the way, and what went the old one is likely lost."""
        self.window = CongestionWindow()
        self._timeouts = 0
        self.is_probe_due = bool(self._in_flight)

    def unacknowledged(self, room_bytes: int) -> list[OutgoingMessage]:
        """The oldest messages that are on their way, as many as have room in one datagram."""
        found: dict[int, OutgoingMessage] = {}
        for sent in self._in_flight.values():
            for message in sent.messages:
                if message.state is not _SENT or message.position in found:
                    continue
                room_bytes -= message.size_bytes
                if room_bytes < 0:
                    return list(found.values())
                found[message.position] = message
        return list(found.values())


def _take_arrived(sent: _Sent, arrived: list[OutgoingMessage]) -> None:
    for message in sent.messages:
        if message.state is _SENT:
            message.state = _ACKNOWLEDGED
            arrived.append(message)
