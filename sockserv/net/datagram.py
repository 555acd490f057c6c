"""Sessions over UDP: one port for any number of them, one timer, and nothing that a socket can do ends them.

Invariants:

1. Datagrams that belong to no session cost a look into a table, and are counted.
2. One turn of the reactor reads at most `MAX_BATCH_DATAGRAMS`: a flood, of empty datagrams too, starves nobody else.
3. A datagram that the system does not take is lost like any other: the session sends it again.
4. One timer runs for all sessions, and those that are idle have one entry for it.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from heapq import heapify, heappop, heappush
from itertools import count
from random import Random, SystemRandom
from typing import Any, Final

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IReactorFDSet,
    IReactorTime,
    IReactorUDP,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.udp import Port
from twisted.logger import Logger

from sockserv.errors import NoRoom
from sockserv.limits import DatagramLimits
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.drops import DropReason
from sockserv.wire.datagrams.events import Event, OutgoingMessage
from sockserv.wire.datagrams.layout import HEADER, MAX_DATAGRAM_BYTES, SESSION_ID_BYTES
from sockserv.wire.datagrams.sealing import SessionKeys
from sockserv.wire.datagrams.session import DatagramSession

__all__ = ["MAX_BATCH_DATAGRAMS", "Carrier", "DatagramSessions", "listen_datagrams"]

MAX_BATCH_DATAGRAMS: Final = 64
"""Each may have a hundred messages in it, if its sender likes."""

_READ_BYTES: Final = MAX_DATAGRAM_BYTES + 1
"""What is longer is cut to this by the system, and by that known to be too long."""

_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""What the system is asked to hold for the port; it may grant less."""

_LATE_SECONDS: Final = 1.0

_ID: Final = slice(1, 1 + SESSION_ID_BYTES)

_log = Logger()


class Carrier:
    """One session on a port, as whoever has something to say sees it.

    `on_events` is called with the events of the session, in their order; what it raises is logged. It may send.
    """

    __slots__ = ("_entries", "_sessions", "on_events", "session")

    def __init__(
        self,
        sessions: DatagramSessions,
        session: DatagramSession,
        on_events: Callable[[list[Event]], object],
    ) -> None:
        self.session = session
        self.on_events = on_events
        self._sessions = sessions
        self._entries: list[float] = []
        """When the timer looks after this session: each earlier than the one before."""

    def send(self, stream: int, body: bytes) -> OutgoingMessage:
        """Send a message soon, together with others; raises what `DatagramSession.send` raises."""
        sessions = self._sessions
        message = self.session.send(stream, body, sessions.clock.seconds())
        sessions.flush_soon(self)
        return message

    def close(self) -> None:
        """End the session; what was not delivered is told before this returns."""
        self._sessions.tell(self, self.session.close())

    def tell(self, events: list[Event]) -> None:
        """Hand on what has happened."""
        try:
            self.on_events(events)
        except Exception:
            _log.failure("what came in a session of datagrams could not be dealt with")


class DatagramSessions(DatagramProtocol):
    """The sessions of one port, of both roles. `clock` is the reactor.

    `drops` counts the datagrams that were dropped by reason, `write_errors` those that the system did not take by its
    name for why.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        *,
        limits: DatagramLimits | None = None,
        random: Random | None = None,
    ) -> None:
        self.clock = clock
        self.drops: Counter[DropReason] = Counter()
        self.write_errors: Counter[str] = Counter()
        self._limits = limits or DatagramLimits()
        self._random = random or SystemRandom()
        self._carriers: dict[bytes, Carrier] = {}
        self._dirty: dict[Carrier, None] = {}
        """Those that may have something to send."""
        self._is_in_batch = False
        self._flush_call: IDelayedCall | None = None
        self._heap: list[tuple[float, int, Carrier]] = []
        self._ended_entries = 0
        """How many of them are of sessions that have ended."""
        self._sequence = count()
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0
        self._was_late = False

    def __len__(self) -> int:
        return len(self._carriers)

    def open(
        self,
        role: Role,
        keys: SessionKeys,
        on_events: Callable[[list[Event]], object],
        *,
        address: Any = None,
    ) -> Carrier:
        """Begin a session; `address` is where the server is, as host and port, for a client alone.

        Raises `NoRoom` when there are `max_sessions` already, and `ValueError` for a session id that is in use.
        """
        if len(self._carriers) >= self._limits.max_sessions:
            raise NoRoom(f"this port has {len(self._carriers)} sessions already")
        if keys.session_id in self._carriers:
            raise ValueError("a session with this id is open on this port already")
        session = DatagramSession(
            role,
            keys,
            now=self.clock.seconds(),
            address=address,
            limits=self._limits,
            random=self._random,
            drops=self.drops,
        )
        carrier = self._carriers[keys.session_id] = Carrier(self, session, on_events)
        self.flush_soon(carrier)
        return carrier

    # What comes in

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """A datagram has come."""
        self.datagrams_received([(datagram, addr)])

    def datagrams_received(self, datagrams: Iterable[tuple[bytes, Any]]) -> None:
        """Several have come at once; what they cause to be sent goes out when all were looked at."""
        now = self.clock.seconds()
        carriers = self._carriers
        self._is_in_batch = True
        unknown = 0
        for datagram, address in datagrams:
            carrier = carriers.get(datagram[_ID])
            if carrier is None:
                unknown += 1
                if len(datagram) < HEADER.size:
                    unknown -= 1
                    self.drops[DropReason.TOO_SHORT] += 1
                continue
            self._dirty[carrier] = None
            events = carrier.session.receive_datagram(datagram, address, now)
            if events:
                carrier.tell(events)
        if unknown:
            self.drops[DropReason.UNKNOWN_SESSION] += unknown
        self._flush()

    def tell(self, carrier: Carrier, events: list[Event]) -> None:
        """Hand on what has happened to a session by itself."""
        self._dirty[carrier] = None
        if events:
            carrier.tell(events)
        self.flush_soon(carrier)

    # What goes out

    def flush_soon(self, carrier: Carrier) -> None:
        """A session may have something to send: at the end of the batch, or of this turn of the reactor."""
        self._dirty[carrier] = None
        if not self._is_in_batch and self._flush_call is None:
            self._flush_call = self.clock.callLater(0, self._on_flush_call)

    def _on_flush_call(self) -> None:
        self._flush_call = None
        self._flush()

    def _flush(self) -> None:
        self._is_in_batch = False
        now = self.clock.seconds()
        dirty, self._dirty = self._dirty, {}
        for carrier in dirty:
            for address, datagram in carrier.session.data_to_send(now):
                self._write(datagram, address)
            self._schedule(carrier)
        self._set_timer()

    def _write(self, datagram: bytes, address: Any) -> None:
        try:
            if self.transport is not None:
                self.transport.write(datagram, address)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "unknown")
            self.write_errors[name] += 1
        except (MessageLengthError, ValueError, OverflowError):
            self.write_errors["EINVAL"] += 1

    # Time

    def _schedule(self, carrier: Carrier) -> None:
        at = carrier.session.next_timeout()
        if at is None:
            if self._carriers.get(carrier.session.session_id) is carrier:
                del self._carriers[carrier.session.session_id]
            self._forget_entries(carrier)
            return
        entries = carrier._entries
        if not entries or at < entries[-1]:
            entries.append(at)
            heappush(self._heap, (at, next(self._sequence), carrier))

    def _forget_entries(self, carrier: Carrier) -> None:
        """A session has ended: let it not stay until its time would have come, once half of all have."""
        self._ended_entries += len(carrier._entries)
        carrier._entries.clear()
        if 2 * self._ended_entries > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].session.ended_by is None]
            heapify(self._heap)
            self._ended_entries = 0

    def _set_timer(self) -> None:
        """Have the timer go off at the first entry."""
        heap = self._heap
        while heap and heap[0][2].session.ended_by is not None:
            heappop(heap)
            self._ended_entries -= 1
        if not heap or self.transport is None:
            self._stop_timer()
            return
        at = heap[0][0]
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._stop_timer()
        self._timer_at = at
        self._timer = self.clock.callLater(max(0.0, at - self.clock.seconds()), self._on_timer)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _on_timer(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        self._was_late, was_late = now > self._timer_at + _LATE_SECONDS, self._was_late
        if self._was_late and not was_late:
            # This process stood still. What came meanwhile is read first: it may say that nobody is lost.
            self._timer_at = now
            self._timer = self.clock.callLater(0, self._on_timer)
            return
        heap = self._heap
        self._is_in_batch = True
        while heap and heap[0][0] <= now:
            carrier = heappop(heap)[2]
            if carrier.session.ended_by is not None:
                self._ended_entries -= 1
                continue
            carrier._entries.pop()
            self._dirty[carrier] = None
            at = carrier.session.next_timeout()
            if at is not None and at <= now:
                events = carrier.session.handle_timeout(now)
                if events:
                    carrier.tell(events)
        self._flush()

    # The port

    def startProtocol(self) -> None:
        """The port is open: send what waits for it."""
        for carrier in self._carriers.values():
            self.flush_soon(carrier)

    def stopProtocol(self) -> None:
        """The port is closed: all sessions end."""
        for carrier in list(self._carriers.values()):
            self.tell(carrier, carrier.session.close())
        self._carriers.clear()
        self._dirty.clear()
        self._heap.clear()
        self._ended_entries = 0
        self._stop_timer()
        if self._flush_call is not None:
            self._flush_call.cancel()
            self._flush_call = None


class _BatchPort(Port):
    """A port of the reactor that reads many datagrams at once, but not without end, and survives errors."""

    protocol: DatagramSessions

    def startListening(self) -> None:
        """Bind the socket, which is closed again when that fails: Twisted leaves it open."""
        try:
            super().startListening()  # type: ignore[no-untyped-call]  # untyped in Twisted
        except CannotListenError:
            self._made.close()
            raise

    def createInternetSocket(self) -> socket.socket:
        """A socket with large buffers."""
        made: socket.socket = super().createInternetSocket()
        self._made = made
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):
                made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        return made

    def doRead(self) -> None:
        """Read what is there, up to a bound, and hand it on in one piece."""
        receive = self.socket.recvfrom
        batch: list[tuple[bytes, Any]] = []
        try:
            while len(batch) < MAX_BATCH_DATAGRAMS:
                batch.append(receive(_READ_BYTES))
        except OSError:
            # Nothing more is there; or the network reports that something we sent did not arrive.
            pass
        if batch:
            try:
                self.protocol.datagrams_received(batch)
            except Exception:
                # What is raised from here closes the port for everybody.
                _log.failure("datagrams could not be dealt with")

    def write(self, datagram: bytes, addr: Any = None) -> None:
        """Send a datagram; raises `OSError`. The address is one that came from here, or was resolved."""
        self.socket.sendto(datagram, addr)


def listen_datagrams(
    reactor: Any, sessions: DatagramSessions, *, port: int = 0, interface: str = ""
) -> IListeningPort:
    """Open a UDP port for sessions: of a server on `port`, of a client on any that is free.

    Raises `twisted.internet.error.CannotListenError` when the port is taken.
    """
    if not IReactorFDSet.providedBy(reactor):
        udp: IReactorUDP = reactor
        return udp.listenUDP(port, sessions, interface, _READ_BYTES)
    made: Any = _BatchPort
    listening: IListeningPort = made(port, sessions, interface, _READ_BYTES, reactor)
    listening.startListening()
    return listening
