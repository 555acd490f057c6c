"""A server: services, an authenticator and limits, joined to the network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from sockserv import __version__
from sockserv.errors import (
    AuthenticationFailed,
    CallError,
    GoodbyeCode,
    InvalidArgument,
    PermissionDenied,
    UnknownOperation,
)
from sockserv.limits import Limits
from sockserv.net.calls import IncomingCall
from sockserv.net.factory import PeerFactory, PeerSet
from sockserv.net.peer import Peer
from sockserv.net.settings import PeerSettings
from sockserv.services.api import Operation, Service
from sockserv.trust.authentication import Authenticator
from sockserv.trust.identities import Identity
from sockserv.wire.connection import Role
from sockserv.wire.messages import LOGIN_PREFIX, NOTHING

__all__ = ["Server"]


class Server:
    """Serves calls: to embed in any Twisted application, and what the daemon is made of.

    `reactor` measures time, runs threads and listens. `authenticator` says who may come in:
    `sockserv.trust` has some. `in_thread` replaces the reactor's thread pool for blocking work.

    Raises `ValueError` when two services have an operation of the same name.
    """

    def __init__(
        self,
        reactor: Any,
        services: Iterable[Service],
        *,
        authenticator: Authenticator,
        limits: Limits | None = None,
        in_thread: Callable[..., Deferred[Any]] | None = None,
    ) -> None:
        self._reactor = reactor
        self._limits = limits or Limits()
        self._settings = PeerSettings(
            clock=reactor,
            role=Role.SERVER,
            agent=f"sockserv/{__version__}",
            limits=self._limits,
            handle=_Dispatcher(services, authenticator, self._limits).dispatch,
            in_thread=in_thread or self._in_thread,
            auth=authenticator.methods,
            on_made=self._made,
            on_hello=self._greeted,
            on_end=self._ended,
        )
        self._anonymous = authenticator.anonymous
        self._peers = PeerSet(self._settings)
        self._ports: list[IListeningPort] = []
        self._factory = PeerFactory(self._settings, self._peers)

    @property
    def factory(self) -> IProtocolFactory:
        """Makes the protocols; for endpoints that are not listened on with `listen`."""
        return self._factory

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

    async def _stop(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            await _as_deferred(port.stopListening())
        await self._peers.drain(self._limits.drain_timeout_seconds)

    def stop(self) -> Deferred[None]:
        """Stop accepting, say goodbye, let running calls end until the deadline, then cut.

        Fires when the last connection is gone. A server that was stopped stays so.
        """
        return Deferred.fromCoroutine(self._stop())

    def _listens(self, port: IListeningPort) -> IListeningPort:
        self._ports.append(port)
        return port

    def _in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *args)

    def _made(self, peer: Peer) -> None:
        self._peers.add(peer)

    def _greeted(self, peer: Peer) -> None:
        if self._anonymous is not None:
            peer.login(self._anonymous)

    def _ended(self, peer: Peer, why: Exception) -> None:
        self._peers.discard(peer)


class _Dispatcher:
    """Finds the operation that a call asks for, and whether the identity may have it."""

    _log = Logger()

    def __init__(
        self, services: Iterable[Service], authenticator: Authenticator, limits: Limits
    ) -> None:
        self._authenticator = authenticator
        self._max_login_attempts = limits.max_login_attempts
        # The connections that wait for an authenticator which takes its time.
        self._checking: set[Peer] = set()
        self._operations: dict[str, Operation] = {}
        for service in services:
            for name, operation in service.operations().items():
                if name in self._operations or name.startswith(LOGIN_PREFIX):
                    raise ValueError(f"the operation {name!r} exists already")
                self._operations[name] = operation

    def dispatch(self, call: IncomingCall) -> Any:
        """What the operation makes of the call, or a coroutine or Deferred of it."""
        request = call.request
        operation = self._operations.get(request.op)
        if operation is None:
            if request.op.startswith(LOGIN_PREFIX):
                return self._login(call)
            raise UnknownOperation(f"there is no operation {request.op[:80]!r} here")
        identity: Identity = call.peer.identity
        if not identity.may(operation.permission):
            raise PermissionDenied(
                f"{identity.name} may not call {request.op}: that needs the permission "
                f"{operation.permission!r}",
                details={"permission": operation.permission},
            )
        args = request.args
        call.args = operation.decode(None if args is NOTHING else args)
        return operation.handler(call)

    async def _login(self, call: IncomingCall) -> dict[str, str]:
        peer = call.peer
        method = call.request.op.removeprefix(LOGIN_PREFIX)
        if peer.identity is not None:
            raise PermissionDenied(f"this connection is logged in as {peer.identity.name} already")
        try:
            if peer in self._checking:
                # Otherwise as many could be tried at once as there may be calls.
                raise AuthenticationFailed("another login is being checked: wait for its answer")
            identity = await self._check(peer, method, call.request.args)
        except (AuthenticationFailed, InvalidArgument) as error:
            self._login_failed(call, method, error)
            raise
        peer.login(identity)
        self._log.info("{peer} logged in by {method}", peer=peer, method=method)
        return {"identity": identity.name}

    async def _check(self, peer: Peer, method: str, arguments: msgspec.Raw) -> Identity:
        self._checking.add(peer)
        try:
            return await self._identify(method, arguments)
        finally:
            self._checking.discard(peer)

    async def _identify(self, method: str, arguments: msgspec.Raw) -> Identity:
        if method not in self._authenticator.methods:
            offered = ", ".join(self._authenticator.methods) or "none is needed"
            raise AuthenticationFailed(
                f"there is no login by {method[:80]!r} here; offered: {offered}"
            )
        try:
            credentials = msgspec.json.decode(arguments, type=dict[str, Any])
        except msgspec.DecodeError:
            raise InvalidArgument("the arguments of a login are a JSON object") from None
        found = self._authenticator.authenticate(method, credentials)
        return await found if isinstance(found, Awaitable) else found

    def _login_failed(self, call: IncomingCall, method: str, error: CallError) -> None:
        peer = call.peer
        peer.failed_logins += 1
        self._log.warn(
            "{peer} failed to log in by {method!r}, attempt {count}: {why}",
            peer=peer,
            method=method[:80],
            count=peer.failed_logins,
            why=error,
        )
        if peer.failed_logins >= self._max_login_attempts:
            # Nothing that follows the goodbye is read.
            peer.fail(call, error)
            peer.drain(GoodbyeCode.LOGIN_FAILED, "too many logins failed")


async def _as_deferred(result: Any) -> None:
    if isinstance(result, Awaitable):
        await result
