"""From the URL of a server to the endpoint that a client connects to."""

from __future__ import annotations

import os
from typing import Any

import attrs
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from sockserv.errors import ConnectError
from sockserv.urls import Scheme, ServerUrl

__all__ = ["TlsOptions", "endpoint_for"]


@attrs.frozen(kw_only=True)
class TlsOptions:
    """Files for a connection by TLS: the authorities to trust, our certificate, and its key."""

    ca: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None


def endpoint_for(
    reactor: Any, url: ServerUrl, tls: TlsOptions, *, sends_secrets: bool
) -> IStreamClientEndpoint:
    """The endpoint of a server. What would cross a network for all to read is refused.

    Raises `ConnectError`, and `CertificateError` for files that cannot be used; reading those blocks.
    """
    if url.scheme is not Scheme.TLS and tls != TlsOptions():
        raise ConnectError(f"{url.address} is not encrypted, and certificates are for sockserv://")
    if url.scheme is Scheme.UNIX:
        return UNIXClientEndpoint(reactor, url.path)
    if url.scheme is Scheme.TCP and sends_secrets and not url.is_local:
        raise ConnectError(
            f"{url.address} is not encrypted: what logs in would cross the network for all to read"
        )
    tcp = HostnameEndpoint(reactor, url.host, url.port)
    if url.scheme is Scheme.TCP:
        return tcp
    # Imported late: most of it is OpenSSL's, and a client of a Unix socket needs none of that.
    from sockserv.tls.trusting import ClientTls, TlsClientEndpoint

    return TlsClientEndpoint(
        tcp,
        ClientTls(url.host, pin=url.pin, ca=tls.ca, certificate=tls.certificate, key=tls.key),
    )
