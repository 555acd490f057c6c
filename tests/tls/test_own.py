"""The daemon's own certificate: made once, renewed with its key, and whole whatever interrupts that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sockserv.errors import CertificateError
from sockserv.tls import own
from sockserv.tls.certificates import as_pem, make_key, names_of, pin_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def pin_in(directory: Path) -> str:
    return pin_of(own.load(directory).certificate)


def test_it_is_made_once(tmp_path: Path) -> None:
    own.ensure(tmp_path, ["lab"], now=NOW)
    made = own.load(tmp_path)
    assert names_of(made.certificate) == ("sockserv", "lab")
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "certificate.pem": 0o600,
        "key.pem": 0o600,
    }
    own.ensure(tmp_path, ["other"], now=NOW)
    assert own.load(tmp_path).certificate == made.certificate


def test_a_key_whose_certificate_was_not_written_yet_keeps_its_pin(tmp_path: Path) -> None:
    """What a crash in between leaves."""
    own.ensure(tmp_path, [], now=NOW)
    pin = pin_in(tmp_path)
    (tmp_path / "certificate.pem").unlink()
    own.ensure(tmp_path, [], now=NOW)
    assert pin_in(tmp_path) == pin


def test_a_certificate_without_its_key_is_not_silently_replaced(tmp_path: Path) -> None:
    own.ensure(tmp_path, [], now=NOW)
    (tmp_path / "key.pem").unlink()
    with pytest.raises(CertificateError, match="is there, and its key .* is not: put that back"):
        own.ensure(tmp_path, [], now=NOW)


def test_renewed(tmp_path: Path) -> None:
    own.ensure(tmp_path, ["lab"], now=NOW)
    pin = pin_in(tmp_path)
    later = NOW + timedelta(days=1000)
    renewed = own.renew(tmp_path, ["new"], new_key=False, now=later)
    assert pin_of(renewed.certificate) == pin_in(tmp_path) == pin
    assert names_of(renewed.certificate) == ("sockserv", "new")
    assert renewed.certificate.not_valid_after_utc == later + timedelta(days=3650)


def test_renewed_with_a_new_key(tmp_path: Path) -> None:
    own.ensure(tmp_path, [], now=NOW)
    pin = pin_in(tmp_path)
    renewed = own.renew(tmp_path, [], new_key=True, now=NOW)
    assert pin_of(renewed.certificate) == pin_in(tmp_path) != pin


def test_renewing_mends_a_certificate_of_another_key(tmp_path: Path) -> None:
    """What a crash leaves between a new key and its certificate."""
    own.ensure(tmp_path, [], now=NOW)
    (tmp_path / "key.pem").write_bytes(as_pem(make_key()))
    with pytest.raises(CertificateError, match=r"`sockserv certificate renew`"):
        own.load(tmp_path)
    own.renew(tmp_path, [], new_key=False, now=NOW)
    own.load(tmp_path)


def test_renewing_what_is_not_there_makes_it(tmp_path: Path) -> None:
    own.renew(tmp_path, [], new_key=False, now=NOW)
    own.load(tmp_path)


def test_none_yet(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="there is no certificate in .* yet: a daemon makes"):
        own.load(tmp_path)


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    own.ensure(tmp_path, [], now=NOW)
    (tmp_path / "key.pem").chmod(0o640)
    with pytest.raises(CertificateError, match="others can read this key"):
        own.load(tmp_path)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="key.pem cannot be written: no such file or dir"):
        own.ensure(tmp_path / "none", [], now=NOW)


@pytest.mark.parametrize("new_key", [True, False])
def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, new_key: bool) -> None:
    own.ensure(tmp_path, [], now=NOW)
    before = own.load(tmp_path).certificate
    # Nothing can be written beside the certificate: it fails as late as it can.
    (tmp_path / "certificate.pem.new").mkdir()
    with pytest.raises(CertificateError, match="cannot be written"):
        own.renew(tmp_path, [], new_key=new_key, now=NOW)
    assert own.load(tmp_path).certificate == before
    assert not (tmp_path / "key.pem.new").exists()
