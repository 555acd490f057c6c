from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from sockserv.execution.arguments import ResourceLimits
from sockserv.processes.messages import Answer, Message, Request
from sockserv.processes.starting import Launch
from sockserv.services.execution.child import Account, Child, Ending, Program, StartFailed
from sockserv.services.execution.guardian.spawner import MAX_STARTING, GuardianSpawner
from tests.services.execution.guardian.fakes import FakeGuardian, Guardians, WatchingClock

PROGRAM = Program(argv=("ls", "-l"), environment={"PATH": "/bin"}, directory="/tmp")


class Kit:
    """A spawner whose guardians do what a test says."""

    def __init__(self) -> None:
        self.reactor = WatchingClock()
        self.guardians = Guardians(self.reactor)
        self.spawner = GuardianSpawner(
            self.reactor, open_files=99, start_guardian=self.guardians.start
        )
        self.children: list[Child] = []

    @property
    def guardian(self) -> FakeGuardian:
        return self.guardians.all[-1]

    def spawn(self, program: Program = PROGRAM) -> Result:
        return Result(self.spawner.spawn(program))

    def run(self, program: Program = PROGRAM, pid: int = 77) -> tuple[Child, int]:
        """A program that was started, and the key that it has with the guardian."""
        result = self.spawn(program)
        [(kind, key, *_)] = self.guardian.requests
        assert kind == Request.START
        self.guardian.answer(Answer.STARTED, key, pid)
        child = result.child
        self.children.append(child)
        return child, key

    def close(self) -> None:
        for guardian in self.guardians.all:
            for descriptor in guardian.take_descriptors():
                os.close(descriptor)
            if not guardian.link.is_closed:
                guardian.end()
        for child in self.children:
            child.stdin.close()
            child.stdout.close()
            child.stderr.close()


class Result:
    """What a Deferred has fired with."""

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.deferred = deferred
        self.value: Any = None
        deferred.addBoth(self._set)

    def _set(self, value: Any) -> None:
        self.value = value

    def is_there(self) -> bool:
        return self.deferred.called

    @property
    def child(self) -> Child:
        assert self.value is not None
        assert not isinstance(self.value, Failure), self.value
        child: Child = self.value
        return child

    @property
    def problem(self) -> tuple[int, str]:
        assert isinstance(self.value, Failure)
        assert isinstance(self.value.value, StartFailed)
        return self.value.value.errno, self.value.value.what


@pytest.fixture
def kit() -> Iterator[Kit]:
    before = sorted(os.listdir("/dev/fd"))
    made = Kit()
    yield made
    made.close()
    assert sorted(os.listdir("/dev/fd")) == before


def launch_in(request: Message) -> Launch:
    kind, _, mark, count, *fields = request
    assert kind == Request.START
    assert 2**62 <= mark < 2**63
    assert count == 3
    return Launch(*fields)


def test_a_guardian_is_started_with_the_first_program(kit: Kit) -> None:
    assert kit.guardians.all == []
    kit.run()
    kit.run()
    assert [guardian.open_files for guardian in kit.guardians.all] == [99]


def test_as_many_files_as_this_process_may_have_open() -> None:
    reactor = WatchingClock()
    guardians = Guardians(reactor)
    spawner = GuardianSpawner(reactor, start_guardian=guardians.start)
    given_up = spawner.spawn(PROGRAM)
    given_up.addErrback(lambda failure: failure.trap(CancelledError))
    given_up.cancel()
    [guardian] = guardians.all
    assert guardian.open_files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    [(_, key, *_)] = guardian.requests
    guardian.answer(Answer.FAILED, key, errno.ENOENT, "program")
    for descriptor in guardian.take_descriptors():
        os.close(descriptor)
    guardian.end()


def test_a_program_is_told_whole(kit: Kit) -> None:
    kit.spawn(
        Program(
            argv=("/bin/é", ""),
            environment={"A": "ü"},
            directory="/tmp",
            account=Account(1, 2, (3,)),
            limits=ResourceLimits(
                cpu_seconds=5, memory_bytes=6, processes=7, open_files=8, file_bytes=0
            ),
            nice=3,
        )
    )
    [request] = kit.guardian.requests
    assert launch_in(request) == Launch(
        arguments=("/bin/é".encode(), b""),
        environment={b"A": "ü".encode()},
        directory=b"/tmp",
        account=(1, 2, (3,)),
        limits=(
            (resource.RLIMIT_CPU, 5, 6),
            (resource.RLIMIT_AS, 6, 6),
            (resource.RLIMIT_NPROC, 7, 7),
            (resource.RLIMIT_NOFILE, 8, 8),
            (resource.RLIMIT_FSIZE, 0, 0),
        ),
        nice=3,
    )
    kit.guardian.answer(Answer.FAILED, request[1], errno.ENOENT, "program")


def test_the_streams_are_joined_to_the_child(kit: Kit) -> None:
    child, _ = kit.run()
    stdin, stdout, stderr = kit.guardian.take_descriptors()
    assert child.pid == 77
    assert Result(Deferred.fromCoroutine(child.stdin.write(b"in"))).value is True
    assert os.read(stdin, 10) == b"in"
    for file, source, data in (stdout, child.stdout, b"out"), (stderr, child.stderr, b"err"):
        os.write(file, data)
        reading = Result(Deferred.fromCoroutine(source.read()))
        kit.reactor.turn()
        assert reading.value == data
    for file in stdin, stdout, stderr:
        os.close(file)


@pytest.mark.parametrize(
    ("code", "ending"), [(3, Ending(code=3)), (0, Ending(code=0)), (-9, Ending(signal=9))]
)
def test_the_end_of_a_child(kit: Kit, code: int, ending: Ending) -> None:
    child, key = kit.run()
    ended, gone = Result(child.ended), Result(child.gone)
    kit.guardian.answer(Answer.ENDED, key, code, 0.5, 0.25, 4096)
    assert ended.value == Ending(
        code=ending.code,
        signal=ending.signal,
        user_seconds=0.5,
        system_seconds=0.25,
        max_memory_bytes=4096,
    )
    child.signal(signal.SIGTERM)
    assert not gone.is_there()
    kit.guardian.answer(Answer.GONE, key)
    assert gone.is_there()
    child.signal(signal.SIGKILL)
    assert kit.guardian.requests == [(Request.SIGNAL, key, signal.SIGTERM)]


def test_a_program_that_cannot_be_started(kit: Kit) -> None:
    result = kit.spawn()
    [(_, key, *_)] = kit.guardian.requests
    kit.guardian.answer(Answer.FAILED, key, errno.EACCES, "directory")
    assert result.problem == (errno.EACCES, "directory")


def test_a_word_that_no_system_can_have(kit: Kit) -> None:
    result = kit.spawn(Program(argv=("\ud800",), environment={}, directory="/"))
    assert result.problem == (errno.EILSEQ, "program")
    assert kit.guardians.all == []


def test_a_guardian_that_cannot_be_started(kit: Kit) -> None:
    kit.guardians.problem = OSError(errno.EAGAIN, "")
    assert kit.spawn().problem == (errno.EAGAIN, "process")
    kit.guardians.problem = None
    kit.run()


def test_only_so_many_are_asked_for_at_a_time(kit: Kit) -> None:
    results = [kit.spawn() for _ in range(MAX_STARTING + 2)]
    requests = kit.guardian.requests
    assert len(requests) == MAX_STARTING
    assert len(kit.guardian.link.descriptors) == 3 * MAX_STARTING
    kit.guardian.answer(Answer.FAILED, requests[0][1], errno.ENOENT, "program")
    [request] = kit.guardian.requests
    results[-1].deferred.cancel()
    kit.guardian.answer(Answer.FAILED, requests[1][1], errno.ENOENT, "program")
    assert kit.guardian.requests == []
    for _, key, *_ in [*requests[2:], request]:
        kit.guardian.answer(Answer.FAILED, key, errno.ENOENT, "program")
    assert all(result.deferred.called for result in results)


class TestGivingUp:
    def test_what_was_started_meanwhile_is_killed(self, kit: Kit) -> None:
        result = kit.spawn()
        [(_, key, *_)] = kit.guardian.requests
        result.deferred.cancel()
        assert result.value.check(CancelledError)
        stdin, *_ = descriptors = kit.guardian.take_descriptors()
        kit.guardian.answer(Answer.STARTED, key, 77)
        assert kit.guardian.requests == [(Request.SIGNAL, key, signal.SIGKILL)]
        assert os.read(stdin, 1) == b""
        kit.guardian.answer(Answer.ENDED, key, -9, 0.0, 0.0, 0)
        kit.guardian.answer(Answer.GONE, key)
        for descriptor in descriptors:
            os.close(descriptor)

    def test_what_was_not_started(self, kit: Kit) -> None:
        result = kit.spawn()
        [(_, key, *_)] = kit.guardian.requests
        result.deferred.cancel()
        kit.guardian.answer(Answer.FAILED, key, errno.ENOENT, "program")
        assert result.value.check(CancelledError)


class TestStopping:
    def test_without_a_guardian(self, kit: Kit) -> None:
        assert kit.spawner.stop().called

    def test_a_guardian_that_ends(self, kit: Kit) -> None:
        child, key = kit.run()
        ended, gone = Result(child.ended), Result(child.gone)
        stopped = Result(kit.spawner.stop())
        assert kit.guardian.requests == [(Request.STOP,)]
        assert kit.spawn().problem == (errno.ECANCELED, "process")
        kit.guardian.answer(Answer.ENDED, key, -9, 0.0, 0.0, 0)
        kit.guardian.answer(Answer.GONE, key)
        assert not stopped.is_there()
        kit.guardian.end()
        assert stopped.is_there()
        assert ended.value == Ending(signal=9)
        assert gone.is_there()
        assert kit.reactor.getDelayedCalls() == []
        kit.run()
        assert len(kit.guardians.all) == 2

    def test_more_than_one_may_wait_for_that(self, kit: Kit) -> None:
        kit.run()
        stopped = [Result(kit.spawner.stop()) for _ in range(3)]
        stopped[1].deferred.cancel()
        assert kit.guardian.requests == [(Request.STOP,)]
        kit.guardian.end()
        assert [one.is_there() for one in stopped] == [True] * 3
        assert Result(kit.spawner.stop()).is_there()

    def test_a_guardian_that_does_not(self, kit: Kit) -> None:
        child, _ = kit.run()
        ended = Result(child.ended)
        stopped = Result(kit.spawner.stop())
        kit.reactor.advance(9.9)
        assert kit.guardian.kills == 0
        kit.reactor.advance(0.1)
        assert kit.guardian.kills == 1
        assert ended.value == Ending()
        assert not stopped.is_there()
        kit.guardian.is_gone = True
        kit.reactor.advance(1.0)
        assert stopped.is_there()

    def test_what_waits_to_be_started_is_not(self, kit: Kit) -> None:
        results = [kit.spawn() for _ in range(MAX_STARTING + 1)]
        kit.spawner.stop()
        assert results[-1].problem == (errno.ECANCELED, "process")
        kit.guardian.end()
        for result in results[:-1]:
            kit.children.append(result.child)
            assert Result(result.child.ended).value == Ending()


class TestLosingTheGuardian:
    def test_nobody_knows_how_its_jobs_have_ended(self, kit: Kit) -> None:
        running, _ = kit.run(pid=5)
        ended_before, key = kit.run(pid=6)
        first = kit.guardian
        first.answer(Answer.ENDED, key, 3, 0.0, 0.0, 0)
        starting = kit.spawn()
        [(_, _, mark, *_)] = first.requests
        lost = [Result(one) for one in (running.ended, running.gone, ended_before.gone)]
        for descriptor in first.take_descriptors():
            os.close(descriptor)
        first.end()
        assert first.kills == 1
        assert [one.deferred.called for one in lost] == [True, True, True]
        assert lost[0].value == Ending()
        assert Result(ended_before.ended).value.code == 3
        kit.children.append(starting.child)
        assert starting.child.pid == 0
        assert Result(starting.child.ended).value == Ending()
        running.signal(signal.SIGKILL)
        starting.child.signal(signal.SIGKILL)
        [(kind, pids, marks)] = kit.guardian.requests
        assert kit.guardian is not first
        assert kind == Request.KILL_STRANGERS
        assert pids == (5, 6)
        assert len(marks) == 3
        assert mark in marks

    def test_one_that_had_nothing_to_do_is_not_replaced_at_once(self, kit: Kit) -> None:
        _, key = kit.run()
        kit.guardian.answer(Answer.ENDED, key, 0, 0.0, 0.0, 0)
        kit.guardian.answer(Answer.GONE, key)
        kit.guardian.end()
        assert len(kit.guardians.all) == 1
        kit.run()
        assert len(kit.guardians.all) == 2

    def test_there_is_no_room_for_another_one(self, kit: Kit) -> None:
        child, _ = kit.run()
        kit.guardians.problem = OSError(errno.EAGAIN, "")
        kit.guardian.end()
        assert Result(child.ended).value == Ending()

    def test_what_waited_is_asked_of_the_next_one(self, kit: Kit) -> None:
        results = [kit.spawn() for _ in range(MAX_STARTING + 1)]
        first = kit.guardian
        for descriptor in first.take_descriptors():
            os.close(descriptor)
        first.end()
        kit.children += [result.child for result in results[:-1]]
        kinds = [request[0] for request in kit.guardian.requests]
        assert kinds == [Request.KILL_STRANGERS, Request.START]
        assert not results[-1].deferred.called
        kit.guardian.end()
        kit.children.append(results[-1].child)


class TestSending:
    def test_in_pieces(self, kit: Kit) -> None:
        kit.run()
        for descriptor in kit.guardian.take_descriptors():
            os.close(descriptor)
        kit.guardian.link.room = 10
        result = kit.spawn()
        while not (requests := kit.guardian.requests):
            assert len(kit.guardian.link.descriptors) == 3  # they go with the first byte
            assert kit.reactor.writers
            kit.guardian.link.room = 7
            kit.reactor.turn()
        kit.reactor.turn()
        assert not kit.reactor.writers
        kit.guardian.answer(Answer.FAILED, requests[0][1], errno.ENOENT, "program")
        assert result.problem == (errno.ENOENT, "program")

    def test_too_many_descriptors_are_under_way(self, kit: Kit) -> None:
        kit.run()
        kit.guardian.link.problem = errno.ETOOMANYREFS
        result = kit.spawn()
        assert kit.guardian.requests == []
        kit.guardian.link.problem = None
        kit.reactor.advance(0.1)
        [(_, key, *_)] = kit.guardian.requests
        kit.guardian.answer(Answer.FAILED, key, errno.ENOENT, "program")
        assert result.problem == (errno.ENOENT, "program")

    @pytest.mark.parametrize("number", [errno.EPIPE, errno.ECONNRESET])
    def test_nobody_is_there_any_more(self, kit: Kit, number: int) -> None:
        kit.run()
        kit.guardian.link.problem = number
        result = kit.spawn()
        kit.guardian.link.problem = None
        kit.guardian.end()
        kit.children.append(result.child)
        assert Result(result.child.ended).value == Ending()
