"""Listening: from the endpoints of a daemon to sockets, and to the URLs that lead there."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.python.failure import Failure

from sockserv import machine
from sockserv.endpoints import Endpoint, TlsEndpoint, UdpEndpoint, UnixEndpoint
from sockserv.errors import LocalError
from sockserv.urls import Scheme, ServerUrl

if TYPE_CHECKING:
    from sockserv.tls.serving import ServerTls

__all__ = ["ListenError", "Listeners", "open_udp"]

T = TypeVar("T")

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ListenError(LocalError):
    """An address cannot be listened on; the message says why, and what to do."""


@attrs.frozen
class _Listener:
    """An endpoint that is listened on, with the port that it has, and the certificate that it shows."""

    endpoint: Endpoint
    security: ServerTls | None = None

    @property
    def url(self) -> ServerUrl:
        """Where it listens, with the pin of the key that it shows."""
        pin = self.security.pin if self.security is not None else None
        return attrs.evolve(ServerUrl.parse(self.endpoint.url), pin=pin)

    @property
    def local_url(self) -> ServerUrl:
        """Where clients on this machine find it."""
        url = self.url
        return attrs.evolve(url, host=_LOOPBACK.get(url.host, url.host))

    def network_urls(self) -> list[ServerUrl]:
        """Where others find it, for all that this machine knows."""
        url = self.url
        if url.scheme is not Scheme.TLS or url.is_local:
            return []
        if url.host not in _LOOPBACK:
            return [url]
        return [
            attrs.evolve(url, host=str(address))
            for address in machine.addresses()
            if address.version == 4 or url.host == "::"
        ]


class Listeners:
    """What a daemon listens on.

    `listen` is `Server.listen`, `directory` the state directory, whose certificate is shown where no other one is
    named. `on_change` is called when another key is shown, and so the URLs have other pins.
    """

    def __init__(
        self,
        reactor: Any,
        listen: Callable[[str | IStreamServerEndpoint], Deferred[IListeningPort]],
        directory: Path,
        *,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._listen = listen
        self._directory = directory
        self._on_change = on_change
        self._listeners: list[_Listener] = []

    def open(self, endpoints: Iterable[Endpoint]) -> None:
        """Listen on each of them.

        Raises `ListenError` for the first address that cannot be listened on, and `CertificateError` for the first
        certificate that cannot be shown. What is listened on by then stays so until the server stops.
        """
        for endpoint in endpoints:
            self._listeners.append(self._open(endpoint))

    @property
    def addresses(self) -> list[str]:
        """Where the daemon listens, in the words of URLs: what a log says."""
        return [listener.url.address for listener in self._listeners]

    @property
    def local_urls(self) -> list[str]:
        """URLs for clients on this machine."""
        return [str(listener.local_url) for listener in self._listeners]

    @property
    def urls(self) -> list[ServerUrl]:
        """URLs to give to others, the best ones first; for this machine alone if nobody else reaches it."""
        everywhere = [url for listener in self._listeners for url in listener.network_urls()]
        return everywhere or [listener.local_url for listener in self._listeners]

    def _open(self, endpoint: Endpoint) -> _Listener:
        security = None
        where: str | IStreamServerEndpoint = str(endpoint)
        if isinstance(endpoint, TlsEndpoint):
            # Imported late: a daemon without TLS needs none of it.
            from sockserv.tls.serving import ServerTls, TlsServerEndpoint

            endpoint = self._certified(endpoint)
            security = ServerTls(endpoint, on_replaced=self._on_change)
            where = TlsServerEndpoint(self._reactor, endpoint, security)
        try:
            if isinstance(endpoint, UnixEndpoint):
                self._open_socket(endpoint)
                return _Listener(endpoint)
            port = _result_of(self._listen(where))
        except CannotListenError as error:
            raise _cannot_listen(endpoint, error.socketError) from error
        except OSError as error:
            raise _cannot_listen(endpoint, error) from error
        address = port.getHost()
        assert isinstance(address, IPv4Address | IPv6Address)  # it listens on TCP
        # The system has chosen the port where it was 0.
        return _Listener(attrs.evolve(endpoint, port=address.port), security)

    def _open_socket(self, endpoint: UnixEndpoint) -> None:
        _remove_left_over(endpoint.path)
        umask = os.umask(0o177)  # until Twisted has set the mode, nobody else gets in
        try:
            _result_of(self._listen(str(endpoint)))
        finally:
            os.umask(umask)

    def _certified(self, endpoint: TlsEndpoint) -> TlsEndpoint:
        """The endpoint with a certificate: the daemon's own if no other one is named."""
        if endpoint.certificate is not None:
            return endpoint
        from sockserv.tls import own

        own.ensure(self._directory, machine.names(), now=datetime.now(UTC))
        return attrs.evolve(
            endpoint,
            certificate=self._directory / own.OWN_CERTIFICATE,
            key=self._directory / own.OWN_KEY,
        )


def _cannot_listen(endpoint: Endpoint, error: Exception) -> ListenError:
    reason = (getattr(error, "strerror", None) or str(error)).lower()
    return ListenError(
        f"cannot listen on {endpoint.url}: {reason}; choose another address with --listen"
    )


def open_udp(endpoint: UdpEndpoint, listen: Callable[[], T]) -> T:
    """What `listen` gives, which opens a UDP port. Raises `ListenError` when the port cannot be had."""
    try:
        return listen()
    except CannotListenError as error:
        raise ListenError(f"cannot listen on {endpoint}: {error.socketError}") from error


def _result_of(deferred: Deferred[T]) -> T:
    """What a Deferred that has fired holds; endpoints of our kinds listen at once."""
    results: list[T] = []
    failures: list[Failure] = []
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def _remove_left_over(path: Path) -> None:
    """Remove the socket of a daemon that was killed. Raises `OSError` when that is not what is there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(None, "there is a file of that name, and it is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        # Where the queue of a listener is full, it is not waited for.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            pass  # somebody listens: binding says so
