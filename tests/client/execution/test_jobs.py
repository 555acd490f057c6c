"""`client.exec` against a service that does what the contract says, and against one that does not."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from sockserv.cli.outcomes import status_of_outcome
from sockserv.client import Client
from sockserv.client.execution import (
    Command,
    InvalidCommand,
    KillReason,
    NotStarted,
    Outcome,
    OutcomeKind,
    OutputDiscarded,
    OutputMismatch,
    RemoteJob,
    Terminal,
)
from sockserv.errors import (
    CallCancelled,
    CallEnded,
    ConnectionEnded,
    ReplyTooLarge,
    SockservError,
    UnexpectedResult,
)
from sockserv.execution.arguments import JobArguments, RunArguments, StartArguments
from sockserv.execution.errors import (
    JobExists,
    JobNotFound,
    JobRunning,
    OutcomeUnknown,
    OutputGone,
    Refused,
    StandardInputBusy,
)
from sockserv.services import Call, Service, operation
from sockserv.services.api import NoArguments
from sockserv.testing import EVERY_BYTE, Link, MemoryServer, RandomSizes
from sockserv.testing.strategies import links
from sockserv.trust import Identity
from tests.client.execution.fake_exec import FakeExecution, exited, numbered

MIB = 1024 * 1024


@pytest.fixture
def service() -> FakeExecution:
    return FakeExecution()


@pytest.fixture
def memory(service: FakeExecution) -> Iterator[MemoryServer]:
    with MemoryServer([service]) as memory:
        yield memory


@pytest.fixture
def client(memory: MemoryServer) -> Client:
    return memory.connect()


async def read(output: Any) -> bytes:
    return b"".join([piece async for piece in output])


class TestRun:
    @pytest.mark.parametrize("fragments", [None, EVERY_BYTE, RandomSizes(3)])
    def test_streams_apart(self, memory: MemoryServer, fragments: Any) -> None:
        client = memory.connect(link=Link(fragments=fragments))
        job = memory.run(client.exec.run(["both", "300"]))
        errors = Deferred.fromCoroutine(read(job.stderr))
        assert memory.run(read(job.stdout)) == b"out\n" * 300
        assert memory.run(errors) == b"error\n" * 300
        outcome = memory.run(job.outcome())
        assert outcome == exited(job=job.name, rule="any", stdout_bytes=1200, stderr_bytes=1800)
        assert outcome.is_success

    def test_what_is_asked_for(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        command = Command(
            argv=("make", "中文"),
            env={"A": "1"},
            cwd="src",
            timeout_seconds=2.5,
            terminal=Terminal(columns=100, rows=30, type="vt100"),
        )
        memory.run(client.exec.run(command, job="build-7"))
        memory.flush()
        (asked,) = service.commands
        assert (asked.argv, asked.env, asked.cwd) == (("make", "中文"), {"A": "1"}, "src")
        assert (asked.timeout_seconds, asked.job) == (2.5, "build-7")  # type: ignore[attr-defined]
        assert asked.terminal == command.terminal
        assert (asked.user, asked.nice, asked.output_limit_bytes) == (None, None, None)

    def test_names_are_not_the_same(self, memory: MemoryServer, client: Client) -> None:
        names = {memory.run(client.exec.run(["wait"])).name for _ in range(50)}
        assert len(names) == 50

    def test_stdin_piece_by_piece(self, memory: MemoryServer, client: Client) -> None:
        job = memory.run(client.exec.run(["cat"]))

        async def talk() -> None:
            for word in (b"one", b"two"):
                await job.stdin.write(word)
                assert await job.stdout.__anext__() == word
            job.stdin.close()
            job.stdin.close()

        memory.run(talk())
        assert memory.run(job.outcome()).stdin_bytes == 6
        with pytest.raises(CallEnded, match="closed"):
            memory.run(job.stdin.write(b"x"))

    @pytest.mark.parametrize("size", [0, 1, 65_536, 3 * MIB + 1])
    def test_stdin_in_one_piece(self, memory: MemoryServer, client: Client, size: int) -> None:
        done = memory.run(client.exec.collect(["cat"], stdin=b"x" * size))
        assert (done.outcome.is_success, done.outcome.stdin_bytes) == (True, size)
        assert done.stdout == b"x" * size

    def test_stdin_of_a_job_that_has_ended(self, memory: MemoryServer, client: Client) -> None:
        job = memory.run(client.exec.run(["exit", "3"]))
        assert memory.run(job.outcome()).code == 3
        with pytest.raises(CallEnded):
            memory.run(job.stdin.write(b"x" * MIB))

    def test_stdin_that_nobody_reads_holds_up_no_signal(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        job = memory.run(client.exec.run(["wait"]))

        async def fill() -> None:
            while True:
                await job.stdin.write(b"x" * 65_536)

        filling = Deferred.fromCoroutine(fill())
        memory.flush()
        assert not filling.called
        memory.run(job.signal("INT"))
        assert str(memory.run(job.outcome())) == "signalled(INT)"
        with pytest.raises(CallEnded):
            memory.run(filling)

    def test_the_terminal_is_resized(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        job = memory.run(client.exec.run(Command(argv=("wait",), terminal=Terminal())))
        memory.run(job.resize(120, 50))
        assert service.jobs[job.name].sizes == [(120, 50)]

    def test_kill(self, memory: MemoryServer, client: Client, service: FakeExecution) -> None:
        job = memory.run(client.exec.run(["wait"]))
        assert str(memory.run(job.kill(force=True))) == "killed(cancelled)"
        assert str(memory.run(job.outcome())) == "killed(cancelled)"
        with pytest.raises(JobNotFound):
            memory.run(job.kill())

    def test_giving_up_the_wait_ends_nothing(self, memory: MemoryServer, client: Client) -> None:
        job = memory.run(client.exec.run(["wait"]))
        waiting = job.outcome()
        waiting.cancel()
        with pytest.raises(CancelledError):
            memory.run(waiting)
        assert "running" in repr(job)
        memory.run(job.signal("INT"))
        assert memory.run(job.outcome()).signal == "INT"
        assert "signalled(INT)" in repr(job)

    def test_giving_up_the_job(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        job = memory.run(client.exec.run(["flood"]))
        memory.flush()
        job.cancel()
        with pytest.raises(CallCancelled):
            memory.run(job.outcome())
        memory.flush()
        assert service.ends == ["cancelled"]

    def test_nobody_needs_to_look(self, memory: MemoryServer, client: Client) -> None:
        """A job whose end nobody waits for leaves no failure behind that somebody else would be told of."""
        memory.run(client.exec.run(["lie", "1"]))
        memory.flush()
        gc.collect()

    @pytest.mark.parametrize("word", ["a\udce9", "\ud800"])
    def test_what_is_no_text(self, memory: MemoryServer, client: Client, word: str) -> None:
        with pytest.raises(InvalidCommand, match="UTF-8"):
            memory.run(client.exec.run(["echo", word]))
        with pytest.raises(InvalidCommand, match="UTF-8"):
            memory.run(client.exec.start(["echo", word]))

    def test_what_is_too_long(self, memory: MemoryServer, client: Client) -> None:
        with pytest.raises(InvalidCommand, match="too long"):
            memory.run(client.exec.run(["echo", "x" * 2 * MIB]))
        assert memory.run(client.exec.collect(["echo", "x" * 60_000])).outcome.is_success

    @pytest.mark.parametrize("command", ["ls -l", b"ls", [b"ls"], ["ls", 1]])
    def test_what_is_no_list_of_words(
        self, memory: MemoryServer, client: Client, command: Any
    ) -> None:
        with pytest.raises(TypeError):
            memory.run(client.exec.run(command))


SIZES = st.integers(0, 100) | st.sampled_from([4096, 65_537])


@given(st.lists(st.tuples(st.sampled_from([1, 2]), SIZES), max_size=6), links(), st.booleans())
def test_any_pieces_in_any_order(
    pieces: list[tuple[int, int]], link: Link, is_collected: bool
) -> None:
    whole = {n: numbered(0, sum(size for stream, size in pieces if stream == n)) for n in (1, 2)}
    argv = ["play", *(f"{stream}:{size}" for stream, size in pieces)]
    with MemoryServer([FakeExecution()]) as memory:
        client = memory.run(memory.start_connecting(link=link), max_seconds=60)
        if is_collected:
            done = memory.run(client.exec.collect(argv), max_seconds=60)
            assert (done.stdout, done.stderr) == (whole[1], whole[2])
            return
        job = memory.run(client.exec.run(argv, stdin=b""), max_seconds=60)
        errors = Deferred.fromCoroutine(job.stderr.read())
        assert memory.run(job.stdout.read(), max_seconds=60) == whole[1]
        assert memory.run(errors, max_seconds=60) == whole[2]
        assert memory.run(job.outcome()).is_success


WORDS = st.sampled_from([*OutcomeKind, *KillReason, "job", "\x1b[2J"]) | st.text(max_size=3)
VALUES = WORDS | st.none() | st.booleans() | st.integers(-1, 300) | st.floats(allow_nan=False)
RESULTS = VALUES | st.dictionaries(
    st.sampled_from([field.name for field in attrs.fields(Outcome)] + ["other"]), VALUES
)


class Liar(Service):
    """Answers everything with the same."""

    def __init__(self, result: Any) -> None:
        self._result = result

    @operation("exec.run", args=RunArguments, permission="exec")
    def run(self, call: Call[RunArguments]) -> Any:
        return self._result

    @operation("exec.wait", args=JobArguments, permission="exec")
    def wait(self, call: Call[JobArguments]) -> Any:
        return self._result

    @operation("exec.start", args=StartArguments, permission="exec")
    def start(self, call: Call[StartArguments]) -> Any:
        return self._result

    @operation("exec.jobs", permission="exec")
    def jobs(self, call: Call[NoArguments]) -> None:
        call.send_last(msgspec.json.encode(self._result) + b"\n")


@given(RESULTS)
def test_whatever_a_server_says_is_an_outcome_or_an_error(result: Any) -> None:
    with MemoryServer([Liar(result)]) as memory:
        execution = memory.connect().exec
        for asked in (
            execution.collect(["x"]),
            execution.wait("x"),
            execution.start(["x"]),
            execution.jobs(),
        ):
            with suppress(SockservError):
                answer = memory.run(asked)
                outcome = getattr(answer, "outcome", answer)
                if isinstance(outcome, Outcome):
                    assert "None" not in str(outcome)
                    assert status_of_outcome(outcome) in range(256)


class TestOutcome:
    @pytest.mark.parametrize(
        ("argv", "outcome"),
        [
            (["exit", "0"], "exited(0)"),
            (["exit", "255"], "exited(255)"),
            (["crash"], "signalled(SEGV)"),
            (["slow"], "killed(timeout)"),
            (["refuse"], "refused(none)"),
            (["too-many"], "refused(max_jobs)"),
            (["missing"], "failed-to-start(ENOENT)"),
        ],
    )
    def test_kinds(
        self, memory: MemoryServer, client: Client, argv: list[str], outcome: str
    ) -> None:
        done = memory.run(client.exec.collect(argv))
        assert str(done.outcome) == outcome
        assert done.outcome.is_success == (argv == ["exit", "0"])
        job = memory.run(client.exec.run(argv))
        assert memory.run(read(job.stdout)) == b""
        assert str(memory.run(job.outcome())) == outcome

    def test_who_has_no_permission_is_refused(self, memory: MemoryServer) -> None:
        nobody = memory.connect(Identity("nobody"))
        outcome = memory.run(nobody.exec.collect(["echo"])).outcome
        assert str(outcome) == "refused(permission)"
        assert "nobody may not call exec.run" in outcome.message

    def test_a_permission_that_is_taken_back(self, memory: MemoryServer) -> None:
        alice = memory.connect(Identity("alice", frozenset({"exec"})))
        job = memory.run(alice.exec.run(["wait"]))
        reading = Deferred.fromCoroutine(read(job.stdout))
        memory.flush()
        memory.server.reconsider(lambda identity: None)
        outcome = memory.run(job.outcome())
        assert (outcome.kind, outcome.reason) == (OutcomeKind.KILLED, KillReason.REVOKED)
        assert outcome.stdout_bytes == len("ready\n")
        with pytest.raises(Exception, match="revoked"):
            memory.run(reading)

    def test_an_error_that_is_no_end(self, memory: MemoryServer, client: Client) -> None:
        job = memory.run(client.exec.run(["exists"]))
        with pytest.raises(JobExists):
            memory.run(read(job.stdout))
        for _ in range(2):
            with pytest.raises(JobExists):
                memory.run(job.outcome())

    @pytest.mark.parametrize("more", [1, -1])
    def test_a_wrong_number_of_bytes_is_no_success(
        self, memory: MemoryServer, client: Client, more: int
    ) -> None:
        job = memory.run(client.exec.run(["lie", str(more)]))
        with pytest.raises(OutputMismatch, match="not whole") as caught:
            memory.run(read(job.stdout))
        assert caught.value.outcome.code == 0
        assert (caught.value.stdout_bytes, caught.value.outcome.stdout_bytes) == (3, 3 + more)
        with pytest.raises(OutputMismatch):
            memory.run(job.outcome())
        with pytest.raises(OutputMismatch):
            memory.run(client.exec.collect(["lie", str(more)]))

    @pytest.mark.parametrize(
        "end",
        [
            '{"kind": "exited"}',
            '{"kind": "exited", "code": 256}',
            '{"kind": "exited", "code": -1}',
            '{"kind": "signalled"}',
            '{"kind": "killed"}',
            '{"kind": "failed-to-start"}',
        ],
    )
    def test_an_end_that_is_none(self, memory: MemoryServer, client: Client, end: str) -> None:
        with pytest.raises(UnexpectedResult):
            memory.run(client.exec.collect(["strange", end]))

    @pytest.mark.parametrize("stream", [0, 3, 255])
    def test_a_stream_that_is_none(self, memory: MemoryServer, client: Client, stream: int) -> None:
        with pytest.raises(UnexpectedResult, match=f"stream {stream}"):
            memory.run(client.exec.collect(["stray", str(stream)]))

    def test_nobody_knows_at_the_server(self, memory: MemoryServer, client: Client) -> None:
        job = memory.run(client.exec.run(["unknown"]))
        assert memory.run(job.stdout.__anext__()) == b"x"
        with pytest.raises(OutcomeUnknown):
            memory.run(job.stdout.__anext__())
        outcome = memory.run(job.outcome())
        assert (str(outcome), outcome.stdout_bytes) == (f"lost({job.name})", 1)
        assert "what watched" in outcome.message


class TestLost:
    def test_the_connection_breaks_at_every_byte(self) -> None:
        """Whatever has come by then: it is a success only if all of it has."""
        outcomes = set()
        at = 0
        while "exited(0)" not in outcomes:
            with MemoryServer([FakeExecution()]) as memory:
                link = Link()
                client = memory.connect(link=link)
                link.to_client.cut_after(link.to_client.delivered_bytes + at)
                done = memory.run(client.exec.collect(["both", "1"]))
                outcomes.add(str(done.outcome).partition("(")[0] + "(0)")
                assert done.outcome.stdout_bytes == len(done.stdout)
                if done.outcome.is_success:
                    assert (done.stdout, done.stderr) == (b"out\n", b"error\n")
                at += 1
        assert outcomes == {"exited(0)", "lost(0)"}

    def test_who_reads_is_told(self, memory: MemoryServer) -> None:
        link = Link()
        client = memory.connect(link=link)
        job = memory.run(client.exec.run(["wait"], job="build-7"))
        assert memory.run(job.stdout.__anext__()) == b"ready\n"
        link.cut()
        with pytest.raises(ConnectionEnded):
            memory.run(job.stdout.__anext__())
        assert str(memory.run(job.outcome())) == "lost(build-7)"
        with pytest.raises(ConnectionEnded):
            memory.run(client.exec.run(["wait"]))

    def test_what_has_come_is_read_before(self, memory: MemoryServer) -> None:
        link = Link()
        client = memory.connect(link=link)
        job = memory.run(client.exec.run(["wait"]))
        memory.flush()
        link.cut()
        memory.flush()
        assert memory.run(job.stdout.__anext__()) == b"ready\n"
        with pytest.raises(ConnectionEnded):
            memory.run(job.stdout.__anext__())


class TestReading:
    def test_a_stream_that_nobody_reads_holds_up_the_job(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        job = memory.run(client.exec.run(["flood", "2"]))
        reading = Deferred.fromCoroutine(read(job.stdout))
        memory.flush()
        written = service.jobs[job.name].written[2]
        # What waits here, what the windows hold and may grow by, what waits to be sent, and some pieces.
        assert MIB < written < 14 * MIB
        memory.advance(60)
        assert service.jobs[job.name].written[2] == written
        job.stderr.close()
        memory.network.step()
        for _ in range(2_000):
            memory.network.step()
        assert service.jobs[job.name].written[2] > written
        job.cancel()
        with pytest.raises(CallCancelled):
            memory.run(reading)

    def test_a_slow_reader_misses_nothing(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        job = memory.run(client.exec.run(["cat"], stdin=bytes(range(256)) * 20_000))
        memory.flush()
        assert memory.run(job.stdout.read()) == bytes(range(256)) * 20_000
        assert memory.run(job.outcome()).is_success

    def test_a_bound_for_all_of_it(self, memory: MemoryServer, client: Client) -> None:
        job = memory.run(client.exec.run(["cat"], stdin=b"x" * 1000))
        with pytest.raises(ReplyTooLarge, match="999"):
            memory.run(job.stdout.read(max_bytes=999))
        job = memory.run(client.exec.run(["cat"], stdin=b"x" * 1000))
        assert len(memory.run(job.stdout.read(max_bytes=1000))) == 1000

    def test_who_waits_for_the_outcome_first(self, memory: MemoryServer, client: Client) -> None:
        job = memory.run(client.exec.run(["cat"], stdin=b"x" * 5 * MIB))
        outcome = job.outcome()
        assert memory.run(outcome).stdout_bytes == 5 * MIB
        for output in (job.stdout, job.stderr):
            with pytest.raises(OutputDiscarded, match="begin to read"):
                memory.run(output.read())

    def test_two_readers_of_one_stream(self, memory: MemoryServer, client: Client) -> None:
        job = memory.run(client.exec.run(["cat"]))
        first = Deferred.fromCoroutine(job.stdout.read())
        with pytest.raises(RuntimeError, match="one reader"):
            memory.run(job.stdout.read())
        first.cancel()
        with pytest.raises(CancelledError):
            memory.run(first)
        job.stdin.close()
        assert memory.run(job.stdout.read()) == b""


class TestCollect:
    def test_the_limit_is_the_jobs(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        done = memory.run(client.exec.collect(["limited"], max_bytes=1000))
        assert (str(done.outcome), len(done.stdout)) == ("killed(output-limit)", 1000)
        lower = Command(argv=("limited",), output_limit_bytes=10)
        assert len(memory.run(client.exec.collect(lower, max_bytes=1000)).stdout) == 10
        higher = Command(argv=("limited",), output_limit_bytes=5000)
        assert len(memory.run(client.exec.collect(higher, max_bytes=1000)).stdout) == 1000

    def test_a_server_that_keeps_to_no_limit(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        with pytest.raises(ReplyTooLarge):
            memory.run(client.exec.collect(["flood"], max_bytes=100_000))
        memory.flush()
        assert service.ends == ["cancelled"]

    def test_cancelling_ends_the_job(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        running = client.exec.collect(["wait"])
        memory.flush()
        running.cancel()
        with pytest.raises(CancelledError):
            memory.run(running)
        memory.flush()
        assert service.ends == ["cancelled"]


class TestKept:
    def start(self, memory: MemoryServer, client: Client, service: FakeExecution) -> str:
        started = memory.run(client.exec.start(["make"], job="build", expiry_seconds=60))
        assert (started.job, started.pid) == ("build", 4711)
        service.kept["build"].stdout = b"0123456789"
        service.kept["build"].stderr = b"abc"
        return started.job

    def test_what_cannot_be_started(self, memory: MemoryServer, client: Client) -> None:
        with pytest.raises(NotStarted, match="ENOENT.*not there") as caught:
            memory.run(client.exec.start(["missing"]))
        assert caught.value.outcome.kind is OutcomeKind.FAILED_TO_START
        with pytest.raises(Refused):
            memory.run(client.exec.start(["refuse"]))

    def test_whose_job_it_is(self, memory: MemoryServer, client: Client) -> None:
        """Our fake has jobs of one identity only."""
        for asked in (
            client.exec.wait("x", identity="bob"),
            client.exec.kill("x", identity="bob"),
            client.exec.signal("x", "INT", identity="bob"),
            client.exec.resize("x", 80, 24, identity="bob"),
            client.exec.remove("x", identity="bob"),
        ):
            with pytest.raises(JobNotFound, match="bob"):
                memory.run(asked)
        job = memory.run(client.exec.attach("x", identity="bob"))
        with pytest.raises(JobNotFound, match="bob"):
            memory.run(job.outcome())
        with pytest.raises(JobNotFound, match="bob"):
            memory.run(job.signal("INT"))

    def test_attach_from_offsets(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        name = self.start(memory, client, service)
        job = memory.run(client.exec.attach(name, stdout_offset=4, stderr_offset=3))
        assert memory.run(job.stdout.__anext__()) == b"456789"
        service.kept[name].end(exited(7))
        assert memory.run(job.stdout.read()) == b""
        assert memory.run(job.outcome()).code == 7
        with pytest.raises(CallEnded):
            memory.run(job.stdin.write(b"x"))
        assert memory.run(client.exec.wait(name)).code == 7

    def test_stdin(self, memory: MemoryServer, client: Client, service: FakeExecution) -> None:
        name = self.start(memory, client, service)
        job: RemoteJob = memory.run(client.exec.attach(name, stdin_offset=0))
        memory.run(job.stdin.write(b"hello"))
        job.stdin.close()
        memory.flush()
        assert service.kept[name].stdin == b"hello"
        again = memory.run(client.exec.attach(name, stdin_offset=3))
        with pytest.raises(StandardInputBusy):
            memory.run(again.outcome())

    def test_an_offset_behind_the_end(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        name = self.start(memory, client, service)
        job = memory.run(client.exec.attach(name, stdout_offset=11))
        with pytest.raises(OutputGone):
            memory.run(job.stdout.read())

    def test_a_server_that_stops(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        name = self.start(memory, client, service)
        link = Link()
        other = memory.connect(link=link)
        job, waiting = memory.run(other.exec.attach(name)), other.exec.wait(name)
        memory.flush()
        link.cut()
        assert str(memory.run(job.outcome())) == "lost(build)"
        assert job.stdout.received_bytes == 10
        assert str(memory.run(waiting)) == "lost(build)"

    def test_list_and_remove(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        assert memory.run(client.exec.jobs()) == []
        name = self.start(memory, client, service)
        (job,) = memory.run(client.exec.jobs())
        assert (job.job, job.command, job.stdout_bytes, job.outcome) == (name, "make", 10, None)
        with pytest.raises(JobRunning):
            memory.run(client.exec.remove(name))
        service.kept[name].end(exited())
        memory.run(client.exec.remove(name))
        with pytest.raises(JobNotFound):
            memory.run(client.exec.wait(name))

    def test_a_long_list(
        self, memory: MemoryServer, client: Client, service: FakeExecution
    ) -> None:
        for number in range(1000):
            memory.run(client.exec.start(["x" * 200], job=f"job-{number}"))
        assert len(memory.run(client.exec.jobs())) == 1000

    def test_explain(self, memory: MemoryServer, client: Client) -> None:
        assert memory.run(client.exec.explain(["df"])).why == "you may"
        assert memory.run(client.exec.explain(["df"], identity="bob")).why == "bob may"
