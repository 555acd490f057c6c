"""The trees of processes that this one has started: whose each process is, whether any is left, and how to end them
all.

A tree begins with one process, which leads a session. What holds here:

- A process belongs to a tree when its parent does, or when it is an orphan whose session or mark is that of the tree.
  Where this process adopts orphans (see `table`) nothing gets out of a tree: not with a session of its own, and not by
  ending its parent.
- The number of a child stays its own until it is reaped, and that of a group while anybody is in it. Only here are
  children reaped, so a signal for one never meets a stranger.
- A tree is gone when its first process was reaped and no orphan of it is left: each process has a living parent, or is
  an orphan.
- An orphan that has got rid of both session and mark could be of any tree. It is ended when there is no tree left.

Where orphans are not adopted a tree is its first process group.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable
from typing import Final

from sockserv.processes.table import Process, Processes, Reaped

__all__ = ["Trees", "kill_strangers"]

_ROUNDS: Final = 8
"""How often at once those are looked for who start faster than they are killed."""


class _Tree:
    """One tree: `pid` is its first process, `orphans` are those of it that were adopted."""

    def __init__(self, key: int, pid: int, mark: int) -> None:
        self.key = key
        self.pid = pid
        self.mark = mark
        self.orphans: set[int] = set()
        self.has_lost_root = False
        self.is_killed = False

    @property
    def roots(self) -> set[int]:
        """The children of this process that are of the tree."""
        return self.orphans if self.has_lost_root else {self.pid, *self.orphans}


class Trees:
    """All trees of this process, each by a key that its user chooses."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._trees: dict[int, _Tree] = {}
        self._roots: dict[int, _Tree] = {}
        self._sessions: dict[int, _Tree] = {}
        self._marks: dict[int, _Tree] = {}
        self._owners: dict[int, _Tree | None] = {}
        """Of each orphan; None of one that could be anybody's."""
        self._has_children = False

    def __len__(self) -> int:
        """How many trees there are."""
        return len(self._trees)

    @property
    def need_a_look(self) -> bool:
        """Whether `settle` has to be called from time to time, though no child ends."""
        if not self._trees:
            return bool(self._owners)
        return any(
            tree.is_killed or (tree.has_lost_root and not self._processes.are_adopted)
            for tree in self._trees.values()
        )

    def add(self, key: int, pid: int, *, mark: int = 0) -> None:
        """There is a new tree, of a child that was just started; `mark` is what it was marked with, 0 for nothing."""
        tree = _Tree(key, pid, mark)
        self._trees[key] = self._roots[pid] = self._sessions[pid] = tree
        if mark:
            self._marks[mark] = tree
        self._has_children = True

    def reap(self) -> list[tuple[int, Reaped]]:
        """Let go of all children that have ended; gives those with which a tree began, by their keys."""
        ended: list[tuple[int, Reaped]] = []
        while True:
            try:
                reaped = self._processes.reap()
            except ChildProcessError:
                self._has_children = False
                return ended
            if reaped is None:
                self._has_children = True
                return ended
            tree = self._roots.pop(reaped.pid, None)
            if tree is not None:
                tree.has_lost_root = True
                ended.append((tree.key, reaped))
            else:
                self._disown(reaped.pid)

    def settle(self) -> list[int]:
        """Which trees are gone: their keys, once each. What was killed and is still there is killed again."""
        if len(self._roots) == len(self._trees) and not self.need_a_look:
            return []
        self._adopt()
        killed = [
            tree for tree in self._trees.values() if tree.is_killed and not self._is_gone(tree)
        ]
        if killed:
            self._kill_orphans(killed)
            self._signal_groups(killed, signal.SIGKILL)
        gone = [tree for tree in self._trees.values() if self._is_gone(tree)]
        for tree in gone:
            self._remove(tree)
        if self._owners and not self._trees:
            self._kill_strays()
        return [tree.key for tree in gone]

    def signal(self, key: int, number: int) -> None:
        """Send a signal to all of a tree.

        What is killed once stays so: `settle` does it for those that were being started.
        """
        self.signal_each([key], number)

    def signal_all(self, number: int) -> None:
        """Send a signal to all trees."""
        self.signal_each([*self._trees], number)

    def signal_each(self, keys: Iterable[int], number: int) -> None:
        """Send a signal to all of some trees; takes not much longer than for one."""
        trees = [self._trees[key] for key in keys if key in self._trees]
        if number == signal.SIGKILL:
            self._kill_orphans(trees)
            for tree in trees:
                tree.is_killed = True
        self._signal_groups(trees, number)

    def _adopt(self) -> None:
        """Find the orphans that are new."""
        if not self._has_children:
            self._owners.clear()
            for tree in self._trees.values():
                tree.orphans.clear()
            return
        if not self._processes.are_adopted:
            return
        for pid in self._processes.children():
            if pid not in self._roots and pid not in self._owners:
                owner = self._owners[pid] = self._find_owner(pid)
                if owner is not None:
                    owner.orphans.add(pid)

    def _find_owner(self, pid: int) -> _Tree | None:
        session = self._sessions.get(self._processes.session(pid))
        return session or self._marks.get(self._processes.mark(pid))

    def _disown(self, pid: int) -> None:
        tree = self._owners.pop(pid, None)
        if tree is not None:
            tree.orphans.discard(pid)

    def _is_gone(self, tree: _Tree) -> bool:
        if not tree.has_lost_root:
            return False
        if self._processes.are_adopted:
            return not tree.orphans
        return not self._leads(tree) or not self._processes.signal_group(tree.pid, 0)

    def _remove(self, tree: _Tree) -> None:
        del self._trees[tree.key]
        self._marks.pop(tree.mark, None)
        if self._sessions.get(tree.pid) is tree:  # the number may be that of another one by now
            del self._sessions[tree.pid]

    def _kill_orphans(self, trees: Collection[_Tree]) -> None:
        """Kill those first that need no long search: who becomes another process all the time is one of them."""
        self._adopt()
        known = -1
        for _ in range(_ROUNDS):
            orphans = [pid for tree in trees for pid in tree.orphans]
            if len(orphans) == known:
                break
            known = len(orphans)
            for pid in orphans:
                self._processes.signal_child(pid, signal.SIGKILL)
            self._adopt()

    def _signal_groups(self, trees: Collection[_Tree], number: int) -> None:
        """Send a signal to all process groups of some trees, once to each.

        No group is ever shared by two trees: each is within one session. It is done again until there is nobody new:
        some are started, or change their parent, while all are looked at.
        """
        done: set[int] = set()
        for _ in range(_ROUNDS):
            table = self._processes.all() if self._processes.are_adopted else {}
            self._adopt()  # now, so that those are known who have lost their parent meanwhile
            roots = {pid for tree in trees for pid in tree.roots}
            groups = _groups_below(roots, table) | {tree.pid for tree in trees if self._leads(tree)}
            for group in groups - done:
                self._processes.signal_group(group, number)
            if groups <= done and (roots <= table.keys() or not table):
                break
            done |= groups

    def _leads(self, tree: _Tree) -> bool:
        """Whether the group of its first process is surely its own."""
        if self._processes.are_adopted:
            return not tree.has_lost_root
        return self._sessions.get(tree.pid) is tree

    def _kill_strays(self) -> None:
        for group in _groups_below(self._owners, self._processes.all()):
            self._processes.signal_group(group, signal.SIGKILL)


def kill_strangers(processes: Processes, sessions: Collection[int], marks: Collection[int]) -> int:
    """Kill what another process than this one has started, by sessions and by marks; gives how many groups there were.

    For what is left when a process with trees has ended before them. Blocks for a moment.
    """
    groups = {
        process.group
        for process in processes.all().values()
        if process.session in sessions or processes.mark(process.pid) in marks
    }
    for group in groups:
        processes.signal_group(group, signal.SIGKILL)
    return len(groups)


def _groups_below(roots: Iterable[int], table: dict[int, Process]) -> set[int]:
    """The process groups of these processes and of all their descendants."""
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    groups = set()
    left = [table[pid] for pid in roots if pid in table]
    while left:
        process = left.pop()
        groups.add(process.group)
        left.extend(children.pop(process.pid, ()))
    return groups
