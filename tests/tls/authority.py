"""Certificates for tests: those that sign themselves, and an authority that signs others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from sockserv.endpoints import TlsEndpoint
from sockserv.tls.certificates import as_pem, make_certificate, make_key, pin_of_key

Key = ec.EllipticCurvePrivateKey


def now() -> datetime:
    """What OpenSSL takes for now, whatever clock a test has."""
    return datetime.now(UTC)


class Authority:
    """Signs certificates."""

    def __init__(self, name: str = "authority") -> None:
        self._key = make_key()
        self._name = name
        self.certificate = self._sign(self._key, name, [], is_authority=True)

    def sign(
        self, key: Key, name: str, names: Sequence[str] = (), *, ended: bool = False
    ) -> x509.Certificate:
        """A certificate for `key`."""
        return self._sign(key, name, names, ended=ended)

    def _sign(
        self,
        key: Key,
        name: str,
        names: Sequence[str],
        *,
        is_authority: bool = False,
        ended: bool = False,
    ) -> x509.Certificate:
        end = now() + timedelta(days=-1 if ended else 30)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now() - timedelta(days=2))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        if names:
            alternatives: list[x509.GeneralName] = [
                x509.IPAddress(IPv4Address(each)) if each[:1].isdigit() else x509.DNSName(each)
                for each in names
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
        return builder.sign(self._key, SHA256())


class Files:
    """A folder with a key and its certificate, as a daemon or a client has them."""

    def __init__(self, folder: Path, key: Key | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = key or make_key()
        self.key_file = self.write("key.pem", as_pem(self.key))
        self.certificate_file = folder / "certificate.pem"
        self.show(make_certificate(self.key, ["localhost", IPv4Address("127.0.0.1")], now=now()))

    @property
    def pin(self) -> str:
        """The pin of the key."""
        return pin_of_key(self.key)

    def show(self, *certificates: x509.Certificate) -> Path:
        """Have these in the certificate's file from now on."""
        return self.write("certificate.pem", b"".join(map(as_pem, certificates)))

    def replace_key(self) -> None:
        """Another key, in the key's file alone."""
        self.key = make_key()
        self.write("key.pem", as_pem(self.key))

    def write(self, name: str, content: bytes) -> Path:
        """Write a file as one should: beside, then renamed."""
        path = self.folder / name
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        beside.chmod(0o600)
        beside.rename(path)
        return path

    def endpoint(
        self, *, client_ca: Path | None = None, requires_client_certificate: bool = False
    ) -> TlsEndpoint:
        """A listener that shows it."""
        return TlsEndpoint(
            port=0,
            interface=IPv4Address("127.0.0.1"),
            certificate=self.certificate_file,
            key=self.key_file,
            client_ca=client_ca,
            requires_client_certificate=requires_client_certificate,
        )
