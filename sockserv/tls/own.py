"""The daemon's own certificate, which it signs itself, in its state directory.

What holds for its two files:

- `key.pem` is absent or whole, with mode 0600; `certificate.pem` is absent or whole.
- The key is there first: one without a certificate gets one, and keeps its pin. A certificate without its key is an
  error, since clients know the daemon by that key, and another one would have to be explained to them.

All functions block until the disk has what they write. They raise `CertificateError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Final

from sockserv.atomic import replace_file, written_beside
from sockserv.errors import CertificateError
from sockserv.tls.certificates import (
    CertifiedKey,
    PrivateKey,
    SubjectName,
    as_pem,
    load_certified_key,
    load_key,
    make_certificate,
    make_key,
)

__all__ = ["OWN_CERTIFICATE", "OWN_KEY", "ensure", "load", "renew"]

OWN_CERTIFICATE: Final = "certificate.pem"
OWN_KEY: Final = "key.pem"

_OTHERS: Final = 0o077


def ensure(directory: Path, names: Iterable[SubjectName], *, now: datetime) -> None:
    """Make what is missing, for a server of these names; only the daemon that holds the directory may do it."""
    key, certificate = directory / OWN_KEY, directory / OWN_CERTIFICATE
    if certificate.exists():
        if not key.exists():
            raise CertificateError(
                f"{certificate} is there, and its key {key} is not: put that back, or remove the certificate, and "
                "the daemon makes both anew; its clients have to be invited again then"
            )
        return
    private = load_key(key, others=_OTHERS) if key.exists() else _write_key(key, make_key())
    _write(certificate, as_pem(make_certificate(private, names, now=now)))


def renew(
    directory: Path, names: Iterable[SubjectName], *, new_key: bool, now: datetime
) -> CertifiedKey:
    """Make a new certificate, for the key that is there, or for a new one; a running daemon takes it up.

    With the same key the pin stays, and no client notices. With a new key, every client that knows the daemon by its
    pin refuses it from then on.
    """
    key, certificate = directory / OWN_KEY, directory / OWN_CERTIFICATE
    if not new_key and key.exists():
        private: PrivateKey = load_key(key, others=_OTHERS)
        _write(certificate, as_pem(make_certificate(private, names, now=now)))
        return load(directory)
    private = make_key()
    try:
        with written_beside(key) as file:
            _write_to(file, as_pem(private))
            # The disk has the new key before anything gets its name: where there is no room, the old one stays.
            os.fsync(file)
            replace_file(certificate, as_pem(make_certificate(private, names, now=now)))
    except OSError as error:
        raise _not_written(directory, error) from error
    return load(directory)


def load(directory: Path) -> CertifiedKey:
    """The certificate and the key that are there."""
    key, certificate = directory / OWN_KEY, directory / OWN_CERTIFICATE
    if not certificate.exists() and not key.exists():
        raise CertificateError(
            f"there is no certificate in {directory} yet: a daemon makes it when it first listens with TLS, as "
            f"`twistd sockserv --state {quote(str(directory))} --listen 0.0.0.0:7700` does"
        )
    return load_certified_key(certificate=certificate, key=key, others=_OTHERS)


def _write_key(path: Path, key: PrivateKey) -> PrivateKey:
    _write(path, as_pem(key))
    return key


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise _not_written(path, error) from error


def _write_to(file: int, content: bytes) -> None:
    with open(file, "wb", closefd=False) as writer:
        writer.write(content)


def _not_written(path: Path, error: OSError) -> CertificateError:
    reason = (error.strerror or str(error)).lower()
    return CertificateError(f"{path} cannot be written: {reason}")
