"""OpenSSL contexts, the rules of TLS that hold on both sides, and the certificate that a peer has shown.

TLS 1.3 is spoken, or 1.2 with somebody who cannot. There is no renegotiation, no compression, and no resumption: each
connection proves anew who is at either end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL, crypto

from sockserv.errors import CertificateError
from sockserv.tls.certificates import MALFORMED, CertifiedKey, names_of, pin_of
from sockserv.trust.origin import PeerCertificate

__all__ = ["client_context", "peer_certificate", "server_context"]

_PARTIAL_WRITE: Final = 1
"""`SSL_MODE_ENABLE_PARTIAL_WRITE` of OpenSSL, which pyOpenSSL sets, and has no name for."""

_TLS_1_2_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"


def server_context(
    certified: CertifiedKey,
    *,
    authorities: Sequence[x509.Certificate] = (),
    requires_client_certificate: bool = False,
) -> SSL.Context:
    """What a listener shows and asks for. Every client may show a certificate.

    With `authorities`, one of them must have signed it. Without, any will do: it proves that the client has the key,
    and nothing that is written in it.

    Raises `CertificateError` when OpenSSL refuses the key or a certificate.
    """
    context = _context(SSL.TLS_SERVER_METHOD, certified)
    _trust(context, authorities)
    for authority in authorities:
        context.add_client_ca(authority)
    mode = SSL.VERIFY_PEER
    if requires_client_certificate:
        mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(mode, None if authorities else _take_any)
    # `peer_certificate` learns from it whether what a client has shown was verified.
    context.set_app_data(bool(authorities))
    return context


def client_context(
    certified: CertifiedKey | None, *, authorities: Sequence[x509.Certificate] | None = None
) -> SSL.Context:
    """What a client shows if it is asked, and whom it trusts: `authorities`, or those that the system trusts.

    Whoever uses it sets what is verified. Raises `CertificateError` as `server_context` does.
    """
    context = _context(SSL.TLS_CLIENT_METHOD, certified)
    if authorities is None:
        context.set_default_verify_paths()
    else:
        _trust(context, authorities)
    return context


def peer_certificate(transport: Any) -> PeerCertificate | None:
    """The certificate that the peer of a TLS transport has shown; None when it has not, or there is no TLS.

    To be asked after the handshake, while the connection lives.
    """
    # A transport in memory may claim to be any; only a TLS one has an OpenSSL connection.
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    if not isinstance(handle, SSL.Connection):
        return None
    is_trusted = handle.get_context().get_app_data() is True
    try:
        certificate = handle.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        pin = pin_of(certificate)
    except MALFORMED:
        return None
    return PeerCertificate(
        pin=pin, names=names_of(certificate) if is_trusted else (), is_trusted=is_trusted
    )


def _context(method: int, certified: CertifiedKey | None) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_TLS_1_2_CIPHERS)
    context.set_options(
        SSL.OP_NO_COMPRESSION
        | SSL.OP_NO_RENEGOTIATION
        | SSL.OP_NO_TICKET
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # An idle connection keeps no buffers.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Many records are made in one call, which costs as much as encrypting one.
    if hasattr(context, "clear_mode"):  # since pyOpenSSL 25.2
        context.clear_mode(_PARTIAL_WRITE)
    if certified is not None:
        try:
            context.use_certificate(certified.certificate)
            context.use_privatekey(certified.key)
            for certificate in certified.chain:
                context.add_extra_chain_cert(certificate)
            context.check_privatekey()
        except SSL.Error as error:
            raise CertificateError(f"OpenSSL refuses it: {_reason(error)}") from error
    return context


def _trust(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))


def _take_any(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, verified: int
) -> bool:
    return True


def _reason(error: SSL.Error) -> str:
    """What OpenSSL says went wrong, without where in its source."""
    queue = error.args[0] if error.args else []
    return str(queue[-1][-1]) if queue else "it does not say why"
