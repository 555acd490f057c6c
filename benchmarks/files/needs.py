"""What the peers are made of: programs and modules, in which packages, and which of them are missing here."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable

import attrs

__all__ = ["NEEDS", "Need", "missing"]


@attrs.frozen
class Need:
    """A program, and the Debian package that has it; or a Python module, and its package."""

    program: str | None = None
    module: str | None = None
    debian: str | None = None
    python: str | None = None

    @property
    def is_there(self) -> bool:
        """Whether this machine has it."""
        if self.module is not None:
            return importlib.util.find_spec(self.module) is not None
        assert self.program is not None
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        return shutil.which(self.program, path=path) is not None


NEEDS = {
    "sshd": Need(program="sshd", debian="openssh-server"),
    "ssh": Need(program="ssh", debian="openssh-client"),
    "scp": Need(program="scp", debian="openssh-client"),
    "sftp": Need(program="sftp", debian="openssh-client"),
    "rsync": Need(program="rsync", debian="rsync"),
    "nginx": Need(program="nginx", debian="nginx-light"),
    "curl": Need(program="curl", debian="curl"),
    "vsftpd": Need(program="vsftpd", debian="vsftpd"),
    "asyncssh": Need(module="asyncssh", python="asyncssh"),
    "conch": Need(module="bcrypt", python="twisted[conch]"),
    "pyftpdlib": Need(module="pyftpdlib", python="pyftpdlib"),
}


def missing(names: Iterable[str]) -> list[str]:
    """Those of these that this machine has not."""
    return [name for name in names if not NEEDS[name].is_there]
