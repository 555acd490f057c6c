"""A server: services, an authenticator and limits, joined to the network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)

from sockserv import __version__
from sockserv.errors import GoodbyeCode, Unavailable
from sockserv.limits import Limits
from sockserv.net.factory import PeerFactory, PeerSet
from sockserv.net.peer import Peer
from sockserv.net.settings import PeerSettings
from sockserv.net.threads import InThread, pool_of
from sockserv.server.dispatch import Dispatcher
from sockserv.server.logins import Logins
from sockserv.server.origins import Origins, is_here, origin_of, place_of
from sockserv.server.revocation import Revocation
from sockserv.server.trail import AuditTrail
from sockserv.services.api import Service
from sockserv.services.late import LateServices
from sockserv.trust.audit import AuditSink
from sockserv.trust.authentication import Authenticator
from sockserv.trust.identities import Identity
from sockserv.trust.origin import Origin
from sockserv.wire.connection import Role

__all__ = ["Server"]


class Server:
    """Serves calls: to embed in any Twisted application, and what the daemon is made of.

    `reactor` measures time, runs threads and listens. `authenticator` says who may come in: `sockserv.trust` has some.
    `in_thread` replaces the reactor's thread pool for blocking work, `origin_of` what finds out from a transport where
    its connection comes from (for listeners behind a proxy, say). `audit` is told who calls what, and who is refused.
    Services among `services` that are late are made at the first call that asks for one.

    Raises `ValueError` when two services have an operation of the same name, `TypeError` when one was not declared with
    its permission.
    """

    def __init__(
        self,
        reactor: Any,
        services: Iterable[Service | LateServices],
        *,
        authenticator: Authenticator,
        limits: Limits | None = None,
        in_thread: InThread | None = None,
        origin_of: Callable[[Any], Origin] = origin_of,
        audit: AuditSink | None = None,
    ) -> None:
        self._reactor = reactor
        self._limits = limits or Limits()
        origins = Origins(origin_of)
        trail = self._trail = AuditTrail(reactor, audit, origins)
        self._logins = logins = Logins(
            authenticator,
            self._limits,
            reactor,
            origins,
            trail,
            on_admitted=lambda peer: self._peers.came_in(peer),
        )
        dispatcher = Dispatcher(services, logins, trail)
        self._revocation = Revocation(dispatcher.permission, trail)
        self._reconsidering: IDelayedCall | None = None
        self._origins = origins
        self._settings = PeerSettings(
            clock=reactor,
            role=Role.SERVER,
            agent=f"sockserv/{__version__}",
            limits=self._limits,
            handle=dispatcher.dispatch,
            in_thread=in_thread or pool_of(reactor),
            auth=authenticator.methods,
            on_made=self._made,
            on_hello=self._greeted,
            on_end=self._ended,
            place_of=place_of,
            is_here=is_here,
        )
        self._anonymous = authenticator.anonymous
        self._peers = PeerSet(self._settings)
        self._ports: list[IListeningPort] = []
        self._factory = PeerFactory(self._settings, self._peers)

    @property
    def factory(self) -> IProtocolFactory:
        """Makes the protocols; for endpoints that are not listened on with `listen`."""
        return self._factory

    def factory_for(self, identity: Identity, origin: Origin) -> IProtocolFactory:
        """Makes the protocols for who is behind a connection already: another protocol, say, that speaks for somebody.

        They need no login: each is `identity`, with its `login`, and the audit log has `origin` as the place that they
        come from.
        """
        method = identity.login.method if identity.login is not None else "none"

        def greeted(peer: Peer) -> None:
            self._origins.know(peer, origin)
            try:
                self._logins.admit(peer, identity, method)
            except Unavailable as error:
                peer.close(GoodbyeCode.TOO_MANY_CONNECTIONS, error.message)

        settings = attrs.evolve(self._settings, auth=(), on_hello=greeted)
        return PeerFactory(settings, self._peers)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._peers)

    def listen(self, endpoint: str | IStreamServerEndpoint) -> Deferred[IListeningPort]:
        """Accept connections on an endpoint, or a description of one (`tcp:0:interface=127.0.0.1`).

        Fires with the port; fails as the endpoint does, with `CannotListenError` for a port that is
        taken, and `ValueError` at once for a description that is none.
        """
        where: IStreamServerEndpoint = (
            serverFromString(self._reactor, endpoint) if isinstance(endpoint, str) else endpoint
        )
        listening: Deferred[IListeningPort] = where.listen(self._factory)
        return listening.addCallback(self._listens)

    def reconsider(self, current: Callable[[Identity], Identity | None]) -> None:
        """Ask again who everybody is that is logged in: to be called when identities or their permissions have changed.

        `current` is given an identity, and gives what it is now. For None its running calls end with
        `PermissionDenied` and its connections are closed, with the goodbye `revoked`. For a changed one the calls end
        that need a permission under which it holds something else now, but those that this still allows (see
        `Call.goes_on_while`).

        It happens in the reactor's next turn, before anything more is read from anybody; the last call until then
        counts.
        """
        # Not at once: it may be a handler that calls, and one that revokes itself cannot be cancelled while it runs.
        # Who waits for a thread, as for one that writes a file, is resumed right before the timers, without input in
        # between.
        if self._reconsidering is not None and self._reconsidering.active():
            self._reconsidering.cancel()
        self._reconsidering = self._reactor.callLater(0, self._reconsider, current)

    def _reconsider(self, current: Callable[[Identity], Identity | None]) -> None:
        self._logins.changed(current)
        for peer in self._peers:
            self._revocation.reconsider(peer, current)

    async def _stop(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            await _as_deferred(port.stopListening())
        await self._peers.drain(self._limits.drain_timeout_seconds)
        self._trail.stopped()
        if self._reconsidering is not None and self._reconsidering.active():
            self._reconsidering.cancel()

    def stop(self) -> Deferred[None]:
        """Stop accepting, say goodbye, let running calls end until the deadline, then cut.

        Fires when the last connection is gone. A server that was stopped stays so.
        """
        return Deferred.fromCoroutine(self._stop())

    def _listens(self, port: IListeningPort) -> IListeningPort:
        self._ports.append(port)
        return port

    def _made(self, peer: Peer) -> None:
        self._peers.add(peer)

    def _greeted(self, peer: Peer) -> None:
        if self._anonymous is not None:
            peer.login(self._anonymous)

    def _ended(self, peer: Peer, why: Exception) -> None:
        self._peers.discard(peer)
        self._logins.left(peer)
        self._trail.ended(peer)


async def _as_deferred(result: Any) -> None:
    if isinstance(result, Awaitable):
        await result
