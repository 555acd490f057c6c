"""Certificates and keys: making them, reading them, and what is wrong with those that cannot be used."""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sockserv.errors import CertificateError
from sockserv.tls.certificates import (
    CertifiedKey,
    as_pem,
    load_certificates,
    load_certified_key,
    load_key,
    make_certificate,
    make_key,
    names_of,
    pin_of,
    pin_of_key,
)
from sockserv.urls import PIN

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = make_key()
CERTIFICATE = make_certificate(KEY, ["lab", IPv4Address("192.0.2.1")], now=NOW)


def test_a_pin_is_that_of_the_public_key() -> None:
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.urlsafe_b64encode(hashlib.sha256(public).digest()).decode()
    assert pin_of(CERTIFICATE) == pin_of_key(KEY) == f"sha256:{digest.rstrip('=')}"
    assert PIN.fullmatch(pin_of(CERTIFICATE))


def test_a_renewed_certificate_keeps_the_pin_and_another_key_changes_it() -> None:
    renewed = make_certificate(KEY, [], now=NOW + timedelta(days=1000))
    assert renewed != CERTIFICATE
    assert pin_of(renewed) == pin_of(CERTIFICATE)
    assert pin_of(make_certificate(make_key(), [], now=NOW)) != pin_of(CERTIFICATE)


def test_what_a_new_certificate_says() -> None:
    addresses: list[IPv4Address | IPv6Address] = [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    made = make_certificate(KEY, ["lab", "lab", "bücher", "", "a b", *addresses], now=NOW)
    assert names_of(made) == ("sockserv", "lab", "a b", "127.0.0.1", "::1")
    assert made.not_valid_before_utc < NOW
    assert made.not_valid_after_utc == NOW + timedelta(days=3650)
    assert made.serial_number != CERTIFICATE.serial_number
    made.verify_directly_issued_by(made)


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)]
)
def test_keys_of_other_kinds_can_be_certified(
    key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
) -> None:
    make_certificate(key, ["lab"], now=NOW).verify_directly_issued_by(
        make_certificate(key, ["lab"], now=NOW)
    )


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        (NOW, None),
        (NOW + timedelta(days=3649), None),
        (NOW + timedelta(days=3650), "expired on 2036-11-19 12:00 UTC"),
        (NOW - timedelta(days=2), "is not valid before 2026-11-21 12:00 UTC"),
    ],
)
def test_the_dates(when: datetime, problem: str | None) -> None:
    certified = CertifiedKey(key=KEY, certificate=CERTIFICATE)
    if problem is None:
        certified.check_dates(when)
    else:
        with pytest.raises(CertificateError, match=problem):
            certified.check_dates(when)


def test_a_key_is_in_no_text() -> None:
    certified = CertifiedKey(key=KEY, certificate=CERTIFICATE)
    assert "key=" not in repr(certified)


def names_in(extension: x509.ExtensionType | None, common_name: str = "lab") -> tuple[str, ...]:
    """The names of a certificate with one extension, or with none."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return names_of(builder.sign(KEY, SHA256()))


def test_the_names_in_a_certificate() -> None:
    alternatives = x509.SubjectAlternativeName(
        [
            x509.RFC822Name("alice@example.org"),
            x509.DNSName("lab"),
            x509.UniformResourceIdentifier("spiffe://example.org/alice"),
            x509.IPAddress(IPv6Address("::1")),
        ]
    )
    assert names_in(None) == ("lab",)
    assert names_in(alternatives) == (
        "lab",
        "alice@example.org",
        "spiffe://example.org/alice",
        "::1",
    )


def test_names_that_are_not_well_formed_are_none() -> None:
    broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05garbage")
    assert names_in(broken) == ()


# Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a certificate and its key."""
    write(tmp_path / "key.pem", as_pem(KEY))
    write(tmp_path / "certificate.pem", as_pem(CERTIFICATE))
    return tmp_path


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_what_was_written_is_read(folder: Path) -> None:
    other = make_certificate(make_key(), ["authority"], now=NOW)
    third = make_certificate(make_key(), ["root"], now=NOW)
    write(folder / "certificate.pem", as_pem(CERTIFICATE) + as_pem(other))
    chain = write(folder / "chain.pem", as_pem(third))
    loaded = load_certified_key(
        certificate=folder / "certificate.pem", key=folder / "key.pem", chain=chain
    )
    assert loaded.certificate == CERTIFICATE
    assert loaded.chain == (other, third)
    assert pin_of_key(loaded.key) == pin_of_key(KEY)


def test_one_file_may_hold_both(folder: Path) -> None:
    both = write(folder / "both.pem", as_pem(KEY) + as_pem(CERTIFICATE))
    assert load_certified_key(certificate=both, key=both).certificate == CERTIFICATE


def test_a_key_of_another_certificate(folder: Path) -> None:
    write(folder / "key.pem", as_pem(make_key()))
    with pytest.raises(CertificateError, match="certificate.pem is not the certificate of the key"):
        load_certified_key(certificate=folder / "certificate.pem", key=folder / "key.pem")


def encrypted() -> bytes:
    return KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def of_no_use() -> bytes:
    key = x25519.X25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "does not hold a private key in PEM form"),
        (b"\xff" * 100, "does not hold a private key in PEM form"),
        (as_pem(CERTIFICATE), "does not hold a private key in PEM form"),
        (as_pem(KEY)[:100], "does not hold a private key in PEM form"),
        (encrypted(), "the key is encrypted, .* decrypt it with `openssl pkey -in "),
        (of_no_use(), "TLS takes keys of the kinds EC, RSA, Ed25519 and Ed448"),
        (b"x" * (1024 * 1024 + 1), "is too large"),
    ],
    ids=["empty", "binary", "a certificate", "cut", "encrypted", "of no use", "too large"],
)
def test_what_is_no_key(tmp_path: Path, content: bytes, problem: str) -> None:
    path = write(tmp_path / "key.pem", content)
    with pytest.raises(CertificateError, match=f"^{path}.*{problem}"):
        load_key(path, others=0o077)


@pytest.mark.parametrize("content", [b"", b"text", as_pem(KEY), as_pem(CERTIFICATE)[:200]])
def test_what_is_no_certificate(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "certificate.pem", content)
    with pytest.raises(CertificateError, match=f"^{path} does not hold a certificate"):
        load_certificates(path)


@pytest.mark.parametrize(
    ("mode", "others", "advice"),
    [
        (0o640, 0o077, "chmod 600"),
        (0o644, 0o007, "chmod 640"),
        (0o604, 0o077, "chmod 600"),
        (0o640, 0o007, None),
        (0o400, 0o077, None),
    ],
)
def test_who_may_read_a_key(tmp_path: Path, mode: int, others: int, advice: str | None) -> None:
    path = write(tmp_path / "a key.pem", as_pem(KEY), mode)
    if advice is None:
        load_key(path, others=others)
    else:
        with pytest.raises(
            CertificateError, match=f"others can read this key.*`{advice} '{path}'`"
        ):
            load_key(path, others=others)


def test_what_is_no_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, problem in [
        (tmp_path / "none", "cannot be read: no such file"),
        (tmp_path, "is not a file|is a directory"),
        (pipe, "is not a file"),
    ]:
        with pytest.raises(CertificateError, match=f"^{path}.*({problem})"):
            load_certificates(path)


def test_a_curve_that_is_not_ours_is_read(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    path = write(tmp_path / "key.pem", as_pem(key))
    assert pin_of_key(load_key(path, others=0o077)) == pin_of_key(key)
