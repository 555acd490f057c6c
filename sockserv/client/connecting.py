"""Finding a server, connecting to it and logging in."""

from __future__ import annotations

import os
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError as TwistedConnectError
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from sockserv import __version__
from sockserv.client.client import Client
from sockserv.client.credentials import Credentials, log_in_with
from sockserv.client.login import connect_as
from sockserv.client.profiles import Profile, Profiles, is_name
from sockserv.client.reaching import TlsOptions, endpoint_for
from sockserv.errors import (
    AuthenticationFailed,
    CertificateChanged,
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
from sockserv.urls import Scheme, ServerUrl
from sockserv.wire.connection import Role
from sockserv.wire.framing import FIRST_BYTES_OF_TLS

__all__ = ["connect", "connect_endpoint"]

_CERTIFICATE_REQUIRED: Final = "'certificate required'"
"""The words of the alert of a server that lets nobody in without one (RFC 8446, section 6.2)."""

_SHOW_A_CERTIFICATE: Final = (
    "; log in with a certificate: `sockserv login --certificate FILE --key FILE`"
)


def connect(
    reactor: Any,
    server: str | None = None,
    *,
    token: str | None = None,
    user: str | None = None,
    password: str | None = None,
    pin: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    timeout_seconds: float = 10.0,
) -> Deferred[Client]:
    """Connect to a server and log in.

    `server` is a URL, `sockserv://HOST`, `tcp://HOST:PORT` or `unix:///PATH` (`sockserv.urls`), or the name that
    `sockserv login` has given to one. Without it, it is the daemon of this account that runs on the state directory
    `state` (or the one that SOCKSERV_STATE names, or the usual one).

    With `sockserv://` it is TLS, always. The server must hold the key of `pin`, or of the pin in the URL; then names
    and dates in its certificate do not matter. Without a pin it needs a certificate for HOST from one of the
    authorities in the file `ca`, or else one that the system trusts. `certificate` and `key` are files with what we
    show of ourselves; one file may hold both.

    Of what the server offers, the first of these is how we log in: with `token`, that of the URL, that of the login,
    or the owner's, if it is the daemon of this account and neither a certificate nor a user is given; with our
    `certificate`; with our account, on a Unix socket; with `user` and `password`.

    Fails with `StateError` when no such daemon runs, `ProfileError` when there is no usable login of this name,
    `CertificateError` when a file cannot be used, `CertificateChanged` when the server holds another key than that of
    the pin, `ConnectError` when nobody answers within `timeout_seconds`, is not sockserv, or not whom we trust, and
    `AuthenticationFailed` when we are refused. Cancelling the Deferred gives up.
    """
    options = _Options(
        credentials=Credentials(
            token=token, user=user, password=password, has_certificate=certificate is not None
        ),
        pin=pin,
        tls=TlsOptions(ca=ca, certificate=certificate, key=key),
        state=state,
        limits=limits,
        timeout_seconds=timeout_seconds,
    )
    return Deferred.fromCoroutine(_connect(reactor, server, options))


@attrs.frozen(kw_only=True)
class _Options:
    """What `connect` is told besides the server; `name` is what that is called in errors, its address without one."""

    name: str | None = None
    credentials: Credentials
    pin: str | None
    tls: TlsOptions
    state: str | os.PathLike[str] | None
    limits: Limits | None
    timeout_seconds: float


async def _connect(reactor: Any, server: str | None, options: _Options) -> Client:
    if server is not None and is_name(server):
        return await _connect_by_name(reactor, server, options)
    url = None if server is None else ServerUrl.parse(server)
    return await _connect_to(reactor, url, options)


async def _connect_to(reactor: Any, url: ServerUrl | None, options: _Options) -> Client:
    """Connect to a server by its URL; None is the daemon of this account."""
    directory = StateDirectory.locate(options.state, environ=os.environ)
    if url is None:
        note: ServerUrl | None = ServerUrl.parse(directory.running().listening[0])
    else:
        note = _note_of(url, directory)
    target = url or note
    assert target is not None
    token = options.credentials.token or target.token
    if token is None and note is not None and not options.credentials.has_more:
        token = directory.owner_token()
    pin = options.pin or target.pin
    knows_by_note = pin is None or (url is None and options.pin is None)
    if knows_by_note and note is not None and options.tls.ca is None:
        pin = note.pin
    target = attrs.evolve(target, pin=pin, token=token)
    try:
        return await _connect_and_log_in(reactor, target, options)
    except CertificateChanged:
        # The daemon takes up a new key when somebody connects, and tells of it in its note then.
        renewed = _note_of(target, directory) if knows_by_note else None
        if renewed is None or renewed.pin == pin:
            raise
    target = attrs.evolve(target, pin=renewed.pin)
    return await _connect_and_log_in(reactor, target, options)


async def _connect_and_log_in(reactor: Any, url: ServerUrl, options: _Options) -> Client:
    credentials = attrs.evolve(options.credentials, token=url.token, server=url)
    endpoint = endpoint_for(reactor, url, options.tls, sends_secrets=credentials.has_secrets)
    return await connect_endpoint(
        reactor,
        endpoint,
        credentials=credentials,
        limits=options.limits,
        timeout_seconds=options.timeout_seconds,
        name=options.name or url.address,
        pin=url.pin if url.scheme is Scheme.TLS else None,
    )


async def _connect_by_name(reactor: Any, name: str, options: _Options) -> Client:
    profiles = Profiles.locate()
    profile = profiles.load(name)
    token, timeout_seconds = options.credentials.token, options.timeout_seconds
    if token is not None:
        url = attrs.evolve(profile.url, token=token)
        profile = attrs.evolve(profile, url=url, next_token=None)
    options = _of_profile(profile, options)

    def connect_to(attempt: Profile) -> Deferred[Client]:
        return Deferred.fromCoroutine(_connect_to(reactor, attempt.url, options))

    try:
        return await connect_as(connect_to, profile, profiles, timeout_seconds=timeout_seconds)
    except AuthenticationFailed as error:
        if profile.url.token is None:
            raise
        raise AuthenticationFailed(
            f"{error}; a new invitation and `sockserv login --name {profile.name}` mend that"
        ) from None


def _of_profile(profile: Profile, options: _Options) -> _Options:
    """What `connect` is told, over what stands in a profile."""
    tls = options.tls
    if tls == TlsOptions():
        tls = TlsOptions(ca=profile.ca, certificate=profile.certificate, key=profile.key)
    credentials = attrs.evolve(
        options.credentials,
        user=options.credentials.user or profile.user,
        has_certificate=tls.certificate is not None,
    )
    name = f"{profile.name} ({profile.url.address})"
    return attrs.evolve(options, name=name, tls=tls, credentials=credentials)


def connect_endpoint(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    *,
    token: str | None = None,
    credentials: Credentials | None = None,
    limits: Limits | None = None,
    timeout_seconds: float = 10.0,
    name: str = "the server",
    pin: str | None = None,
    in_thread: InThread | None = None,
) -> Deferred[Client]:
    """Connect to the server behind a client endpoint and log in; `name` stands for it in errors.

    The endpoint is to let nobody be the server who has not the key of `pin`; here that is only for
    `Client.server_pin` to say.
    `credentials` is all that there is to log in with, where that is more than a `token`.
    `in_thread` replaces the reactor's thread pool for blocking work with files. Fails, and can be cancelled, like
    `connect`.
    """
    connecting = _Connecting(reactor, limits or Limits(), name, pin, in_thread)
    credentials = credentials or Credentials(token=token)
    done = Deferred.fromCoroutine(connecting.connect(endpoint, credentials))

    def late(result: Any, _: float) -> Any:
        # Cancelling an endpoint ends it with an error of its own making.
        if isinstance(result, Failure):
            raise ConnectError(f"{name} did not answer within {timeout_seconds:g} seconds")
        return result

    def explain(failure: Failure) -> Any:
        connecting.give_up()
        explained = _explained(failure.value, name, has_hello=connecting.has_hello)
        if explained is not None:
            raise explained from None
        return failure

    return done.addTimeout(timeout_seconds, reactor, onTimeoutCancel=late).addErrback(explain)


class _Connecting:
    """One attempt: the connection, its hello, the login."""

    def __init__(
        self,
        reactor: Any,
        limits: Limits,
        name: str,
        pin: str | None,
        in_thread: InThread | None,
    ) -> None:
        self._name = name
        self._pin = pin
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

    async def connect(self, endpoint: IStreamClientEndpoint, credentials: Credentials) -> Client:
        factory = Factory.forProtocol(lambda: Peer(self._settings))
        factory.noisy = False
        await endpoint.connect(factory)
        peer = await self._hello
        identity = await log_in_with(credentials, peer)
        return Client(peer, identity, self._ended, server_name=self._name, server_pin=self._pin)

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


def _refuse(call: IncomingCall) -> None:
    raise UnknownOperation("a client has no operations")


def _note_of(url: ServerUrl, directory: StateDirectory) -> ServerUrl | None:
    """What the daemon of this account says of itself, if it is the server at `url`."""
    try:
        known = map(ServerUrl.parse, directory.running().listening)
        return next((own for own in known if own.address == url.address), None)
    except (StateError, ConnectError):
        return None


def _explained(error: BaseException | None, name: str, *, has_hello: bool) -> BaseException | None:
    """What is to be said of an attempt that ended with `error`; None where that says it all."""
    if isinstance(error, ConnectingCancelledError):
        return CancelledError()
    if isinstance(error, TwistedConnectError | DNSLookupError):
        return ConnectError(f"cannot connect to {name}: {_reason(error)}")
    cause = error.__cause__ if isinstance(error, ConnectionEnded) else None
    if isinstance(cause, ConnectError):
        # There was no TLS, or not with whom there should be.
        kind = CertificateChanged if isinstance(cause, CertificateChanged) else ConnectError
        advice = _SHOW_A_CERTIFICATE if _CERTIFICATE_REQUIRED in str(cause) else ""
        return kind(f"{name}: {cause}{advice}")
    if isinstance(error, AuthenticationFailed):
        return AuthenticationFailed(f"{name} refused the login: {error}")
    if isinstance(error, ConnectionEnded) and not has_hello and FIRST_BYTES_OF_TLS in str(error):
        return ConnectError(f"{name} speaks TLS: its URL begins with sockserv://")
    if isinstance(error, ConnectionEnded | Unavailable | UnexpectedResult):
        how = "did not let us in" if has_hello else "did not greet us as sockserv does"
        return ConnectError(f"{name} {how}: {error}")
    return None


def _reason(error: TwistedConnectError | DNSLookupError) -> str:
    """What the system said, without what Twisted writes around it."""
    if isinstance(error, DNSLookupError):
        return "there is no host of this name"
    said = error.args[0] if error.args else ""
    return str(said or error).rstrip(".").lower()
