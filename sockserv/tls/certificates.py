"""Certificates and their keys: reading and checking them, making the daemon's own, and the pin of a key.

A pin is the SHA-256 of a certificate's public key (of its DER SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7). It
stays the same when a certificate is renewed with the same key, and cannot be had with another one.

Reading files blocks, for as long as it takes to read some kilobytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterable
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from shlex import quote
from typing import Final, TypeAlias

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sockserv.errors import CertificateError

__all__ = [
    "MALFORMED",
    "CertifiedKey",
    "PrivateKey",
    "as_pem",
    "load_certificates",
    "load_certified_key",
    "load_key",
    "make_certificate",
    "make_key",
    "names_of",
    "pin_of",
    "pin_of_key",
]

PrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

MALFORMED: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What looking into somebody else's certificate may raise."""

SubjectName: TypeAlias = str | IPv4Address | IPv6Address

_MAX_FILE_BYTES: Final = 1024 * 1024
_VALID_DAYS: Final = 3650
_RENEWING: Final = ": put the right one there (a daemon's own: `sockserv certificate renew`)"
_CLOCK_ERROR_DAYS: Final = 1
"""How far a client's clock may be behind when it meets a new certificate."""


@attrs.frozen(kw_only=True)
class CertifiedKey:
    """A private key, the certificate of it, and those that lead from there to an authority."""

    key: PrivateKey = attrs.field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    def check_dates(self, now: datetime) -> None:
        """Raises `CertificateError` when the certificate is not valid at `now`."""
        begin, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if now >= end:
            raise CertificateError(f"expired on {end:%Y-%m-%d %H:%M} UTC{_RENEWING}")
        if now < begin:
            raise CertificateError(
                f"is not valid before {begin:%Y-%m-%d %H:%M} UTC: is the clock of this machine right?"
            )


def pin_of(certificate: x509.Certificate) -> str:
    """The pin of the key that a certificate is for. Raises `ValueError` for a key of no known kind."""
    try:
        return _pin(
            certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error


def pin_of_key(key: PrivateKey) -> str:
    """The pin of a certificate for this key."""
    return _pin(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _pin(public_key: bytes) -> str:
    digest = hashlib.sha256(public_key).digest()
    return f"sha256:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The common name and the alternative names: hosts, mail addresses, URIs, IP addresses.

    They are what somebody has written there; it means something only if that was an authority one trusts. None of them
    when they are not well-formed.
    """
    names: list[str] = []
    try:
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
            names.append(str(attribute.value))
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.IPAddress):
            names.extend(map(str, extension.value.get_values_for_type(kind)))
    except x509.ExtensionNotFound:
        pass
    except MALFORMED:
        return ()
    return tuple(dict.fromkeys(names))


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new key: ECDSA on P-256, which every TLS implementation knows, and which costs a server the least."""
    return ec.generate_private_key(ec.SECP256R1())


def make_certificate(
    key: PrivateKey, names: Iterable[SubjectName], *, now: datetime
) -> x509.Certificate:
    """A certificate that `key` has signed for itself, for a server of these names, valid for ten years.

    What cannot stand in a certificate (a name that is not ASCII) is left out.
    """
    alternatives: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        if isinstance(name, str):
            if name.isascii() and name.isprintable() and name:
                alternatives.append(x509.DNSName(name))
        else:
            alternatives.append(x509.IPAddress(name))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sockserv")])
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject)
        .serial_number(x509.random_serial_number())
        .public_key(key.public_key())
        .not_valid_before(now - timedelta(days=_CLOCK_ERROR_DAYS))
        .not_valid_after(now + timedelta(days=_VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_signing_only(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(own, critical=False)
        .add_extension(authority, critical=False)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    algorithm = (
        None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else SHA256()
    )
    return builder.sign(key, algorithm)


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def as_pem(thing: PrivateKey | x509.Certificate) -> bytes:
    """A key or a certificate as it stands in a file; a key is not encrypted."""
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(Encoding.PEM)
    return thing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_certified_key(
    *, certificate: Path, key: Path, chain: Path | None = None, others: int = 0o007
) -> CertifiedKey:
    """The key in the file `key`, and the certificate of it, which is the first one in the file `certificate`.

    The chain is what follows it there, and what is in the file `chain`. `others` are the permission bits that the
    file of the key must not have. All files are PEM; `certificate` and `key` may be the same.

    Raises `CertificateError` that begins with the file's name and says what is wrong; the dates are not looked at.
    """
    first, *rest = load_certificates(certificate)
    if chain is not None:
        rest += load_certificates(chain)
    private = load_key(key, others=others)
    try:
        if pin_of(first) != pin_of_key(private):
            raise CertificateError(
                f"{certificate} is not the certificate of the key in {key}{_RENEWING}"
            )
    except ValueError:
        raise CertificateError(
            f"{certificate}: the certificate's key is of no known kind"
        ) from None
    return CertifiedKey(key=private, certificate=first, chain=tuple(rest))


def load_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a PEM file, at least one. Raises `CertificateError` that begins with its name."""
    content, _ = _read(path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CertificateError(f"{path} does not hold a certificate in PEM form") from None


def load_key(path: Path, *, others: int) -> PrivateKey:
    """The private key in a PEM file.

    Raises `CertificateError` that begins with the file's name, also when it has one of the permission bits `others`.
    """
    content, mode = _read(path)
    if mode & others:
        raise CertificateError(
            f"{path}: others can read this key (mode {mode:04o}): close it with "
            f"`chmod {mode & ~others:o} {quote(str(path))}`"
        )
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise CertificateError(
            f"{path}: the key is encrypted, and nobody is there to type its password: "
            f"decrypt it with `openssl pkey -in {quote(str(path))}`"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{path} does not hold a private key in PEM form") from None
    if not isinstance(key, PrivateKey):
        raise CertificateError(f"{path}: TLS takes keys of the kinds EC, RSA, Ed25519 and Ed448")
    return key


def _read(path: Path) -> tuple[bytes, int]:
    """The content of a file, and its permission bits."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CertificateError(f"{path} is not a file")
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error
    if len(content) > _MAX_FILE_BYTES:
        raise CertificateError(f"{path} is too large for a certificate or a key")
    return content, stat.S_IMODE(status.st_mode)


def _open_without_waiting(path: str, flags: int) -> int:
    # A named pipe would have us wait for somebody to write to it.
    return os.open(path, flags | os.O_NONBLOCK)
