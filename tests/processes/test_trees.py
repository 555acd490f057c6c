from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.processes.table import Process
from sockserv.processes.trees import Trees, kill_strangers
from tests.processes.fake_processes import GUARDIAN, FakeProcesses

MARK = 2**62
OTHER_MARK = 2**62 + 1


class Machine:
    """Trees over a fake machine; `look` is what the guardian does when a child has ended."""

    def __init__(self, *, adopted: bool = True, lists_all: bool = True) -> None:
        self.processes = FakeProcesses(adopted=adopted, lists_all=lists_all)
        self.trees = Trees(self.processes)

    def start(self, key: int, mark: int = 0) -> int:
        pid = self.processes.start(mark)
        self.trees.add(key, pid, mark=mark)
        return pid

    def look(self) -> tuple[list[tuple[int, int]], list[int]]:
        ended = [(key, reaped.code) for key, reaped in self.trees.reap()]
        return ended, self.trees.settle()


def test_a_process_alone() -> None:
    machine = Machine()
    pid = machine.start(7)
    assert machine.look() == ([], [])
    machine.processes.exit(pid, 3)
    assert machine.look() == ([(7, 3)], [7])
    assert machine.look() == ([], [])
    assert len(machine.trees) == 0
    assert not machine.trees.need_a_look


def test_a_child_in_the_background_is_still_of_the_tree() -> None:
    machine = Machine()
    pid = machine.start(1)
    child = machine.processes.fork(pid)
    machine.processes.exit(pid)
    assert machine.look() == ([(1, 0)], [])
    machine.processes.exit(child)
    assert machine.look() == ([], [1])


def test_what_an_orphan_leaves_is_of_the_tree() -> None:
    machine = Machine()
    pid = machine.start(1)
    child = machine.processes.fork(pid)
    grandchild = machine.processes.fork(child)
    machine.processes.exit(pid)
    machine.look()
    machine.processes.exit(child)
    assert machine.look() == ([], [])
    machine.processes.exit(grandchild)
    assert machine.look() == ([], [1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_is_for_all_of_the_tree_and_for_nobody_else(number: int) -> None:
    machine = Machine()
    processes = machine.processes
    pid, other = machine.start(1, MARK), machine.start(2, OTHER_MARK)
    in_group = processes.fork(pid)
    of_shell = processes.fork(pid)
    processes.set_group(of_shell)
    away = processes.fork(pid)
    processes.set_session(away)
    orphan = processes.fork(away)
    processes.set_session(orphan)
    processes.fork(other)
    machine.trees.signal(1, number)
    assert sorted(processes.signals) == [
        (one, number) for one in (pid, in_group, of_shell, away, orphan)
    ]


def test_what_has_a_session_of_its_own_and_no_parent_is_known_by_its_mark() -> None:
    machine = Machine()
    processes = machine.processes
    first, second = machine.start(1, MARK), machine.start(2, OTHER_MARK)
    between = processes.fork(first)
    away = processes.fork(between)
    processes.set_session(away)
    processes.exit(between)
    processes.exit(second)
    assert machine.look() == ([(2, 0)], [2])
    processes.exit(first)
    assert machine.look() == ([(1, 0)], [])
    machine.trees.signal(1, signal.SIGTERM)
    assert processes.signals == [(away, signal.SIGTERM)]
    assert machine.look() == ([], [1])


def test_what_nobody_can_tell_whose_it_is_ends_with_the_last_tree() -> None:
    machine = Machine()
    processes = machine.processes
    first, second = machine.start(1), machine.start(2)
    between = processes.fork(first)
    stray = processes.fork(between)
    processes.set_session(stray)
    processes.exit(between)
    processes.exit(first)
    assert machine.look() == ([(1, 0)], [1])
    assert stray in processes.running
    processes.exit(second)
    assert machine.look() == ([(2, 0)], [2])
    assert machine.trees.need_a_look
    machine.look()
    assert not processes.alive
    assert not machine.trees.need_a_look


def test_what_is_started_while_the_tree_is_killed_is_killed_too() -> None:
    machine = Machine()
    processes = machine.processes
    pid = machine.start(1, MARK)
    machine.trees.signal(1, signal.SIGKILL)
    assert pid not in processes.running
    # One that the signal did not meet, because it was not there yet.
    late = processes.fork(GUARDIAN, mark=MARK)
    processes.set_session(late)
    assert machine.look() == ([(1, -9)], [])
    assert machine.trees.need_a_look
    assert machine.look() == ([], [1])
    assert not processes.alive


def test_what_cannot_be_killed_is_looked_at_from_time_to_time() -> None:
    machine = Machine()
    pid = machine.start(1)
    machine.processes.alive[pid].ignores = frozenset({signal.SIGKILL})
    machine.trees.signal(1, signal.SIGKILL)
    assert machine.look() == ([], [])
    assert machine.trees.need_a_look
    machine.processes.alive[pid].ignores = frozenset()
    machine.look()
    assert machine.look() == ([(1, -9)], [1])


def test_one_that_becomes_another_process_all_the_time_is_killed() -> None:
    class Comet(FakeProcesses):
        """Whoever asks for the children finds another one than before, but for the last time."""

        moves = 5

        def children(self) -> list[int]:
            found = super().children()
            for pid in found:
                if self.moves and self.alive[pid].ended is None:
                    self.moves -= 1
                    self.set_session(self.fork(pid))
                    self.exit(pid)
            return found

    processes = Comet()
    trees = Trees(processes)
    trees.add(1, processes.start(MARK), mark=MARK)
    trees.signal(1, signal.SIGKILL)
    trees.reap()
    trees.settle()
    trees.reap()
    trees.settle()
    assert not processes.running


class Busy(FakeProcesses):
    """Something happens each time that somebody has looked."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Callable[[], object]] = []

    def children(self) -> list[int]:
        found = super().children()
        self._go_on()
        return found

    def all(self) -> dict[int, Process]:
        found = super().all()
        self._go_on()
        return found

    def _go_on(self) -> None:
        if self.events:
            self.events.pop(0)()


@pytest.mark.parametrize("looks", range(4))
def test_one_that_loses_its_parent_while_all_are_looked_at_has_the_signal_too(looks: int) -> None:
    processes = Busy()
    trees = Trees(processes)
    pid = processes.start()
    trees.add(1, pid)
    between = processes.fork(pid)
    away = processes.fork(between)
    processes.set_session(away)
    processes.set_session(between)
    for one in pid, between:
        processes.alive[one].ignores = frozenset({signal.SIGTERM})
    for _ in range(looks):
        processes.events.append(lambda: None)
    processes.events.append(lambda: processes.exit(between))
    trees.signal(1, signal.SIGTERM)
    assert away not in processes.running


@pytest.mark.parametrize("looks", range(2))
def test_one_that_is_started_while_all_are_looked_at_has_the_signal_too(looks: int) -> None:
    processes = Busy()
    trees = Trees(processes)
    pid = processes.start()
    trees.add(1, pid)
    parent = processes.fork(pid)
    processes.set_session(parent)
    for _ in range(looks):
        processes.events.append(lambda: None)
    processes.events.append(lambda: processes.set_session(processes.fork(parent)))
    processes.alive[pid].ignores = processes.alive[parent].ignores = frozenset({signal.SIGTERM})
    trees.signal(1, signal.SIGTERM)
    assert processes.running == {pid, parent}


def test_a_number_that_is_used_again_is_another_tree() -> None:
    machine = Machine()
    processes = machine.processes
    pid = machine.start(1, MARK)
    away = processes.fork(pid)
    processes.set_session(away)
    processes.exit(pid)
    machine.look()
    processes._last = pid - 1
    assert machine.start(2, OTHER_MARK) == pid
    machine.trees.signal(1, signal.SIGTERM)
    assert processes.signals == [(away, signal.SIGTERM)]
    assert machine.look() == ([], [1])
    machine.trees.signal(2, signal.SIGTERM)
    assert machine.look() == ([(2, -15)], [2])


def test_many_are_killed_with_as_few_looks_as_one() -> None:
    class Counting(FakeProcesses):
        looks = 0

        def all(self) -> dict[int, Process]:
            self.looks += 1
            return super().all()

    processes = Counting()
    trees = Trees(processes)
    for key in range(100):
        pid = processes.start()
        trees.add(key, pid)
        processes.set_session(processes.fork(pid))
    trees.signal_each([*range(99), 1234], signal.SIGKILL)
    assert processes.looks <= 2
    trees.reap()
    assert trees.settle() == [*range(99)]
    assert len(processes.running) == 2


def test_what_has_no_mark_is_found_before_its_parent_is_killed() -> None:
    machine = Machine()
    pid = machine.start(1)
    machine.start(2)
    away = machine.processes.fork(pid)
    machine.processes.set_session(away)
    machine.trees.signal(1, signal.SIGKILL)
    assert away not in machine.processes.running


def test_a_signal_for_a_tree_that_is_gone() -> None:
    machine = Machine()
    machine.trees.signal(1, signal.SIGKILL)
    machine.trees.signal_all(signal.SIGKILL)
    assert machine.processes.signals == []


class TestWithoutAdoption:
    """Systems on which orphans go to the first process."""

    def test_the_group_is_the_tree(self) -> None:
        machine = Machine(adopted=False, lists_all=False)
        pid = machine.start(1)
        child = machine.processes.fork(pid)
        machine.processes.exit(pid)
        assert machine.look() == ([(1, 0)], [])
        assert machine.trees.need_a_look
        machine.trees.signal(1, signal.SIGTERM)
        assert machine.processes.signals == [(child, signal.SIGTERM)]
        assert machine.look() == ([], [1])

    def test_a_group_whose_number_is_used_again_is_not_its_own(self) -> None:
        machine = Machine(adopted=False, lists_all=False)
        pid = machine.start(1)
        machine.processes.exit(pid)
        machine.trees.reap()
        machine.processes._last = pid - 1
        assert machine.start(2) == pid
        machine.trees.signal(1, signal.SIGKILL)
        assert machine.processes.signals == []
        assert machine.look() == ([], [1])


def test_what_another_guardian_has_left_is_known_by_session_and_by_mark() -> None:
    processes = FakeProcesses(adopted=False)
    by_session, stranger = processes.start(), processes.start()
    child = processes.fork(by_session)
    processes.set_group(child)
    by_mark = processes.start(MARK)
    assert kill_strangers(processes, (by_session,), (MARK,)) == 3
    assert processes.running == {stranger}
    assert by_mark not in processes.running


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["fork", "session", "group", "exit", "look"]), st.integers(0, 30)),
    max_size=40,
)


@given(ACTIONS, st.booleans())
def test_nothing_gets_out_of_a_tree(actions: list[tuple[str, int]], marked: bool) -> None:
    """Whatever its processes do: a tree that is killed is gone, is told once, and another one is not touched."""
    machine = Machine()
    processes = machine.processes
    machine.start(1, MARK if marked else 0)
    mine = {*processes.alive}
    other = machine.start(2, OTHER_MARK if marked else 0)
    gone: list[int] = []
    for action, number in actions:
        running = sorted(mine & processes.running)
        if action == "look":
            gone += machine.look()[1]
        elif running:
            pid = running[number % len(running)]
            if action == "fork":
                mine.add(processes.fork(pid))
            elif action == "exit":
                processes.exit(pid)
            elif action == "session":
                processes.set_session(pid)
            else:
                processes.set_group(pid)
    machine.trees.signal(1, signal.SIGKILL)
    for _ in range(50):
        gone += machine.look()[1]
    assert gone == [1]
    assert other in processes.running
    processes.exit(other)
    for _ in range(50):
        gone += machine.look()[1]
    assert gone == [1, 2]
    assert not processes.alive
    if marked:
        assert not any(pid == other for pid, _ in processes.signals)
