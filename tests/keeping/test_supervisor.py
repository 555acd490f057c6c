"""A supervisor from its first message to its last: all that comes is there before it looks, so that nobody waits."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockserv.execution.outcome import KillReason, Outcome
from sockserv.keeping.channels import Channels
from sockserv.keeping.conversation import Conversation
from sockserv.keeping.folder import JobFolder
from sockserv.keeping.messages import (
    Decoder,
    Ended,
    EndInput,
    Input,
    InputOpened,
    InputTaken,
    Kill,
    Message,
    OpenInput,
    Order,
    Progress,
    Resize,
    Running,
    Signal,
    Watch,
    encode,
)
from sockserv.keeping.record import read_outcome
from sockserv.keeping.spool import Spool
from sockserv.keeping.supervisor import Supervisor
from sockserv.processes.starting import Launch
from sockserv.processes.table import Process, Reaped, Usage
from sockserv.processes.trees import Trees
from tests.keeping.kit import record

PID = 4711


class FakeMachine:
    """A machine with one process, which does what it is told: it ends by the signals in `deadly`."""

    are_adopted = True

    def __init__(self, wake: Callable[[], None]) -> None:
        self.deadly = {signal.SIGKILL}
        self.signals: list[int] = []
        self._wake = wake
        self._ended: list[Reaped] = []
        self._lives = True

    def end(self, code: int) -> None:
        if self._lives:
            self._lives = False
            self._ended.append(Reaped(PID, code, Usage(0.5, 0.25, 1000)))
            self._wake()

    def reap(self) -> Reaped | None:
        if self._ended:
            return self._ended.pop()
        if self._lives:
            return None
        raise ChildProcessError

    def children(self) -> list[int]:
        return [PID] if self._lives else []

    def all(self) -> dict[int, Process]:
        return {PID: Process(PID, 1, PID, PID)} if self._lives else {}

    def mark(self, pid: int) -> int:
        return 0

    def session(self, pid: int) -> int:
        return PID

    def signal_group(self, group: int, number: int) -> bool:
        self.signals.append(number)
        if number in self.deadly:
            self.end(-number)
        return self._lives

    def signal_child(self, pid: int, number: int) -> None:
        self.signal_group(pid, number)


class Supervised:
    """A job in the hands of a test, a daemon that is connected, and the supervisor between them."""

    def __init__(self, folder: Path, *, spool_bytes: int = 1000, has_input: bool = True) -> None:
        self.folder = JobFolder(folder)
        stdin, to_stdin = os.pipe()
        from_stdout, stdout = os.pipe()
        from_stderr, stderr = os.pipe()
        for ours in (to_stdin, from_stdout, from_stderr):
            os.set_blocking(ours, False)
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.wakeups, self._waking = socket.socketpair()
        self.wakeups.setblocking(False)
        self._listener = socket.socket(socket.AF_UNIX)
        self.daemon, there = socket.socketpair()
        self.machine = FakeMachine(lambda: self.wake(signal.SIGCHLD))
        self.supervisor = Supervisor(
            Order(
                folder=str(folder),
                record=record(spool_bytes=spool_bytes),
                launch=Launch((b"job",), {}, b"/"),
                pause_seconds=0.0,
                has_input=has_input,
            ),
            self.folder,
            Channels((stdin, stdout, stderr), to_stdin, from_stdout, from_stderr),
            PID,
            Trees(self.machine),
            Spool(self.folder, limit_bytes=spool_bytes),
            listener=self._listener,
            wakeups=self.wakeups,
            now=lambda: 0.0,
        )
        self.supervisor.join(Conversation(there))

    def wake(self, number: int) -> None:
        self._waking.send(bytes([number]))

    def say(self, *messages: Message) -> None:
        self.daemon.sendall(b"".join(map(encode, messages)))

    def write(self, stdout: bytes = b"", stderr: bytes = b"") -> None:
        """All that the job ever writes."""
        for descriptor, data in ((self.stdout, stdout), (self.stderr, stderr)):
            os.write(descriptor, data)
            os.close(descriptor)

    def run(self) -> list[Message]:
        """What the daemon has heard when it is over."""
        self.supervisor.run()
        heard = b""
        self.daemon.setblocking(False)
        while True:
            try:
                heard += self.daemon.recv(100_000)
            except BlockingIOError:
                return [*Decoder().feed(heard)]

    def run_to_outcome(self) -> Outcome:
        *_, last = self.run()
        assert isinstance(last, Ended)
        assert read_outcome(self.folder) == last.outcome
        return last.outcome

    def close(self) -> None:
        self.supervisor.close()
        for one in (self.wakeups, self._waking, self._listener, self.daemon):
            one.close()
        os.close(self.stdin)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    yield made
    made.close()


def test_a_job_from_its_start_to_its_end(job: Supervised) -> None:
    job.write(b"output", b"errors")
    job.machine.end(3)
    job.say(Watch(0, 0))
    first, progress, last = job.run()
    assert first == Running(PID)
    assert progress == Progress(0, 6, 6)
    assert isinstance(last, Ended)
    assert (str(last.outcome), last.outcome.stdout_bytes) == ("exited(3)", 6)
    assert read_outcome(job.folder) == last.outcome
    assert job.folder.stdout.read_bytes() == b"output"
    assert job.folder.stderr.read_bytes() == b"errors"


def test_nobody_is_told_more_than_was_asked(job: Supervised) -> None:
    job.write(b"output")
    job.machine.end(0)
    job.say(Watch(6, 0), Resize(80, 24))
    assert [type(message) for message in job.run()] == [Running, Ended]


def test_signals(job: Supervised) -> None:
    job.machine.deadly = {signal.SIGUSR1}
    job.write()
    job.say(Signal(signal.SIGWINCH), Signal(signal.SIGUSR1))
    assert str(job.run_to_outcome()) == "signalled(USR1)"
    assert job.machine.signals[:2] == [signal.SIGWINCH, signal.SIGUSR1]


def test_the_graded_stop(job: Supervised) -> None:
    job.write()
    job.say(Kill(KillReason.REVOKED))
    assert str(job.run_to_outcome()) == "killed(revoked)"
    told = [number for number in job.machine.signals if number != signal.SIGCONT]
    assert told[:2] == [signal.SIGINT, signal.SIGTERM]
    assert told[-1] == signal.SIGKILL
    # Between the two it has seen the end of its input.
    assert os.read(job.stdin, 10) == b""


def test_by_force(job: Supervised) -> None:
    job.write()
    job.say(Kill(KillReason.CANCELLED, force=True))
    assert str(job.run_to_outcome()) == "killed(cancelled)"
    assert {*job.machine.signals} == {signal.SIGKILL}


def test_the_machine_goes_down(job: Supervised) -> None:
    job.machine.deadly = {signal.SIGINT}
    job.write()
    job.wake(signal.SIGTERM)
    outcome = job.run_to_outcome()
    assert (str(outcome), outcome.signal) == ("killed(shutdown)", "INT")


def test_more_than_is_kept(tmp_path: Path) -> None:
    job = Supervised(tmp_path, spool_bytes=10)
    job.write(b"x" * 11)
    outcome = job.run_to_outcome()
    assert (str(outcome), outcome.stdout_bytes) == ("killed(output-limit)", 10)
    job.close()


class TestInput:
    def test_it_is_passed_on(self, job: Supervised) -> None:
        job.write()
        job.say(OpenInput(0, 5), Input(b"typed"), EndInput())
        job.say(OpenInput(5, 6), Signal(signal.SIGKILL))
        heard = job.run()
        assert heard[1:-1] == [
            InputTaken(0),
            InputOpened(True, 0, 5),
            InputTaken(5),
            # There is no more after its end.
            InputTaken(5),
            InputOpened(False, None, 6),
        ]
        assert os.read(job.stdin, 10) == b"typed"
        assert os.read(job.stdin, 10) == b""
        last = heard[-1]
        assert isinstance(last, Ended)
        assert last.outcome.stdin_bytes == 5

    def test_who_may_not_write(self, job: Supervised) -> None:
        job.write()
        job.say(Input(b"without asking"), OpenInput(3, 1), Input(b"all the same"))
        job.say(Signal(signal.SIGKILL))
        assert InputOpened(False, 0, 1) in job.run()
        assert os.read(job.stdin, 10) == b""

    def test_none(self, tmp_path: Path) -> None:
        job = Supervised(tmp_path, has_input=False)
        assert os.read(job.stdin, 10) == b""
        job.write()
        job.machine.end(0)
        assert str(job.run_to_outcome()) == "exited(0)"
        job.close()


class TestDaemons:
    def test_it_goes(self, job: Supervised) -> None:
        job.daemon.close()
        job.write(b"output")
        job.machine.end(0)
        job.supervisor.run()
        assert str(read_outcome(job.folder)) == "exited(0)"

    def test_it_talks_nonsense(self, job: Supervised) -> None:
        job.daemon.sendall(b"\xff" * 100)
        job.write()
        job.machine.end(0)
        job.supervisor.run()
        assert [*Decoder().feed(job.daemon.recv(100_000))] == [Running(PID)]
        assert job.daemon.recv(100_000) == b""
        assert str(read_outcome(job.folder)) == "exited(0)"

    def test_another_one(self, job: Supervised) -> None:
        other, there = socket.socketpair()
        job.supervisor.join(Conversation(there))
        job.write(b"output")
        job.machine.end(0)
        other.sendall(encode(Watch(0, 0)))
        job.run_to_outcome()
        heard = [*Decoder().feed(other.recv(100_000))]
        assert [type(message) for message in heard] == [Running, Progress, Ended]
        other.close()

    def test_it_asks_and_never_listens(self, job: Supervised) -> None:
        job.write()
        job.daemon.setblocking(False)
        conversation = next(iter(job.supervisor._conversations.values()))
        while not conversation.is_over:
            conversation.send(Running(PID))
        assert not conversation.has_unsent
        job.machine.end(0)
        job.supervisor.run()

    def test_a_folder_that_is_gone(self, job: Supervised) -> None:
        for path in job.folder.path.iterdir():
            path.unlink()
        job.folder.path.rmdir()
        job.write(b"output")
        job.machine.end(0)
        *_, last = job.run()
        assert isinstance(last, Ended)
        assert str(last.outcome) == "exited(0)"
