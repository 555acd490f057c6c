"""Finding a server, connecting to it and logging in."""

from __future__ import annotations

import os
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError as TwistedConnectError
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from sockserv import __version__
from sockserv.client.client import Client
from sockserv.client.login import Connect, connect_as
from sockserv.client.profiles import Profiles, is_name
from sockserv.errors import (
    AuthenticationFailed,
    ConnectError,
    ConnectionEnded,
    StateError,
    Unavailable,
    UnexpectedResult,
    UnknownOperation,
)
from sockserv.limits import Limits
from sockserv.net.calls import IncomingCall
from sockserv.net.factory import PeerSet
from sockserv.net.peer import Peer
from sockserv.net.settings import PeerSettings
from sockserv.net.threads import InThread, pool_of
from sockserv.state import StateDirectory
from sockserv.urls import ServerUrl
from sockserv.wire.connection import Role
from sockserv.wire.messages import LOGIN_PREFIX, encode_value

__all__ = ["connect", "connect_endpoint"]


def connect(
    reactor: Any,
    server: str | None = None,
    *,
    token: str | None = None,
    state: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    timeout_seconds: float = 10.0,
) -> Deferred[Client]:
    """Connect to a server and log in.

    `server` is a URL, `tcp://HOST:PORT` or `unix:///PATH`, or the name that `sockserv login` has given to
    one. Without it, it is the daemon of this account that runs on the state directory `state` (or the one that
    SOCKSERV_STATE names, or the usual one). Without a `token` it is that of the login, or else the owner's, if it is
    the daemon of this account.

    Fails with `StateError` when no such daemon runs, `ProfileError` when there is no usable login of this name,
    `ConnectError` when nobody answers within `timeout_seconds` or it is not sockserv, `AuthenticationFailed` when the
    token is refused. Cancelling the Deferred gives up.
    """
    return Deferred.fromCoroutine(_connect(reactor, server, token, state, limits, timeout_seconds))


async def _connect(
    reactor: Any,
    server: str | None,
    token: str | None,
    state: str | os.PathLike[str] | None,
    limits: Limits | None,
    timeout_seconds: float,
) -> Client:
    if server is not None and is_name(server):

        def connect_to(url: ServerUrl) -> Deferred[Client]:
            return connect(
                reactor,
                str(url),
                token=url.token,
                state=state,
                limits=limits,
                timeout_seconds=timeout_seconds,
            )

        return await _connect_by_name(connect_to, server, token, timeout_seconds)
    directory = StateDirectory.locate(state, environ=os.environ)
    if server is None:
        server = directory.running().listening[0]
        token = token or directory.owner_token()
    elif token is None:
        token = _own_token(server, directory)
    return await connect_endpoint(
        reactor,
        _endpoint_for(reactor, server, sends_token=token is not None),
        token=token,
        limits=limits,
        timeout_seconds=timeout_seconds,
        name=server,
    )


async def _connect_by_name(
    connect_to: Connect, name: str, token: str | None, timeout_seconds: float
) -> Client:
    profiles = Profiles.locate()
    profile = profiles.load(name)
    if token is not None:
        url = attrs.evolve(profile.url, token=token)
        profile = attrs.evolve(profile, url=url, next_token=None)
    try:
        return await connect_as(connect_to, profile, profiles, timeout_seconds=timeout_seconds)
    except AuthenticationFailed as error:
        raise AuthenticationFailed(
            f"{error}; a new invitation and `sockserv login --name {profile.name}` mend that"
        ) from None


def connect_endpoint(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    timeout_seconds: float = 10.0,
    name: str = "the server",
    in_thread: InThread | None = None,
) -> Deferred[Client]:
    """Connect to the server behind a client endpoint and log in; `name` stands for it in errors.

    `in_thread` replaces the reactor's thread pool for blocking work with files. Fails, and can be cancelled, like
    `connect`.
    """
    connecting = _Connecting(reactor, limits or Limits(), name, in_thread)
    done = Deferred.fromCoroutine(connecting.connect(endpoint, token))

    def late(result: Any, _: float) -> Any:
        # Cancelling an endpoint ends it with an error of its own making.
        if isinstance(result, Failure):
            raise ConnectError(f"{name} did not answer within {timeout_seconds:g} seconds")
        return result

    def explain(failure: Failure) -> Any:
        error = failure.value
        connecting.give_up()
        if isinstance(error, ConnectingCancelledError):
            raise CancelledError from None
        if isinstance(error, TwistedConnectError | DNSLookupError):
            raise ConnectError(f"cannot connect to {name}: {_reason(error)}") from None
        if isinstance(error, AuthenticationFailed):
            raise AuthenticationFailed(f"{name} refused the login: {error}") from None
        if isinstance(error, ConnectionEnded | Unavailable | UnexpectedResult):
            how = (
                "did not let us in" if connecting.has_hello else "did not greet us as sockserv does"
            )
            raise ConnectError(f"{name} {how}: {error}") from None
        return failure

    return done.addTimeout(timeout_seconds, reactor, onTimeoutCancel=late).addErrback(explain)


class _Connecting:
    """One attempt: the connection, its hello, the login."""

    def __init__(self, reactor: Any, limits: Limits, name: str, in_thread: InThread | None) -> None:
        self._name = name
        self._hello: Deferred[Peer] = Deferred()
        self._ended: Deferred[Exception] = Deferred()
        self._peer: Peer | None = None

        self._settings = PeerSettings(
            clock=reactor,
            role=Role.CLIENT,
            agent=f"sockserv/{__version__}",
            limits=limits,
            handle=_refuse,
            in_thread=in_thread or pool_of(reactor),
            on_made=self._on_made,
            on_hello=self._on_hello,
            on_end=self._on_end,
        )
        self._peers = PeerSet(self._settings)

    async def connect(self, endpoint: IStreamClientEndpoint, token: str | None) -> Client:
        factory = Factory.forProtocol(lambda: Peer(self._settings))
        factory.noisy = False
        await endpoint.connect(factory)
        peer = await self._hello
        identity = await _login(peer, token)
        return Client(peer, identity, self._ended, server_name=self._name)

    @property
    def has_hello(self) -> bool:
        """Whether a server has introduced itself."""
        return self._peer is not None and self._peer.hello is not None

    def give_up(self) -> None:
        """The attempt has failed."""
        if self._peer is not None:
            self._peer.abort()

    def _on_made(self, peer: Peer) -> None:
        self._peer = peer
        self._peers.add(peer)

    def _on_hello(self, peer: Peer) -> None:
        if not self._hello.called:
            self._hello.callback(peer)

    def _on_end(self, peer: Peer, why: Exception) -> None:
        self._peers.discard(peer)
        if not self._hello.called:
            self._hello.errback(why)
        self._ended.callback(why)


async def _login(peer: Peer, token: str | None) -> str | None:
    assert peer.hello is not None
    methods = peer.hello.auth
    if not methods:
        return None
    if token is None:
        raise AuthenticationFailed("it asks for a login, and no token is known for it")
    if "token" not in methods:
        raise AuthenticationFailed(f"it takes no tokens, but {', '.join(methods)}")
    call = await peer.open(f"{LOGIN_PREFIX}token", encode_value({"token": token}), end=True)
    result: _LoginResult = await call.result(_LoginResult)
    return result.identity


class _LoginResult(msgspec.Struct):
    identity: str


def _refuse(call: IncomingCall) -> None:
    raise UnknownOperation("a client has no operations")


def _own_token(server: str, directory: StateDirectory) -> str | None:
    """The owner token, if `server` is the daemon of this account."""
    try:
        return directory.owner_token() if server in directory.running().listening else None
    except StateError:
        return None


def _endpoint_for(reactor: Any, server: str, *, sends_token: bool) -> IStreamClientEndpoint:
    try:
        url = urlsplit(server)
        port = url.port
    except ValueError as error:
        raise ConnectError(f"{server!r} is not the URL of a server: {error}") from None
    if url.scheme == "unix" and url.path and not url.netloc:
        return UNIXClientEndpoint(reactor, unquote(url.path))
    if url.scheme == "tcp" and url.hostname and port and url.path in ("", "/"):
        if sends_token and not _is_loopback(url.hostname):
            raise ConnectError(
                f"{server} is not encrypted: the token would cross the network for all to read"
            )
        return HostnameEndpoint(reactor, url.hostname, port)
    raise ConnectError(
        f"{server!r} is not the URL of a server: write tcp://HOST:PORT or unix:///PATH"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: TwistedConnectError | DNSLookupError) -> str:
    """What the system said, without what Twisted writes around it."""
    if isinstance(error, DNSLookupError):
        return "there is no host of this name"
    said = error.args[0] if error.args else ""
    return str(said or error).rstrip(".").lower()
