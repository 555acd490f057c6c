"""Accepting connections, watching over them, and letting them end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import GoodbyeCode
from sockserv.net.arrivals import Arrivals
from sockserv.net.held import relieve
from sockserv.net.peer import Peer
from sockserv.net.settings import PeerSettings
from sockserv.wire.connection import Role
from sockserv.wire.messages import Goodbye, encode_frame

__all__ = ["PeerFactory", "PeerSet"]

_REFUSAL_SECONDS: Final = 2.0
"""How long somebody who is not let in may take to read why."""

_QUIET_SECONDS: Final = 60.0
"""After so long without a refusal, the next one is the first in a row."""

_SHUTTING_DOWN: Final = "the server is shutting down"


class PeerSet:
    """The live connections of one side, each looked after at every tick of one timer."""

    def __init__(self, settings: PeerSettings) -> None:
        self._clock = settings.clock
        self._place_of = settings.place_of
        self._is_here = settings.is_here
        limits = settings.limits
        # What a client holds is for itself.
        is_server = settings.role is Role.SERVER
        self._most_held_bytes = limits.max_held_bytes if is_server else None
        self._arrivals = Arrivals(
            settings.clock,
            per_second=limits.max_unauthenticated_connections_per_second,
            most_places=limits.max_login_sources,
        )
        self._interval_seconds = 0.2 * min(
            limits.login_timeout_seconds,
            limits.keepalive_interval_seconds,
            limits.keepalive_timeout_seconds,
        )
        self._peers: set[Peer] = set()
        # Those that had not logged in when they were counted last, and all that came since, the first one first; with
        # the places that they come from.
        self._unauthenticated: dict[Peer, str] = {}
        self._tick: IDelayedCall | None = None
        self._empty: list[Deferred[None]] = []
        self.is_draining = False
        """Whether no more connections are wanted, for good."""

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        """All of them, as they are now: they may come and go meanwhile."""
        return iter(tuple(self._peers))

    def add(self, peer: Peer) -> None:
        """Look after a connection from now on."""
        self._peers.add(peer)
        assert peer.transport is not None
        self._unauthenticated[peer] = self._place_of(peer.transport.getPeer())
        if self._tick is None:
            self._tick = self._clock.callLater(self._interval_seconds, self._check)

    def discard(self, peer: Peer) -> None:
        """The connection is lost."""
        self._peers.discard(peer)
        self._unauthenticated.pop(peer, None)
        if not self._peers:
            if self._tick is not None:
                self._tick.cancel()
                self._tick = None
            empty, self._empty = self._empty, []
            for waiting in empty:
                waiting.callback(None)

    def may_come(self, address: IAddress | None) -> bool:
        """Whether somebody who has just connected from an address is listened to; this machine itself always is."""
        return self._is_here(address) or self._arrivals.may_come(self._place_of(address))

    def came_in(self, peer: Peer) -> None:
        """A connection has come to a login, and so was no waste."""
        assert peer.transport is not None
        self._arrivals.came_in(self._place_of(peer.transport.getPeer()))

    def has_room_for(self, address: IAddress | None, count: int) -> bool:
        """Whether somebody from an address may wait for a login, of which no more than `count` do.

        Where as many wait, the place that most of them come from has to give one up, the one that has waited longest,
        for somebody from a place with fewer: one stranger alone keeps nobody out.
        """
        # They are counted only when there may be as many: to count thousands for each that comes would
        # take longer than to serve it.
        if len(self._unauthenticated) >= count:
            self._unauthenticated = {
                peer: place
                for peer, place in self._unauthenticated.items()
                if not peer.is_logged_in
            }
        return len(self._unauthenticated) < count or self._makes_room_for(self._place_of(address))

    def _makes_room_for(self, place: str) -> bool:
        waiting = self._unauthenticated
        counts = Counter(waiting.values())
        crowded, most = counts.most_common(1)[0]
        # To change places one for one would gain nothing.
        if counts[place] + 1 >= most:
            return False
        longest = next(peer for peer, each in waiting.items() if each == crowded)
        del waiting[longest]
        longest.abort()
        return True

    def drain(self, timeout_seconds: float) -> Deferred[None]:
        """Say goodbye to all, let running calls end until the deadline, then cut.

        Fires when the last connection is lost; cancelling it changes nothing for the connections.
        """
        self.is_draining = True
        for peer in self:
            peer.drain(GoodbyeCode.SHUTTING_DOWN, _SHUTTING_DOWN)
        done: Deferred[None] = Deferred(lambda waiting: self._empty.remove(waiting))
        if not self._peers:
            done.callback(None)
            return done
        self._empty.append(done)
        deadline = self._clock.callLater(timeout_seconds, self._cut)

        def forget(result: None) -> None:
            if deadline.active():
                deadline.cancel()

        return done.addBoth(forget)

    def _cut(self) -> None:
        for peer in self:
            peer.abort()

    def _check(self) -> None:
        self._tick = self._clock.callLater(self._interval_seconds, self._check)
        now = self._clock.seconds()
        for peer in self:
            peer.check(now)
        if self._most_held_bytes is not None:
            relieve(self, self._most_held_bytes)


class _Refusal(Protocol):
    """Says goodbye to a connection for which there is no room."""

    def __init__(self, clock: IReactorTime, code: GoodbyeCode, why: str) -> None:
        self._clock = clock
        self._goodbye = encode_frame(Goodbye(code.value, why))
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        # With TLS, it is the peer who lets the goodbye out, by its part of the handshake.
        self._deadline = self._clock.callLater(_REFUSAL_SECONDS, self._abort)
        self.transport.write(self._goodbye)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _abort(self) -> None:
        ITCPTransport(self.transport).abortConnection()


class PeerFactory(Factory):
    """Makes a `Peer` of each connection that is accepted."""

    noisy = False
    _log = Logger()

    def __init__(self, settings: PeerSettings, peers: PeerSet) -> None:
        self._settings = settings
        self._peers = peers
        # A flood of connections must not flood the log as well, although some of it is let in.
        self._refused = 0
        self._last_refusal = 0.0

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A peer, a refusal when a limit is reached, or None for who comes too often to be worth a word."""
        limits = self._settings.limits
        if not self._peers.may_come(addr):
            self._count_refusal(addr, "too many from there come to no login")
            return None
        count = len(self._peers)
        if self._peers.is_draining:
            return _Refusal(self._settings.clock, GoodbyeCode.SHUTTING_DOWN, _SHUTTING_DOWN)
        if count >= limits.max_connections:
            return self._refuse(addr, f"{count} connections are open, which is the limit")
        most = limits.max_unauthenticated_connections
        if not self._peers.has_room_for(addr, most):
            return self._refuse(addr, f"{most} connections wait for a login, which is the limit")
        return Peer(self._settings)

    def _refuse(self, address: IAddress | None, why: str) -> Protocol:
        self._count_refusal(address, why)
        return _Refusal(self._settings.clock, GoodbyeCode.TOO_MANY_CONNECTIONS, why)

    def _count_refusal(self, address: IAddress | None, why: str) -> None:
        now = self._settings.clock.seconds()
        if now - self._last_refusal >= _QUIET_SECONDS:
            self._refused = 0
        self._last_refusal = now
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:
            self._log.warn(
                "refused {address}, {count} in a row: {why}",
                address=address,
                count=self._refused,
                why=why,
            )
