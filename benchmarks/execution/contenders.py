"""Who takes part, and how each is started."""

from __future__ import annotations

import contextlib
import getpass
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import attrs

from benchmarks.files.daemons import Sshd, sshd
from benchmarks.files.session import Program
from benchmarks.processes import peer

__all__ = [
    "ASYNCSSH",
    "HEAVY",
    "LOCAL",
    "ON_DISK",
    "OWN",
    "OWN_TLS",
    "SSH",
    "SSH_GCM",
    "Contender",
    "contenders",
    "sockserv",
]

LOCAL: Final = "local"
OWN: Final = "sockserv"
OWN_TLS: Final = "sockserv, TLS"
ON_DISK: Final = "sockserv, audit on disk"
HEAVY: Final = "sockserv, 1 GiB held"
SSH: Final = "ssh, ControlMaster"
SSH_GCM: Final = "ssh, aes128-gcm"
ASYNCSSH: Final = "asyncssh"

_EVERYTHING: Final = frozenset({"jobs", "output", "input"})
_GIB: Final = 1 << 30


@attrs.frozen(kw_only=True)
class Contender:
    """`start` starts a server, if there is one, and a client; `tasks` are those of
    `benchmarks.clients.execution.driving`.

    `needs` names what it is made of, see `benchmarks.files.needs`. One that is `slow` runs a quarter of the jobs.
    """

    name: str
    start: Callable[[], AbstractContextManager[Program]]
    tasks: frozenset[str] = _EVERYTHING
    needs: tuple[str, ...] = ()
    is_slow: bool = False


@contextlib.contextmanager
def sockserv(
    state: Path, *, url: str = "plain", held_bytes: int = 0, **plan: object
) -> Iterator[Program]:
    """A daemon with this state directory, and the client."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        peer("execution.sockserv", str(state), str(held_bytes)) as server,
        Program(
            server.pid,
            "sockserv",
            kind="execution",
            url=server.secrets[url],
            token=server.secrets["token"],
            **plan,
        ) as client,
    ):
        yield client


def contenders(memory: Path, disk: Path) -> list[Contender]:
    """All of them; `memory` is a folder on tmpfs, and `disk` one on a disk, for what they have to remember."""

    @contextlib.contextmanager
    def local() -> Iterator[Program]:
        with Program(0, "command", kind="execution", prefix=[]) as program:
            yield program

    @contextlib.contextmanager
    def multiplexed(cipher: str | None = None) -> Iterator[Program]:
        """All jobs on the one connection that the master holds."""
        with sshd(memory / "sshd") as server:
            control = memory / "control"
            prefix = [*_ssh(server, cipher), "-o", f"ControlPath={control}"]
            _run([*prefix, "-M", "-N", "-f", _there()])
            try:
                with Program(
                    server.pid, "command", kind="execution", prefix=[*prefix, _there()]
                ) as program:
                    yield program
            finally:
                _run([*prefix, "-O", "exit", _there()])

    @contextlib.contextmanager
    def through_sshd() -> Iterator[Program]:
        with (
            sshd(memory / "sshd") as server,
            Program(
                server.pid,
                "asyncssh",
                kind="execution",
                port=server.port,
                user=getpass.getuser(),
                key=str(server.key),
            ) as program,
        ):
            yield program

    @contextlib.contextmanager
    def python(name: str) -> Iterator[Program]:
        with (
            peer(f"execution.{name}") as server,
            Program(
                server.pid,
                "asyncssh",
                kind="execution",
                port=server.port,
                user=getpass.getuser(),
                **server.secrets,
            ) as program,
        ):
            yield program

    jobs = frozenset({"jobs"})
    return [
        Contender(name=LOCAL, start=local),
        Contender(name=OWN, start=lambda: sockserv(memory / "state")),
        Contender(name=OWN_TLS, start=lambda: sockserv(memory / "state-tls", url="secure")),
        Contender(name=ON_DISK, start=lambda: sockserv(disk / "state"), tasks=jobs),
        Contender(
            name=HEAVY,
            start=lambda: sockserv(memory / "state-heavy", held_bytes=_GIB),
            tasks=jobs,
        ),
        Contender(name=SSH, start=multiplexed, needs=("sshd", "ssh"), is_slow=True),
        Contender(
            name=SSH_GCM,
            start=lambda: multiplexed("aes128-gcm@openssh.com"),
            tasks=frozenset({"output", "input"}),
            needs=("sshd", "ssh"),
        ),
        Contender(
            name=ASYNCSSH, start=lambda: python("asyncssh"), needs=("asyncssh",), is_slow=True
        ),
        Contender(
            name="asyncssh's client, sshd",
            start=through_sshd,
            needs=("asyncssh", "sshd"),
            is_slow=True,
        ),
        Contender(
            name="conch, asyncssh's client",
            start=lambda: python("conch"),
            needs=("asyncssh", "conch"),
            is_slow=True,
        ),
    ]


def _ssh(server: Sshd, cipher: str | None) -> list[str]:
    more = [] if cipher is None else ["-c", cipher]
    return ["ssh", *server.options, "-p", str(server.port), *more]


def _there() -> str:
    return f"{getpass.getuser()}@127.0.0.1"


def _run(command: list[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
