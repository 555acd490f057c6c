"""What a job is run with: a program goes to a spawner, and comes back as a child.

The service knows processes only by these interfaces, so that a test can play them; see `sockserv.testing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred

from sockserv.execution.arguments import ResourceLimits, Terminal

__all__ = ["Account", "Child", "Ending", "Program", "Sink", "Source", "Spawner", "StartFailed"]


@attrs.frozen
class Account:
    """The account that a program runs as: numbers of the user, the group, and the other groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Program:
    """A program to start, with all that was decided about it.

    `argv` is never empty; a name without a slash is looked for in the `PATH` of `environment`, which is all the
    environment it gets. `directory` is absolute. `account` is None for that of the daemon.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    account: Account | None = None
    limits: ResourceLimits = attrs.field(factory=ResourceLimits)
    nice: int | None = None
    terminal: Terminal | None = None


@attrs.frozen(kw_only=True)
class Ending:
    """How a program's first process has ended: by an exit `code`, or by the number of a `signal`.

    With neither of them nobody knows: what watched it was lost. The processor's time, in seconds, and the largest
    memory are those of it and of the children that it has waited for.
    """

    code: int | None = None
    signal: int | None = None
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    max_memory_bytes: int = 0


class StartFailed(Exception):
    """A program could not be started. `errno` is the system's number, `what` the part that failed.

    That is `program`, `interpreter` (which the program wants, and is not there), `directory`, `account`, `nice`,
    `terminal`, or `process`: the machine has no room for another one.
    """

    def __init__(self, errno: int, what: str = "program") -> None:
        super().__init__(errno, what)
        self.errno = errno
        self.what = what


class Source(Protocol):
    """What a child writes. Nothing is read from it before somebody asks: a child that nobody reads has to wait."""

    async def read(self) -> bytes:
        """The next bytes, at least one, as many as there are up to a bound; `b""` at the end, which comes again and
        again.

        They come in a later turn of the reactor: who reads what a child writes without end keeps nobody else waiting.
        """

    def close(self) -> None:
        """Read no more; who waits in `read` gets the end. May be called again."""


class Sink(Protocol):
    """What a child reads."""

    async def write(self, data: bytes) -> bool:
        """Give the child these bytes; waits until it has room for all of them.

        False: it reads no more, and they are lost.
        """

    def close(self) -> None:
        """There is no more: the child sees the end of its input. May be called again, and while a `write` waits."""

    @property
    def written_bytes(self) -> int:
        """How much the child has been given, as far as anybody can know."""


class Child(Protocol):
    """A program that runs, with all that it has started: its tree.

    With a terminal, `stdin` and `stdout` are its two directions, `stderr` ends at once, and closing `stdin` tells the
    program of an end of its input as a terminal does.
    """

    @property
    def pid(self) -> int:
        """The number of its first process."""

    @property
    def stdin(self) -> Sink:
        """What it reads."""

    @property
    def stdout(self) -> Source:
        """What it writes to its standard output, or to its terminal."""

    @property
    def stderr(self) -> Source:
        """What it writes to its standard error."""

    @property
    def ended(self) -> Deferred[Ending]:
        """Fires once, when the first process has ended.

        What is left of its tree may still run, and hold the streams.
        """

    @property
    def gone(self) -> Deferred[None]:
        """Fires once, after `ended`, when nothing of the tree is left, as far as the machine lets anybody know."""

    def signal(self, number: int) -> None:
        """Send a signal to all of the tree; does nothing when nothing is left of it."""

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal its size; does nothing where there is none."""


class Spawner(Protocol):
    """Starts programs."""

    def spawn(self, program: Program) -> Deferred[Child]:
        """Start a program; fails with `StartFailed`. Cancelling the Deferred ends what may have been started."""

    def stop(self) -> Deferred[None]:
        """Kill what still runs of all trees, and let go of everything; fires when that is done."""
