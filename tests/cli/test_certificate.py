"""`sockserv certificate`: what it shows, and what renewing keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sockserv.errors import CertificateError
from sockserv.tls import own
from sockserv.tls.certificates import pin_of
from tests.cli.fakes import invoke
from tests.tls.authority import now


def run(*arguments: str) -> str:
    """What the command shows on both streams."""
    result = invoke(["certificate", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def state(tmp_path: Path) -> Path:
    own.ensure(tmp_path, ["lab"], now=now())
    return tmp_path


def test_shown(state: Path) -> None:
    pin = pin_of(own.load(state).certificate)
    assert run("show", "--state", str(state)).splitlines()[:2] == [
        f"pin      {pin}",
        "names    sockserv, lab",
    ]
    shown = json.loads(run("show", "--state", str(state), "--json"))
    assert (shown["pin"], shown["names"]) == (pin, ["sockserv", "lab"])
    assert shown["not_after"] > shown["not_before"]


def test_renewed(state: Path) -> None:
    before = own.load(state).certificate
    output = run("renew", "--state", str(state))
    after = own.load(state).certificate
    assert pin_of(after) == pin_of(before)
    assert after != before
    assert f"pin      {pin_of(before)}" in output
    assert "localhost" in output
    assert "invite" not in output


def test_renewed_with_a_new_key(state: Path) -> None:
    before = pin_of(own.load(state).certificate)
    output = run("renew", "--new-key", "--state", str(state))
    after = pin_of(own.load(state).certificate)
    assert after != before
    assert f"pin      {after}" in output
    assert "clients that know the daemon by its old pin refuse it now" in output


def test_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="there is no certificate in"):
        run("show", "--state", str(tmp_path))
