"""The accounts of the machine that the tests run on."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from sockserv.services.execution.policy import SystemAccounts


def entry(home: Path | str, shell: Path | str) -> pwd.struct_passwd:
    return pwd.struct_passwd(("guest", "x", 4321, 4321, "", str(home), str(shell)))


def test_the_own_account() -> None:
    own = SystemAccounts().own
    assert own.account.uid == os.geteuid()
    assert own.account.gid == os.getegid()
    assert os.path.isdir(own.home)
    assert os.access(own.shell, os.X_OK)


def test_an_account_by_its_name() -> None:
    root = SystemAccounts().named("root")
    assert root.account.uid == 0
    assert root.account.gid in root.account.groups


def test_an_account_that_is_not_there() -> None:
    with pytest.raises(LookupError):
        SystemAccounts().named("no such account")


def test_an_account_without_an_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 7)
    monkeypatch.setenv("HOME", str(tmp_path))
    accounts = SystemAccounts()
    assert accounts.own.name == str(2**31 - 7)
    assert accounts.own.home == str(tmp_path)
    assert accounts.own.shell == "/bin/sh"
    assert not accounts.can_change


@pytest.mark.parametrize("home", ["/nonexistent", "", "relative", "/dev/null"])
def test_a_home_that_is_none(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry(home, "/bin/sh"))
    assert SystemAccounts().own.home == "/"


@pytest.mark.parametrize(
    "shell", ["", "/usr/sbin/nologin", "/bin/false", "/no/such/shell", "/etc/passwd", "sh"]
)
def test_a_shell_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shell: str) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry(tmp_path, shell))
    assert SystemAccounts().own.shell == "/bin/sh"
