from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

import pytest

from sockserv.processes.guardian import Guardian
from sockserv.processes.messages import Answer, Decoder, Message, Request, encode
from sockserv.processes.starting import Launch, StartError
from tests.processes.fake_processes import FakeProcesses

MARK = 2**62
LAUNCH = Launch(arguments=(b"ls",), environment={}, directory=b"/")


class MarkedProcesses(FakeProcesses):
    """Processes that have the mark that was set last."""

    own_mark = 0

    def set_mark(self, mark: int) -> None:
        self.own_mark = mark

    def start(self, mark: int = 0) -> int:
        return super().start(mark or self.own_mark)


class Kit:
    """A guardian on a machine that is played; `on_wait` is what happens when it waits."""

    def __init__(self) -> None:
        self.processes = MarkedProcesses()
        self.seconds = 0.0
        self.problem: StartError | None = None
        self.started: list[tuple[Launch, tuple[int, int, int]]] = []
        self.on_wait: Callable[[], object] = lambda: None
        self.guardian = Guardian(
            self.processes, wait=self.wait, clock=lambda: self.seconds, start=self.start
        )
        self._decoder = Decoder()

    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        self.on_wait()

    def start(self, launch: Launch, descriptors: tuple[int, int, int]) -> int:
        self.started.append((launch, descriptors))
        if self.problem is not None:
            raise self.problem
        return self.processes.start()

    @property
    def answers(self) -> list[Message]:
        return self._decoder.decode(self.guardian.take_answers())

    def ask(self, key: int, count: int = 3, mark: int = MARK) -> tuple[int, ...]:
        """Ask for a program; gives the descriptors."""
        descriptors = tuple(os.dup(0) for _ in range(count))
        self.guardian.receive(encode(Request.START, key, mark + key, count, *LAUNCH), descriptors)
        return descriptors

    def run(self, key: int) -> int:
        self.ask(key)
        [(_, _, pid)] = self.answers
        assert isinstance(pid, int)
        return pid


@pytest.fixture
def kit() -> Kit:
    return Kit()


def is_open(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("count", [1, 3])
def test_a_program_from_its_start_to_its_end(kit: Kit, count: int) -> None:
    descriptors = kit.ask(7, count)
    [(launch, given)] = kit.started
    assert launch == LAUNCH
    assert given == descriptors * (3 // count)
    assert not any(map(is_open, descriptors))
    [(kind, key, pid)] = kit.answers
    assert (kind, key) == (Answer.STARTED, 7)
    assert kit.processes.alive[pid].mark == MARK + 7
    kit.guardian.look()
    assert kit.answers == []
    kit.processes.exit(pid, -9)
    kit.guardian.look()
    assert kit.answers == [(Answer.ENDED, 7, -9, 0.0, 0.0, 0), (Answer.GONE, 7)]


def test_only_starts_can_wait_to_be_told(kit: Kit) -> None:
    def can_wait() -> bool:
        return kit.guardian.can_wait

    assert not can_wait()
    kit.ask(1)
    kit.ask(2)
    assert can_wait()
    kit.processes.exit(next(iter(kit.processes.alive)), 0)
    kit.guardian.look()
    assert not can_wait()
    told = [Answer.STARTED, Answer.STARTED, Answer.ENDED, Answer.GONE]
    assert [kind for kind, *_ in kit.answers] == told
    kit.ask(3)
    assert can_wait()
    kit.problem = StartError(errno.ENOENT, "program")
    kit.ask(4)
    assert not can_wait()


def test_a_program_that_cannot_be_started(kit: Kit) -> None:
    kit.problem = StartError(errno.ENOENT, "directory")
    descriptors = kit.ask(7)
    assert kit.answers == [(Answer.FAILED, 7, errno.ENOENT, "directory")]
    assert not any(map(is_open, descriptors))


def test_many_are_signalled_together_and_nobody_out_of_turn(kit: Kit) -> None:
    pids = [kit.run(key) for key in range(4)]
    looks = []
    see_all = kit.processes.all
    kit.processes.all = lambda: looks.append(0) or see_all()  # type: ignore[method-assign,func-returns-value]
    signals = [(0, signal.SIGTERM), (1, signal.SIGTERM), (99, signal.SIGTERM), (2, signal.SIGINT)]
    data = b"".join(encode(Request.SIGNAL, key, int(number)) for key, number in signals)
    kit.guardian.receive(data)
    assert kit.processes.signals == [
        (pids[0], signal.SIGTERM),
        (pids[1], signal.SIGTERM),
        (pids[2], signal.SIGINT),
    ]
    assert len(looks) <= 4


def test_what_another_guardian_has_left_is_killed(kit: Kit) -> None:
    left = kit.processes.start(MARK)
    kit.guardian.receive(encode(Request.KILL_STRANGERS, (), (MARK,)))
    assert left not in kit.processes.running


def test_it_stops_when_it_is_told_to(kit: Kit) -> None:
    kit.run(1)
    kit.guardian.receive(encode(Request.STOP))
    assert not kit.guardian.is_serving
    assert kit.answers == [(Answer.ENDED, 1, -9, 0.0, 0.0, 0), (Answer.GONE, 1)]
    seconds = kit.seconds
    kit.guardian.end()
    assert kit.seconds == seconds


class TestTheEndOfTheDaemon:
    def test_all_end_gently(self, kit: Kit) -> None:
        pid = kit.run(1)
        kit.guardian.receive(b"")
        assert not kit.guardian.is_serving
        kit.guardian.end()
        assert kit.processes.signals == [(pid, signal.SIGTERM)]
        assert not kit.processes.alive
        assert kit.seconds < 0.1

    def test_those_that_do_not_are_killed(self, kit: Kit) -> None:
        pid = kit.run(1)
        kit.processes.alive[pid].ignores = frozenset({signal.SIGTERM})
        kit.guardian.end()
        numbers = [number for _, number in kit.processes.signals]
        assert numbers == [signal.SIGTERM, signal.SIGCONT, signal.SIGKILL]
        assert not kit.processes.alive
        assert 2.0 <= kit.seconds < 2.1

    def test_those_that_cannot_be_are_left(self, kit: Kit) -> None:
        pid = kit.run(1)
        kit.processes.alive[pid].ignores = frozenset({signal.SIGTERM, signal.SIGKILL})
        kit.guardian.end()
        assert kit.processes.running == {pid}
        assert 7.0 <= kit.seconds < 7.1

    def test_one_that_ends_meanwhile_is_not_waited_for(self, kit: Kit) -> None:
        pid = kit.run(1)
        kit.processes.alive[pid].ignores = frozenset({signal.SIGTERM})

        def on_wait() -> None:
            if kit.seconds > 1.0 and pid in kit.processes.running:
                kit.processes.exit(pid)

        kit.on_wait = on_wait
        kit.guardian.end()
        assert kit.seconds < 1.1


def test_it_looks_again_ever_later_for_what_does_not_go(kit: Kit) -> None:
    assert kit.guardian.next_look_seconds() is None
    pid = kit.run(1)
    kit.processes.alive[pid].ignores = frozenset({signal.SIGKILL})
    kit.guardian.receive(encode(Request.SIGNAL, 1, int(signal.SIGKILL)))
    pauses = [kit.guardian.next_look_seconds() or 0.0 for _ in range(20)]
    assert pauses[0] == 0.02
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0
    kit.processes.exit(pid)
    kit.guardian.look()
    assert kit.guardian.next_look_seconds() is None
