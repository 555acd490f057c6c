"""Listeners that speak TLS, with certificates that may be replaced while they listen."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import attrs
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

from sockserv.endpoints import TlsEndpoint
from sockserv.errors import CertificateError, ConnectError
from sockserv.net.tls import TlsFactory
from sockserv.tls.certificates import load_certificates, load_certified_key, pin_of
from sockserv.tls.contexts import server_context

__all__ = ["ServerTls", "TlsServerEndpoint"]

_WARN_BEFORE: Final = timedelta(days=14)

_Signature: TypeAlias = tuple[tuple[int, int, int] | None, ...]


def _now() -> datetime:
    return datetime.now(UTC)


@attrs.frozen
class _Loaded:
    """What the files of a listener come to."""

    context: SSL.Context
    pin: str


class ServerTls:
    """The certificate of a listener, the key of it, and what the listener asks of its clients.

    Each connection is made with what is in the files then: they are looked at when somebody connects, and read again
    if they are others. As long as they cannot be used, or only some of them are there already, it goes on with what it
    had, and says so in the log, once for each state of the files. `on_replaced` is called when new ones are in use.

    Reading blocks for about a millisecond. Raises `CertificateError` that names the file which cannot be used.
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: TlsEndpoint,
        *,
        now: Callable[[], datetime] = _now,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """`endpoint` names a certificate and a key."""
        if endpoint.certificate is None or endpoint.key is None:
            raise CertificateError(f"{endpoint.url} needs a certificate and a key")
        self._endpoint = endpoint
        self._certificate, self._key = endpoint.certificate, endpoint.key
        self._now = now
        self._on_replaced = on_replaced
        files = (endpoint.certificate, endpoint.key, endpoint.chain, endpoint.client_ca)
        self._files = [os.fspath(path) for path in dict.fromkeys(files) if path is not None]
        # Taken before they are read: what is replaced meanwhile is read again.
        self._signature = self._look()
        self._loaded = self._load()

    @property
    def pin(self) -> str:
        """The pin of the key that new connections are shown."""
        return self._loaded.pin

    def connection(self) -> SSL.Connection:
        """The server's side of a new connection."""
        signature = self._look()
        if signature != self._signature:
            self._signature = signature
            self._replace()
        connection = SSL.Connection(self._loaded.context, None)
        connection.set_accept_state()
        return connection

    def verify(self, connection: SSL.Connection, *, is_done: bool) -> None:
        """Whom a client's certificate stands for is found out when it logs in by it."""

    def failed(self, address: IAddress, error: ConnectError) -> None:
        """Leave a line in the log."""
        host, port = getattr(address, "host", "?"), getattr(address, "port", "?")
        self._log.warn("{host} port {port} did not get in: {why}", host=host, port=port, why=error)

    def _replace(self) -> None:
        try:
            self._loaded = self._load()
        except CertificateError as error:
            self._log.error(
                "{url} goes on with the certificate that it had: {why}",
                url=self._endpoint.url,
                why=error,
            )
            return
        self._log.info(
            "{url} has a new certificate, with the pin {pin}", url=self._endpoint.url, pin=self.pin
        )
        self._on_replaced()

    def _load(self) -> _Loaded:
        endpoint = self._endpoint
        certified = load_certified_key(
            certificate=self._certificate, key=self._key, chain=endpoint.chain
        )
        now = self._now()
        authorities = [] if endpoint.client_ca is None else load_certificates(endpoint.client_ca)
        try:
            certified.check_dates(now)
            context = server_context(
                certified,
                authorities=authorities,
                requires_client_certificate=endpoint.requires_client_certificate,
            )
        except CertificateError as error:
            raise CertificateError(f"{self._certificate} {error}") from error
        end = certified.certificate.not_valid_after_utc
        if end - now < _WARN_BEFORE:
            self._log.warn(
                "{file} expires on {end} UTC: put a new one there",
                file=self._certificate,
                end=f"{end:%Y-%m-%d %H:%M}",
            )
        return _Loaded(context, pin_of(certified.certificate))

    def _look(self) -> _Signature:
        """What tells the files that are there now from others."""
        return tuple(map(_signature_of, self._files))


def _signature_of(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


@implementer(IStreamServerEndpoint)
@attrs.frozen(eq=False)
class TlsServerEndpoint:
    """Where a server listens with TLS, for `Server.listen`."""

    reactor: Any
    endpoint: TlsEndpoint
    security: ServerTls

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; see `IStreamServerEndpoint`."""
        endpoint = self.endpoint
        kind = TCP4ServerEndpoint if endpoint.interface.version == 4 else TCP6ServerEndpoint
        tcp: IStreamServerEndpoint = kind(
            self.reactor, endpoint.port, endpoint.backlog, str(endpoint.interface)
        )
        listening: Deferred[IListeningPort] = tcp.listen(TlsFactory(protocolFactory, self.security))
        return listening
