"""Who takes part, and how each is started."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.files.daemons import nginx, openssh, rsync, vsftpd_port
from benchmarks.files.session import Contender, Program, Session, Task
from benchmarks.measure import MIB
from benchmarks.processes import peer
from sockserv.tls import own

__all__ = ["LIMIT", "OWN", "OWN_TLS", "TLS_PUSH", "contenders"]

OWN = "sockserv"
OWN_TLS = "sockserv, TLS"
LIMIT = "blocking sendfile"
TLS_PUSH = "Twisted TLS push"

_ALL = frozenset(Task)
_FILES = frozenset({Task.GET, Task.PUT, Task.DISCARD})
_TREES = frozenset({Task.GET, Task.PUT, Task.PUT_TREE, Task.GET_TREE})
_SSH = _TREES | {Task.DISCARD}


def contenders(state: Path, size: int) -> list[Contender]:
    """All of them; `state` is a folder for what they have to remember, `size` that of the large file."""
    certificate = _certificate(state)

    def sockserv(url: str) -> Callable[[Path], Any]:
        @contextlib.contextmanager
        def start(folder: Path) -> Iterator[Session]:
            with (
                peer("files.sockserv", str(folder), str(certificate[0].parent)) as server,
                Program(
                    server.pid, "sockserv", url=server.secrets[url], token=server.secrets["token"]
                ) as client,
            ):
                yield client

        return start

    def python(server: str, client: str, *arguments: str, **plan: Any) -> Callable[[Path], Any]:
        @contextlib.contextmanager
        def start(folder: Path) -> Iterator[Session]:
            with (
                peer(f"files.{server}", str(folder), *arguments) as running,
                Program(running.pid, client, port=running.port, **plan) as program,
            ):
                yield program

        return start

    @contextlib.contextmanager
    def push(folder: Path) -> Iterator[Session]:
        pieces = [str(each) for each in certificate]
        with (
            peer("files.tls_push", *pieces, str(size // MIB * MIB)) as running,
            Program(running.pid, "tls_push", port=running.port) as program,
        ):
            yield program

    @contextlib.contextmanager
    def vsftpd(folder: Path) -> Iterator[Session]:
        with (
            vsftpd_port(folder, state / "vsftpd") as (pid, port),
            Program(pid, "ftp", port=port, is_secure=False) as program,
        ):
            yield program

    def ssh(by: str, cipher: str | None = None) -> Callable[[Path], Any]:
        return lambda folder: openssh(
            folder, state / f"{by}-{cipher or 'default'}", by=by, cipher=cipher
        )

    gcm = "aes128-gcm@openssh.com"
    pems = [str(each) for each in certificate]
    return [
        Contender(name=LIMIT, tasks=_FILES, start=python("sendfile", "sendfile")),
        Contender(name=OWN, tasks=_ALL, start=sockserv("plain")),
        Contender(name=OWN_TLS, tasks=_ALL, start=sockserv("secure"), is_secure=True),
        Contender(name=TLS_PUSH, tasks=frozenset({Task.DISCARD}), start=push, is_secure=True),
        Contender(name="scp", tasks=_SSH, start=ssh("scp"), needs=("sshd", "scp"), is_secure=True),
        Contender(
            name="scp, aes128-gcm",
            tasks=_SSH,
            start=ssh("scp", gcm),
            needs=("sshd", "scp"),
            is_secure=True,
        ),
        Contender(
            name="sftp", tasks=_SSH, start=ssh("sftp"), needs=("sshd", "sftp"), is_secure=True
        ),
        Contender(
            name="sftp, aes128-gcm",
            tasks=_SSH,
            start=ssh("sftp", gcm),
            needs=("sshd", "sftp"),
            is_secure=True,
        ),
        Contender(
            name="asyncssh sftp",
            tasks=_TREES,
            start=python("asyncssh", "asyncssh"),
            needs=("asyncssh",),
            is_secure=True,
        ),
        Contender(
            name="pyftpdlib",
            tasks=_FILES,
            start=python("pyftpdlib", "ftp", is_secure=False),
            needs=("pyftpdlib",),
        ),
        Contender(
            name="pyftpdlib, FTPS",
            tasks=_FILES,
            start=python("pyftpdlib", "ftp", *pems, is_secure=True),
            needs=("pyftpdlib",),
            is_secure=True,
        ),
        Contender(
            name="twisted ftp", tasks=_FILES, start=python("twisted_ftp", "ftp", is_secure=False)
        ),
        Contender(name="vsftpd", tasks=_FILES, start=vsftpd, needs=("vsftpd",)),
        Contender(
            name="rsync daemon",
            tasks=_TREES,
            start=lambda folder: rsync(folder, state / "rsync"),
            needs=("rsync",),
        ),
        Contender(
            name="nginx and curl",
            tasks=frozenset({Task.GET, Task.DISCARD}),
            start=lambda folder: nginx(folder, state / "nginx", None),
            needs=("nginx", "curl"),
        ),
        Contender(
            name="nginx and curl, TLS",
            tasks=frozenset({Task.GET, Task.DISCARD}),
            start=lambda folder: nginx(folder, state / "nginx-tls", certificate),
            needs=("nginx", "curl"),
            is_secure=True,
        ),
    ]


def _certificate(state: Path) -> tuple[Path, Path]:
    """A certificate and its key, which all that speak TLS share."""
    folder = state / "certificate"
    folder.mkdir(parents=True, exist_ok=True)
    own.ensure(folder, ["localhost"], now=datetime.now(UTC))
    return folder / own.OWN_CERTIFICATE, folder / own.OWN_KEY
