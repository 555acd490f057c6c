"""One session between a client and a server: messages in, datagrams out, and the other way round.

The user hands over what arrived (`receive_datagram`), says what to send (`send`), lets time pass (`handle_timeout`
when `next_timeout` has come), and after each of these moves what `data_to_send` gives. Times are seconds of any clock
that does not go back; addresses are whatever compares equal for one place.

Invariants:

1. Any bytes give events or nothing. What is not authentic, not new or not right changes nothing, is counted in `drops`
   by its reason, and is never answered.
2. Each message of the peer is told of once, in the order of its stream.
3. Each message of ours ends in exactly one event: `MessageAcknowledged` or `MessageUndelivered`. While the session
   lives, only a message that was never sent is given up: so no stream ever waits for one that does not come.
4. To an address that has not been proved goes nothing that is larger than what came from it.
5. After `handle_timeout` and `data_to_send` the next timeout lies in the future.
"""

from __future__ import annotations

from collections import Counter
from random import Random, SystemRandom
from typing import Any, Final

from sockserv.errors import SessionOver
from sockserv.limits import DatagramLimits
from sockserv.wire.datagrams.drops import DatagramDropped, DropReason
from sockserv.wire.datagrams.events import (
    AddressChanged,
    Event,
    FailureReason,
    MessageAcknowledged,
    MessageUndelivered,
    OutgoingMessage,
    SessionEnded,
    SessionOpened,
)
from sockserv.wire.datagrams.flight import Flight
from sockserv.wire.datagrams.incoming import Incoming
from sockserv.wire.datagrams.layout import (
    MAX_ACK_BYTES,
    MAX_CONTENT_BYTES,
    MIN_CLIENT_CONTENT_BYTES,
    TOKEN_BYTES,
    Content,
    Part,
    decode_content,
    message_part,
)
from sockserv.wire.datagrams.outbox import Outbox
from sockserv.wire.datagrams.paths import ClientPath
from sockserv.wire.datagrams.receipts import Receipts
from sockserv.wire.datagrams.sealing import Opener, Sealer, SessionKeys
from sockserv.wire.receiver import Role

__all__ = ["MAX_STREAMS", "DatagramSession"]

MAX_STREAMS: Final = {Role.CLIENT: 1024, Role.SERVER: 65_536}
"""How many streams each role may send in one session: a server speaks for all members of all rooms."""

_CHALLENGE_BYTES: Final = 1 + TOKEN_BYTES
_JITTER: Final = 0.1

_SYSTEM_RANDOM: Final = SystemRandom()


class DatagramSession:
    """One end of a session; `role` says which.

    A client is told the server's `address`; a server finds out its client's. `now` is when the session begins. `random`
    gives the tokens that prove an address, which nobody must be able to guess, and the jitter. `drops` counts what is
    dropped; it may be shared by many sessions.
    """

    __slots__ = (
        "_acked_at",
        "_address",
        "_began_at",
        "_flight",
        "_heard_at",
        "_incoming",
        "_is_ping_due",
        "_is_server",
        "_jitter",
        "_limits",
        "_opener",
        "_outbox",
        "_path",
        "_random",
        "_receipts",
        "_response",
        "_sealer",
        "drops",
        "ended_by",
        "is_open",
        "session_id",
    )

    def __init__(
        self,
        role: Role,
        keys: SessionKeys,
        *,
        now: float,
        address: Any = None,
        limits: DatagramLimits | None = None,
        random: Random = _SYSTEM_RANDOM,
        drops: Counter[DropReason] | None = None,
    ) -> None:
        if (role is Role.CLIENT) != (address is not None):
            raise ValueError("a client is given the address of its server, and a server none")
        self._limits = limits = limits or DatagramLimits()
        self.session_id = keys.session_id
        self.drops: Counter[DropReason] = Counter() if drops is None else drops
        self.is_open = False
        """Whether datagrams are known to go through both ways."""
        self.ended_by: FailureReason | None = None
        """Why the session is over; None while it is not."""
        self._is_server = role is Role.SERVER
        self._random = random
        self._jitter = random.uniform(1 - _JITTER, 1 + _JITTER)
        self._sealer = Sealer(keys, role)
        self._opener = Opener(keys, role)
        self._receipts = Receipts(limits.ack_delay_seconds)
        self._flight = Flight(limits.ack_delay_seconds, random)
        self._outbox = Outbox(limits, MAX_STREAMS[role], self._flight.again)
        peer = Role.CLIENT if self._is_server else Role.SERVER
        self._incoming = Incoming(MAX_STREAMS[peer])
        self._path = ClientPath(random)
        self._address = address
        self._began_at = self._heard_at = self._acked_at = now
        # A client begins by asking whether anybody is there.
        self._is_ping_due = not self._is_server
        self._response: bytes | None = None

    @property
    def address(self) -> Any:
        """Where datagrams are sent to; None for a server whose client has not proved to be anywhere."""
        return self._address

    @property
    def round_trip_seconds(self) -> float:
        """How long an answer takes, by what was measured so far."""
        return self._flight.round_trip.smoothed_seconds

    @property
    def waiting_messages(self) -> int:
        """How many messages of ours are neither acknowledged nor given up."""
        return self._outbox.waiting_messages

    def send(self, stream: int, body: bytes, now: float) -> OutgoingMessage:
        """Queue a message, of at most `MAX_MESSAGE_BYTES`, in a stream from 0 to 2^32 - 1.

        What becomes of it is told by an event with the object that this returns. Raises `SessionOver`,
        `MessageTooLarge`, `NoRoom` when too much waits already, and `ValueError` for a stream out of range.
        """
        if self.ended_by is not None:
            raise SessionOver(f"the session has ended ({self.ended_by}): nothing can be sent in it")
        return self._outbox.put(stream, body, now)

    # What comes in

    def receive_datagram(self, data: bytes, address: Any, now: float) -> list[Event]:
        """A datagram has come from `address`: what that means; nothing if it is to be dropped."""
        if self.ended_by is not None:
            return []
        receipts = self._receipts
        try:
            counter = self._opener.counter_of(data)
            receipts.check(counter)
            content = decode_content(self._opener.open(data))
            self._incoming.check(content.messages)
            if content.ack is not None and content.ack.largest >= self._sealer.counter:
                raise DatagramDropped(DropReason.MALFORMED)
        except DatagramDropped as dropped:
            self.drops[dropped.reason] += 1
            return []
        is_newest = counter > receipts.largest
        receipts.add(counter, now, asks_for_ack=content.asks_for_ack)
        self._heard_at = now
        events: list[Event] = []
        if (
            address != self._address
            or content.challenge is not None
            or not self.is_open
            or self._path.is_asking
        ):
            self._follow(address, content, len(data), now, is_newest=is_newest, events=events)
        if content.ack is not None:
            arrived = self._flight.acknowledge(content.ack, now)
            if arrived is not None:
                self._acked_at = now
                for message in arrived:
                    self._outbox.forget(message)
                    events.append(MessageAcknowledged(message))
        if content.messages:
            events.extend(self._incoming.take(content.messages))
        return events

    def _follow(
        self,
        address: Any,
        content: Content,
        size_bytes: int,
        now: float,
        *,
        is_newest: bool,
        events: list[Event],
    ) -> None:
        """An authentic datagram came: the first, one from elsewhere, or one that asks where we are."""
        if self._is_server:
            path = self._path
            if content.response is not None and path.on_response(address, content.response):
                was_open = self.is_open
                self._address = address
                self._open()
                self._flight.on_new_path()
                events.append(AddressChanged(address) if was_open else SessionOpened(address))
            path.on_datagram(
                address,
                now,
                is_newest=is_newest,
                may_answer=size_bytes >= self._opener.overhead_bytes + _CHALLENGE_BYTES,
            )
            return
        if content.challenge is not None:
            self._response = content.challenge
        if not self.is_open:
            self._open()
            events.append(SessionOpened(self._address))

    def _open(self) -> None:
        self.is_open = True
        self._flight.is_proved = True

    # Time

    def next_timeout(self) -> float | None:
        """When `handle_timeout` has to be called, if nothing else happens before; None when the session is over."""
        if self.ended_by is not None:
            return None
        if self._is_worn_out:
            return self._began_at
        earliest = self._end_at()
        flight_at = self._flight.next_timeout()
        if flight_at is not None:
            earliest = min(earliest, flight_at)
        elif not self._is_server:
            earliest = min(earliest, self._keepalive_at())
        ack_at = self._receipts.ack_at
        if ack_at is not None and self._address is not None and ack_at < earliest:
            earliest = ack_at
        expiry_at = self._outbox.next_expiry()
        if expiry_at is not None and expiry_at < earliest:
            earliest = expiry_at
        return earliest

    def handle_timeout(self, now: float) -> list[Event]:
        """Time has passed: what was given up meanwhile."""
        if self.ended_by is not None:
            return []
        if self._is_worn_out:
            return self._end(FailureReason.WORN_OUT)
        if self._end_at() <= now:
            return self._end(FailureReason.PATH_LOST if self.is_open else FailureReason.UNREACHABLE)
        if not self._is_server and self._flight.is_empty and self._keepalive_at() <= now:
            self._is_ping_due = True
            self._jitter = self._random.uniform(1 - _JITTER, 1 + _JITTER)
        self._flight.on_timeout(now)
        return [
            MessageUndelivered(message, FailureReason.EXPIRED)
            for message in self._outbox.expire(now)
        ]

    def close(self) -> list[Event]:
        """End the session on this side, without a word to the other."""
        return [] if self.ended_by is not None else self._end(FailureReason.CLOSED)

    @property
    def _is_worn_out(self) -> bool:
        return self._sealer.is_worn_out or self._outbox.is_worn_out

    def _end_at(self) -> float:
        """When the session ends, if nothing more comes."""
        limits = self._limits
        if not self.is_open and not self._is_server:
            return self._began_at + limits.probe_timeout_seconds
        at = self._heard_at + limits.silence_timeout_seconds
        since = self._flight.waiting_since
        oldest_since = self._outbox.waiting_since
        if since is None:
            since = oldest_since
        elif oldest_since is not None and oldest_since < since:
            # That is what counts where the network lets all through but this message.
            since = oldest_since
        return at if since is None else min(at, since + limits.give_up_seconds)

    def _keepalive_at(self) -> float:
        return self._acked_at + self._limits.keepalive_interval_seconds * self._jitter

    def _end(self, reason: FailureReason) -> list[Event]:
        self.ended_by = reason
        events: list[Event] = [
            MessageUndelivered(message, reason) for message in self._outbox.give_up()
        ]
        events.append(SessionEnded(reason))
        return events

    # What goes out

    def data_to_send(self, now: float) -> list[tuple[Any, bytes]]:
        """The datagrams that are to be sent now, each with the address that it goes to."""
        if self.ended_by is not None or self._sealer.is_worn_out:
            return []
        datagrams: list[tuple[Any, bytes]] = []
        if self._is_server:
            challenge = self._path.take_challenge()
            if challenge is not None:
                candidate, token = challenge
                datagrams.append((candidate, self._sealer.seal(bytes([Part.CHALLENGE]) + token)))
        if self._address is None:
            return datagrams
        while True:
            datagram = self._next_datagram(now)
            if datagram is None:
                break
            datagrams.append((self._address, datagram))
            if self._sealer.is_worn_out or (
                self._outbox.is_empty and not self._receipts.is_due(now)
            ):
                break
        return datagrams

    def _next_datagram(self, now: float) -> bytes | None:
        receipts, flight = self._receipts, self._flight
        pieces: list[bytes] = []
        room_bytes = MAX_CONTENT_BYTES
        if self._response is not None:
            pieces.append(bytes([Part.RESPONSE]) + self._response)
            self._response = None
            room_bytes -= 1 + TOKEN_BYTES
        is_probe, flight.is_probe_due = flight.is_probe_due, False
        if self._is_ping_due:
            room_bytes -= 1
        messages: list[OutgoingMessage] = []
        may_tell = receipts.has_news
        if is_probe or (self.is_open and not self._outbox.is_empty and flight.has_room):
            reserved_bytes = MAX_ACK_BYTES if may_tell else 0
            messages = self._next_messages(room_bytes - reserved_bytes, now, is_probe=is_probe)
            if not messages and may_tell:
                # One that leaves no room for it goes without.
                messages = self._next_messages(room_bytes, now, is_probe=is_probe)
                may_tell = not messages
        asks_for_ack = bool(messages)
        if self._is_ping_due or (is_probe and not messages):
            self._is_ping_due = False
            asks_for_ack = True
            pieces.append(bytes([Part.PING]))
        if may_tell and (pieces or messages or receipts.is_due(now)):
            pieces.append(receipts.take_ack(now))
        for message in messages:
            pieces.append(message_part(message.stream, message.number, message.body))
        if not pieces:
            return None
        return self._sealed(b"".join(pieces), messages, now, asks_for_ack=asks_for_ack)

    def _next_messages(
        self, room_bytes: int, now: float, *, is_probe: bool
    ) -> list[OutgoingMessage]:
        messages: list[OutgoingMessage] = []
        if is_probe:
            messages = self._flight.unacknowledged(room_bytes)
            for message in messages:
                room_bytes -= message.size_bytes
        if self.is_open:
            messages += self._outbox.take(room_bytes, now)
        return messages

    def _sealed(
        self, content: bytes, messages: list[OutgoingMessage], now: float, *, asks_for_ack: bool
    ) -> bytes:
        if not self._is_server:
            content = content.ljust(MIN_CLIENT_CONTENT_BYTES, b"\0")
        counter = self._sealer.counter
        datagram = self._sealer.seal(content)
        if asks_for_ack:
            self._flight.add(counter, len(datagram), messages, now)
        return datagram
