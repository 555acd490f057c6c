"""A client's side of TLS: which servers it trusts, and what it shows of itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import attrs
import service_identity.cryptography as service_identity
from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity.exceptions import CertificateError as NoUsableName
from service_identity.exceptions import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from sockserv.errors import CertificateChanged, ConnectError
from sockserv.net.tls import HandshakeFailed, TlsFactory
from sockserv.tls.certificates import (
    MALFORMED,
    CertifiedKey,
    load_certificates,
    load_certified_key,
    names_of,
    pin_of,
)
from sockserv.tls.contexts import client_context

__all__ = ["ClientTls", "TlsClientEndpoint"]

_UNKNOWN_AUTHORITY: Final = (
    "no authority that is trusted here has signed its certificate; to trust a daemon's own, take the URL with "
    "the pin from there, which `sockserv invite` and `sockserv certificate show` print"
)
_PROBLEMS: Final[Mapping[int, str]] = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    23: "its certificate was revoked",
    26: "its certificate is not for servers",
}
"""The usual ones of OpenSSL's X509_V_ERR_*, whose numbers are part of its interface."""


class ClientTls:
    """Whom a client trusts to be the server at `host`, and what it shows if it is asked.

    With a `pin`, whoever has that key, whatever names and dates stand in the certificate: it is the key that is known.
    Otherwise, whoever has a certificate for `host` from one of the authorities in the file `ca`, or without that from
    one that the system trusts. `certificate` and `key` are files; the latter is not needed when the former holds both.

    Reading the files blocks for some milliseconds. Raises `CertificateError` that names the one that cannot be used.
    """

    def __init__(
        self,
        host: str,
        *,
        pin: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        self._host = host
        self._address = _address_of(host)
        self._pin = pin
        certified = None
        if certificate is not None:
            certified = load_certified_key(
                certificate=Path(certificate), key=Path(certificate if key is None else key)
            )
        if ca is not None:
            self._context = client_context(certified, authorities=load_certificates(Path(ca)))
        elif pin is not None:
            self._context = client_context(certified, authorities=[])
        else:
            self._context = _context_of_the_system(certified)

    def connection(self) -> SSL.Connection:
        """The client's side of a new connection."""
        connection = SSL.Connection(self._context, None)
        connection.set_connect_state()
        if self._address is None:
            # IP addresses are not sent (RFC 6066, section 3).
            connection.set_tlsext_host_name(_ascii(self._host))
        # A server that is not ours learns of it in the handshake, and does not see what we would show.
        connection.set_verify(SSL.VERIFY_PEER, self._on_certificate)
        return connection

    def verify(self, connection: SSL.Connection, *, is_done: bool) -> None:
        """Raises `CertificateChanged` or `HandshakeFailed` when the server is not who it should be."""
        rejection = connection.get_app_data()
        if rejection is not None:
            raise rejection
        if is_done:
            # Whatever OpenSSL has asked us about on the way, this is the one whose key the server has.
            certificate = connection.get_peer_certificate()
            if certificate is None:
                raise HandshakeFailed("it has shown no certificate")
            self._check(certificate)

    def failed(self, address: IAddress, error: ConnectError) -> None:
        """Whoever connects hears of it."""

    def _on_certificate(
        self, connection: SSL.Connection, shown: crypto.X509, error: int, depth: int, verified: int
    ) -> bool:
        """Called by OpenSSL for each certificate of the chain; the server's own is at the depth 0."""
        if self._pin is not None and depth > 0:
            return True
        try:
            if self._pin is None and not verified:
                raise HandshakeFailed(
                    _PROBLEMS.get(error, f"OpenSSL's error {error} in its certificate")
                )
            if depth == 0:
                self._check(shown)
        except ConnectError as rejection:
            connection.set_app_data(rejection)
            return False
        return True

    def _check(self, shown: crypto.X509) -> None:
        """Whether it is our server's; where an authority must have signed it, OpenSSL sees to that."""
        try:
            certificate = shown.to_cryptography()
            if self._pin is None:
                self._check_name(certificate)
            else:
                self._check_pin(pin_of(certificate), self._pin)
        except MALFORMED:
            raise HandshakeFailed("its certificate is not well-formed") from None

    def _check_name(self, certificate: x509.Certificate) -> None:
        try:
            if self._address is None:
                name = _ascii(self._host).decode()
                service_identity.verify_certificate_hostname(certificate, name)
            else:
                service_identity.verify_certificate_ip_address(certificate, self._address)
        except (VerificationError, NoUsableName):
            names = ", ".join(names_of(certificate)[:5]) or "nobody"
            raise HandshakeFailed(f"its certificate is for {names}, not for {self._host}") from None

    def _check_pin(self, shown: str, pin: str) -> None:
        if shown != pin:
            raise CertificateChanged(
                f"its key is not the one that we know it by ({pin}), but {shown}. Either it was given a new "
                "key, or somebody else answers in its place. Ask whoever runs it, and not over this network: "
                "`sockserv certificate show` there prints the right one. If it is the new one, log in with a new "
                "invitation"
            )


@cache
def _shared_system_context() -> SSL.Context:
    return client_context(None)


def _context_of_the_system(certified: CertifiedKey | None) -> SSL.Context:
    # Reading some hundred certificates takes a while.
    return _shared_system_context() if certified is None else client_context(certified)


def _address_of(host: str) -> str | None:
    """`host` if it is an IP address and no name, without the interface that it is reached by."""
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return None


def _ascii(host: str) -> bytes:
    """A name as it stands in certificates. Raises `ConnectError` for what is no name."""
    try:
        return host.encode("ascii") if host.isascii() else _idna(host)
    except UnicodeError:
        raise ConnectError(f"{host!r} is not the name of a host") from None


def _idna(host: str) -> bytes:
    # Imported late: most names are ASCII.
    import idna

    return idna.encode(host)


@implementer(IStreamClientEndpoint)
@attrs.frozen(eq=False)
class TlsClientEndpoint:
    """A server behind another endpoint, spoken to with TLS."""

    tcp: IStreamClientEndpoint
    security: ClientTls

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; fires with the protocol of the factory before the handshake. See `IStreamClientEndpoint`."""
        connecting: Deferred[Any] = self.tcp.connect(TlsFactory(protocolFactory, self.security))
        return connecting.addCallback(lambda tls: tls.protocol)
