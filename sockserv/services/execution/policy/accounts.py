"""The accounts of this machine that a command can run as."""

from __future__ import annotations

import os
import pwd
from typing import Final, Protocol

import attrs

from sockserv.services.execution.child import Account

__all__ = ["DEFAULT_SHELL", "AccountFacts", "Accounts", "SystemAccounts"]

DEFAULT_SHELL: Final = "/bin/sh"
"""The shell that every system has, which reads what is written for any of them."""

_NO_SHELLS: Final = {"nologin", "false", "true", "sync"}
"""What stands for a shell where nobody is to log in."""


@attrs.frozen(kw_only=True)
class AccountFacts:
    """What a command has to know about the account that it runs as.

    `home` is a directory that is there, the root where the account has none; `shell` is one that can be run.
    """

    name: str
    account: Account
    home: str
    shell: str


class Accounts(Protocol):
    """The accounts, for the policy; a test has its own."""

    @property
    def own(self) -> AccountFacts:
        """That of this process. Never blocks."""

    @property
    def can_change(self) -> bool:
        """Whether this process can start others as another account."""

    def named(self, name: str) -> AccountFacts:
        """The account of a name. Blocks; raises `LookupError` where there is none."""


class SystemAccounts:
    """The accounts that the system knows. Making one looks for that of this process, and blocks."""

    def __init__(self) -> None:
        self._own = _own_facts()

    @property
    def own(self) -> AccountFacts:
        """That of this process."""
        return self._own

    @property
    def can_change(self) -> bool:
        """Whether this process is root."""
        return os.geteuid() == 0

    def named(self, name: str) -> AccountFacts:
        """The account of a name, with all its groups. Blocks; raises `LookupError` where there is none."""
        entry = pwd.getpwnam(name)
        groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
        return _facts(entry, Account(entry.pw_uid, entry.pw_gid, groups))


def _own_facts() -> AccountFacts:
    uid, gid = os.geteuid(), os.getegid()
    account = Account(uid, gid, tuple(os.getgroups()))
    try:
        return _facts(pwd.getpwuid(uid), account)
    except KeyError:
        # So it is in many containers.
        home = _home(os.environ.get("HOME", "/"))
        return AccountFacts(name=str(uid), account=account, home=home, shell=DEFAULT_SHELL)


def _facts(entry: pwd.struct_passwd, account: Account) -> AccountFacts:
    return AccountFacts(
        name=entry.pw_name,
        account=account,
        home=_home(entry.pw_dir),
        shell=_shell(entry.pw_shell),
    )


def _home(path: str) -> str:
    # Without one, sshd(8) and login(1) begin in the root, too.
    return path if path.startswith("/") and os.path.isdir(path) else "/"


def _shell(path: str) -> str:
    is_shell = path.startswith("/") and os.path.basename(path) not in _NO_SHELLS
    return path if is_shell and os.access(path, os.X_OK) else DEFAULT_SHELL
