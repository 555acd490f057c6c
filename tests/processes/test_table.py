from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockserv.processes.table import FIRST_MARK, Machine, Process

NOBODY = 2**22 + 1
"""No process of any machine."""


class Proc:
    """A folder that tells of processes as Linux does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, pid: int, name: str, content: str) -> None:
        folder = self.path / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    def process(self, pid: int, parent: int, *, called: str = "sh") -> Process:
        found = Process(pid, parent, pid + 1, pid + 2)
        self.write(
            pid, "stat", f"{pid} ({called}) S {parent} {pid + 1} {pid + 2} 0 -1 4194304 98\n"
        )
        return found

    @property
    def machine(self) -> Machine:
        return Machine(adopts=True, proc=str(self.path))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


@pytest.mark.parametrize("called", ["sh", ")", "a) S 1 2 3", "(((", "two\nlines", " "])
def test_processes_of_any_name(proc: Proc, called: str) -> None:
    found = [proc.process(5, 1, called=called), proc.process(7, 5)]
    (proc.path / "uptime").write_text("1 2")
    (proc.path / "9").mkdir()  # one that ends at this moment
    assert proc.machine.all() == {process.pid: process for process in found}


def test_a_system_that_tells_nothing(proc: Proc) -> None:
    machine = Machine(adopts=False, proc=str(proc.path / "nothing"))
    assert machine.all() == {}
    assert list(machine.children()) == []
    assert machine.mark(5) == 0
    assert not machine.are_adopted


def test_children_are_listed(proc: Proc) -> None:
    folder = proc.path / "self" / "task" / str(os.getpid())
    folder.mkdir(parents=True)
    (folder / "children").write_text("5 71 9 ")
    assert list(proc.machine.children()) == [5, 71, 9]


def test_children_where_the_kernel_does_not_list_them(proc: Proc) -> None:
    proc.process(5, os.getpid())
    proc.process(6, 5)
    proc.process(7, os.getpid())
    assert sorted(proc.machine.children()) == [5, 7]


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        (
            f"Max realtime timeout      {FIRST_MARK + 5}  unlimited            us        ",
            FIRST_MARK + 5,
        ),
        ("Max realtime timeout      unlimited            unlimited            us        ", 0),
        ("Max something else        7                    7                    us        ", 0),
    ],
)
def test_a_mark(proc: Proc, line: str, mark: int) -> None:
    proc.write(5, "limits", f"Limit                     Soft Limit\nMax cpu time   1  2\n{line}\n")
    assert proc.machine.mark(5) == mark


@pytest.fixture
def _own_mark() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_RTTIME)
    yield
    resource.setrlimit(resource.RLIMIT_RTTIME, before)


@pytest.mark.usefixtures("_own_mark")
def test_what_this_machine_tells() -> None:
    machine = Machine(adopts=False)
    machine.set_mark(FIRST_MARK + 7)
    assert machine.mark(os.getpid()) == FIRST_MARK + 7
    own = machine.all()[os.getpid()]
    assert own == Process(os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0))
    assert machine.session(os.getpid()) == own.session


def test_nobody_is_there() -> None:
    machine = Machine(adopts=False)
    assert machine.session(NOBODY) == 0
    assert machine.mark(NOBODY) == 0
    assert not machine.signal_group(NOBODY, signal.SIGTERM)
    machine.signal_child(NOBODY, signal.SIGTERM)


def test_what_is_no_signal() -> None:
    assert Machine(adopts=False).signal_group(os.getpgrp(), 999)
