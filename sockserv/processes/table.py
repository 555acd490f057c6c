"""What the machine tells of its processes, and what can be done to them.

Linux tells everything: `Machine` reads it from `/proc`. Elsewhere only process groups are known.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

__all__ = ["FIRST_MARK", "Machine", "Process", "Processes", "Reaped", "Usage", "become_reaper"]

FIRST_MARK: Final = 2**62
"""The smallest mark; all are below twice that, see `Machine.set_mark`."""

_PR_SET_CHILD_SUBREAPER: Final = 36
_STAT_BYTES: Final = 4096
_MARK_LINE: Final = b"Max realtime timeout"


class Process(NamedTuple):
    """A process: its number, and those of its parent, its process group and its session."""

    pid: int
    parent: int
    group: int
    session: int


class Usage(NamedTuple):
    """What a process and the children that it has waited for have used: seconds of the processor,
    and memory at most.
    """

    user_seconds: float
    system_seconds: float
    max_memory_bytes: int


class Reaped(NamedTuple):
    """A child that has ended: its number, its exit code (a signal is a negative one), and what it has used."""

    pid: int
    code: int
    usage: Usage


class Processes(Protocol):
    """The processes of a machine, as the parent of some of them sees them."""

    @property
    def are_adopted(self) -> bool:
        """Whether orphans among the descendants of this process become its children; if not, only groups are known."""

    def reap(self) -> Reaped | None:
        """The next child that has ended, which is no more; None where no other has.

        Raises `ChildProcessError` without children.
        """

    def children(self) -> Iterable[int]:
        """The children of this process, those that have ended among them."""

    def all(self) -> dict[int, Process]:
        """All processes that can be seen, by number."""

    def mark(self, pid: int) -> int:
        """The mark of a process, see `Machine.set_mark`; 0 without one."""

    def session(self, pid: int) -> int:
        """The session of a process, 0 where it is not known."""

    def signal_group(self, group: int, number: int) -> bool:
        """Send a signal to all processes of a group; 0 sends none. False: there are none any more."""

    def signal_child(self, pid: int, number: int) -> None:
        """Send a signal to a child that was not reaped, so that its number is its own."""


class Machine:
    """The processes of this machine.

    `adopts` says that this process has become the reaper of all that its children start; see `become_reaper`. `proc`
    is where Linux tells of processes.
    """

    def __init__(self, *, adopts: bool, proc: str = "/proc") -> None:
        self._adopts = adopts
        self._proc = proc
        self._children = f"{proc}/self/task/{os.getpid()}/children"

    @property
    def are_adopted(self) -> bool:
        """See `Processes`."""
        return self._adopts

    def reap(self) -> Reaped | None:
        """See `Processes`."""
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            return None
        memory = usage.ru_maxrss * _MAXRSS_BYTES
        return Reaped(
            pid, os.waitstatus_to_exitcode(status), Usage(usage.ru_utime, usage.ru_stime, memory)
        )

    def children(self) -> Iterable[int]:
        """See `Processes`. Some kernels do not list them; then all processes are looked at."""
        try:
            with open(self._children, "rb") as file:
                return [int(pid) for pid in file.read().split()]
        except FileNotFoundError:
            own = os.getpid()
            return [process.pid for process in self.all().values() if process.parent == own]

    def all(self) -> dict[int, Process]:
        """See `Processes`."""
        try:
            names = os.listdir(self._proc)
        except OSError:
            return {}
        found = {}
        for name in names:
            if name.isdecimal():
                with suppress(OSError):  # it has ended meanwhile
                    found[int(name)] = _read_process(self._proc, int(name))
        return found

    def mark(self, pid: int) -> int:
        """See `Processes`."""
        with suppress(OSError), open(f"{self._proc}/{pid}/limits", "rb") as file:
            for line in file:
                if line.startswith(_MARK_LINE):
                    soft = line[len(_MARK_LINE) :].split()[0]
                    return int(soft) if soft.isdigit() else 0
        return 0

    @staticmethod
    def set_mark(mark: int) -> None:
        """Mark this process, and so all that it starts from now on, and all that these start, whatever they become.

        A mark is a number from `FIRST_MARK` on. It is given as the limit of how long a process with realtime priority
        may go without a pause, in microseconds, which at such a size limits nothing: limits pass on to children of any
        kind and to the programs that these become, and anybody may read them. Where there is no such limit, nobody is
        marked.
        """
        with suppress(AttributeError, OSError, ValueError):
            _, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
            resource.setrlimit(resource.RLIMIT_RTTIME, (mark, hard))

    def session(self, pid: int) -> int:
        """See `Processes`."""
        try:
            return os.getsid(pid)
        except OSError:
            return 0

    def signal_group(self, group: int, number: int) -> bool:
        """See `Processes`."""
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return False
        except OSError:
            return True  # they are another's, as with a program that changes its user; or it is no signal
        return True

    def signal_child(self, pid: int, number: int) -> None:
        """See `Processes`."""
        with suppress(OSError):
            os.kill(pid, number)


def become_reaper() -> bool:
    """Make this process the one that adopts its descendants when their parents end (prctl(2)); False where nobody can.

    So none of them gets away. The process has to wait for all its children from then on. A program that this process
    becomes by `exec` is one, too; its children are not.
    """
    try:
        import ctypes  # which takes longer than all else that is imported

        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def _read_process(proc: str, pid: int) -> Process:
    # Not `open`, which asks six more things of the system for each of them.
    file = os.open(f"{proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(file, _STAT_BYTES)
    finally:
        os.close(file)
    # The name stands in parentheses, and may have any others in it.
    _, parent, group, session = content[content.rindex(b")") + 2 :].split(None, 4)[:4]
    return Process(pid, int(parent), int(group), int(session))


_MAXRSS_BYTES: Final = 1 if os.uname().sysname == "Darwin" else 1024
