"""A machine with processes that a test starts, forks and ends, as the guardian sees it."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from sockserv.processes.table import Process, Reaped, Usage

GUARDIAN = 2
NO_USAGE = Usage(0.0, 0.0, 0)


@dataclass
class One:
    """One process; what `ignores` are signals that change nothing."""

    pid: int
    parent: int
    group: int
    session: int
    mark: int = 0
    ended: int | None = None
    ignores: frozenset[int] = frozenset()


class FakeProcesses:
    """See `Processes`; `adopted` is False where orphans go to somebody else."""

    def __init__(self, *, adopted: bool = True, lists_all: bool = True) -> None:
        self.adopted = adopted
        self.lists_all = lists_all
        self.alive: dict[int, One] = {}
        self.signals: list[tuple[int, int]] = []
        self._last = GUARDIAN

    # What happens on the machine

    def start(self, mark: int = 0) -> int:
        """A child of the guardian that leads a session."""
        pid = self.fork(GUARDIAN, mark=mark)
        self.set_session(pid)
        return pid

    def fork(self, parent: int, *, mark: int | None = None) -> int:
        self._last += 1
        known = self.alive.get(parent) or One(parent, 0, parent, parent)
        own_mark = known.mark if mark is None else mark
        self.alive[self._last] = One(self._last, parent, known.group, known.session, own_mark)
        return self._last

    def set_session(self, pid: int) -> None:
        one = self.alive[pid]
        one.group = one.session = pid

    def set_group(self, pid: int) -> None:
        self.alive[pid].group = pid

    def exit(self, pid: int, code: int = 0) -> None:
        one = self.alive[pid]
        one.ended = code
        for other in [*self.alive.values()]:
            if other.parent == pid:
                other.parent = GUARDIAN if self.adopted else 1
                self._bury(other)
        self._bury(one)

    def _bury(self, one: One) -> None:
        """Only the guardian does not wait at once for its children."""
        if one.ended is not None and one.parent != GUARDIAN:
            self.alive.pop(one.pid, None)

    @property
    def running(self) -> set[int]:
        return {one.pid for one in self.alive.values() if one.ended is None}

    # What the guardian sees of it

    @property
    def are_adopted(self) -> bool:
        return self.adopted

    def reap(self) -> Reaped | None:
        children = self.children()
        if not children:
            raise ChildProcessError
        for pid in children:
            code = self.alive[pid].ended
            if code is not None:
                del self.alive[pid]
                return Reaped(pid, code, NO_USAGE)
        return None

    def children(self) -> list[int]:
        return [one.pid for one in self.alive.values() if one.parent == GUARDIAN]

    def all(self) -> dict[int, Process]:
        if not self.lists_all:
            return {}
        return {
            one.pid: Process(one.pid, one.parent, one.group, one.session)
            for one in self.alive.values()
        }

    def mark(self, pid: int) -> int:
        return self.alive[pid].mark if pid in self.alive else 0

    def session(self, pid: int) -> int:
        return self.alive[pid].session if pid in self.alive else 0

    def signal_group(self, group: int, number: int) -> bool:
        assert group > GUARDIAN, "that would be for the guardian itself"
        members = [one for one in self.alive.values() if one.group == group]
        for one in members:
            self._signal(one, number)
        return bool(members)

    def signal_child(self, pid: int, number: int) -> None:
        assert self.alive[pid].parent == GUARDIAN, "another's child may be anybody"
        self._signal(self.alive[pid], number)

    def _signal(self, one: One, number: int) -> None:
        if number == 0 or one.ended is not None:
            return
        self.signals.append((one.pid, number))
        if number not in one.ignores and number in (signal.SIGTERM, signal.SIGKILL):
            self.exit(one.pid, -number)
