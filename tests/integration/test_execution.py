"""Commands as real processes: what they get, what they write, and what becomes of all that they start."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from sockserv import Anonymous, Client, Identity, Server, connect
from sockserv.client.execution.errors import InvalidCommand
from sockserv.errors import InvalidArgument
from sockserv.execution.arguments import Command, ResourceLimits, Terminal
from sockserv.execution.outcome import KillReason, Outcome
from sockserv.limits import ExecutionLimits, Limits
from sockserv.services.execution.guardian import GuardianSpawner
from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.service import Execution
from sockserv.trust import EVERYTHING
from tests.integration.conftest import ANY_PORT, Twistd, until
from tests.integration.waiting import later, until_so

OWNER = Anonymous(Identity("owner", frozenset({EVERYTHING})))
KIB = 1024
MIB = 1024 * 1024
GARBAGE = random.Random(7).randbytes(3 * MIB)

_next_mark = count(1)


@pytest.fixture
def mark() -> Iterator[str]:
    """A number of seconds that nobody else sleeps for: what is left of a test is found by it, and is a failure."""
    mark = f"{os.getpid()}{next(_next_mark):04}"
    yield mark
    until(lambda: not processes(mark))


def processes(mark: str) -> list[int]:
    """The processes that have this in their command line, and are no zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in command.split(b"\0"):
                found.append(int(entry))
    return found


@asynccontextmanager
async def served(
    *, limits: Limits | None = None, client_limits: Limits | None = None, **settings: Any
) -> AsyncIterator[Client]:
    spawner = GuardianSpawner(reactor)
    service = Execution(ExecutionPolicy(), spawner, limits=ExecutionLimits(**settings))
    server = Server(reactor, [service], authenticator=OWNER, limits=limits)
    port: Any = await server.listen("tcp:0:interface=127.0.0.1")
    client = await connect(reactor, f"tcp://127.0.0.1:{port.getHost().port}", limits=client_limits)
    try:
        yield client
    finally:
        await client.close()
        await gatherResults([service.stop(), server.stop()])
        await spawner.stop()


def shell(text: str, **more: Any) -> Command:
    return Command(argv=(text,), shell=True, **more)


class TestWhatComesBack:
    @pytest_twisted.ensureDeferred
    async def test_of_a_shell_everything_apart_and_complete(self) -> None:
        async with served() as client:
            done = await client.exec.collect(shell("ls -l ; abcd ; pwd", cwd="/"))
            assert done.stdout.startswith(b"total ")
            assert done.stdout.endswith(b"\n/\n")
            assert b"abcd" in done.stderr
            assert b"not found" in done.stderr
            assert str(done.outcome) == "exited(0)"

    @pytest_twisted.ensureDeferred
    async def test_garbage_both_ways(self) -> None:
        async with served() as client:
            done = await client.exec.collect(
                ["tee", "/dev/stderr"], stdin=GARBAGE, max_bytes=8 * MIB
            )
            assert done.stdout == GARBAGE
            assert done.stderr == GARBAGE
            assert done.outcome.stdin_bytes == len(GARBAGE)

    @pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 262_145, MIB - 1, MIB + 1])
    @pytest_twisted.ensureDeferred
    async def test_every_border(self, size: int) -> None:
        async with served() as client:
            data = GARBAGE[:size]
            done = await client.exec.collect(["cat"], stdin=data)
            assert (str(done.outcome), done.outcome.stdin_bytes) == ("exited(0)", size)
            assert done.stdout == data
            done = await client.exec.collect(
                shell(f"head -c {size} /dev/zero >&2; head -c {size} /dev/zero")
            )
            assert (done.stdout, done.stderr) == (bytes(size), bytes(size))

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (["false"], "exited(1)"),
            (["sh", "-c", "exit 254"], "exited(254)"),
            (["sh", "-c", "kill -SEGV $$"], "signalled(SEGV)"),
            (["no-such-program"], "failed-to-start(ENOENT)"),
            (["/etc/passwd"], "failed-to-start(EACCES)"),
            (["/"], "failed-to-start(EACCES)"),
            (["/etc/passwd/x"], "failed-to-start(ENOENT)"),
            (["sh", "-c", "exec 1>&- 2>&-; sleep 0.1; exit 3"], "exited(3)"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_how_it_has_ended(self, argv: list[str], said: str) -> None:
        async with served() as client:
            done = await client.exec.collect(argv)
            assert str(done.outcome) == said
            assert str((await client.exec.collect(["true"])).outcome) == "exited(0)"

    @pytest_twisted.ensureDeferred
    async def test_a_directory_that_is_not_there(self) -> None:
        async with served() as client:
            done = await client.exec.collect(Command(argv=("true",), cwd="/not/there"))
            assert str(done.outcome) == "failed-to-start(ENOENT)"
            assert done.outcome.message == (
                "the directory /not/there cannot be used: there is no such file"
            )

    @pytest_twisted.ensureDeferred
    async def test_a_file_that_is_no_program(self, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_bytes(b"\x7fELF nonsense")
        program.chmod(stat.S_IRWXU)
        async with served() as client:
            done = await client.exec.collect([str(program)])
            assert str(done.outcome) == "failed-to-start(ENOEXEC)"

    @pytest_twisted.ensureDeferred
    async def test_an_argument_with_a_nul(self) -> None:
        async with served() as client:
            with pytest.raises((InvalidArgument, InvalidCommand)):
                await client.exec.collect(["echo", "a\0b"])
            assert (await client.exec.collect(["echo", "a"])).stdout == b"a\n"

    @pytest_twisted.ensureDeferred
    async def test_two_megabytes_of_arguments_do_not_fit(self) -> None:
        async with served() as client:
            with pytest.raises(InvalidCommand):
                await client.exec.collect(["echo", *["x" * 1000] * 2000])
            assert (await client.exec.collect(["echo", "a"])).stdout == b"a\n"

    @pytest_twisted.ensureDeferred
    async def test_more_than_the_system_takes(self) -> None:
        limits = Limits(max_header_bytes=8 * MIB)
        async with served(limits=limits, client_limits=limits) as client:
            done = await client.exec.collect(["echo", "x" * 200 * KIB])
            assert str(done.outcome) == "failed-to-start(E2BIG)"
            done = await client.exec.collect(["echo", *["x" * 100_000] * 30])
            assert str(done.outcome) == "failed-to-start(E2BIG)"
            done = await client.exec.collect(["echo", "x" * 100 * KIB])
            assert len(done.stdout) == 100 * KIB + 1

    @pytest_twisted.ensureDeferred
    async def test_its_surroundings(self, tmp_path: Path) -> None:
        async with served() as client:
            command = Command(argv=("env",), env={"A": "b c"}, cwd=str(tmp_path))
            lines = (await client.exec.collect(command)).stdout.decode().splitlines()
            variables = dict(line.split("=", 1) for line in lines)
            assert variables["A"] == "b c"
            assert variables["SOCKSERV_JOB"]
            assert variables["SOCKSERV_IDENTITY"] == "owner"
            assert "PYTEST_CURRENT_TEST" not in variables
            command = attrs.evolve(command, argv=("pwd",))
            assert (await client.exec.collect(command)).stdout == f"{tmp_path}\n".encode()
            done = await client.exec.collect(["ls", "/proc/self/fd"])
            assert done.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3 is the folder

    @pytest_twisted.ensureDeferred
    async def test_its_bounds(self) -> None:
        limits = ResourceLimits(open_files=50, file_bytes=1000, cpu_seconds=60)
        async with served() as client:
            command = shell("ulimit -n; nice", limits=limits, nice=5)
            own = os.nice(0)
            done = await client.exec.collect(command)
            assert done.stdout.split() == [b"50", str(min(own + 5, 19)).encode()]

    @pytest_twisted.ensureDeferred
    async def test_its_terminal(self) -> None:
        async with served() as client:
            command = shell(
                "stty size; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.05; done",
                terminal=Terminal(columns=100, rows=30),
            )
            job = await client.exec.run(command)
            seen = b""
            async for piece in job.stdout:
                seen += piece
                if b"ready" in piece:
                    await job.resize(60, 20)
            assert seen.split() == [b"30", b"100", b"ready", b"20", b"60"]
            assert str(await job.outcome()) == "exited(4)"


class TestTheTreeDies:
    @pytest.mark.parametrize(
        "command",
        [
            "sleep {mark} & exit 3",
            "sleep {mark} >/dev/null 2>&1 </dev/null & exit 3",
            "(trap '' TERM INT HUP; sleep {mark} & sleep {mark}) & exit 3",
            "setsid sleep {mark} & exit 3",
            "(setsid sh -c 'trap \"\" TERM; sleep {mark} & sleep {mark}' &) ; exit 3",
            "setsid setsid sh -c 'sleep {mark} >/dev/null & exit' ; exit 3",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_when_it_has_ended_by_itself(self, command: str, mark: str) -> None:
        async with served() as client:
            done = await client.exec.collect(shell(command.format(mark=mark)))
            assert str(done.outcome) == "exited(3)"
            assert not processes(mark)

    @pytest.mark.parametrize("force", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_when_it_is_killed(self, mark: str, *, force: bool) -> None:
        async with served(stop_pause_seconds=0.1) as client:
            job = await client.exec.run(
                shell(f"trap '' INT TERM; setsid sleep {mark} & sleep {mark}; sleep {mark}")
            )
            await until_so(lambda: len(processes(mark)) >= 2)
            outcome = await job.kill(force=force)
            assert str(outcome) == "killed(cancelled)"
            assert not processes(mark)
            assert await job.outcome() == outcome

    @pytest_twisted.ensureDeferred
    async def test_when_its_time_is_up(self, mark: str) -> None:
        async with served(stop_pause_seconds=0.1) as client:
            command = shell(f"echo so far; sleep {mark} & wait", timeout_seconds=0.3)
            done = await client.exec.collect(command)
            assert str(done.outcome) == "killed(timeout)"
            assert done.stdout == b"so far\n"
            assert not processes(mark)

    @pytest_twisted.ensureDeferred
    async def test_when_it_writes_too_much(self, mark: str) -> None:
        async with served(stop_pause_seconds=0.1) as client:
            command = shell(f"sleep {mark} & yes", output_limit_bytes=100_000)
            done = await client.exec.collect(command)
            assert str(done.outcome) == "killed(output-limit)"
            assert len(done.stdout) == 100_000
            assert not processes(mark)

    @pytest_twisted.ensureDeferred
    async def test_when_its_caller_gives_up(self, mark: str) -> None:
        async with served(stop_pause_seconds=0.1) as client:
            job = await client.exec.run(shell(f"trap '' INT; sleep {mark} & yes"))
            await until_so(lambda: processes(mark))
            job.cancel()
            await until_so(lambda: not processes(mark))

    @pytest_twisted.ensureDeferred
    async def test_when_the_connection_is_cut_at_any_moment(self, mark: str) -> None:
        async with served(stop_pause_seconds=0.05) as client:
            url = client_url(client)
            for number in range(40):
                other = await connect(reactor, url)
                job = await other.exec.run(shell(f"sleep {mark} & cat; echo; sleep {mark}"))
                await later(number * 0.001)
                cut(other)
                assert (await job.outcome()).kind == "lost"
            await until_so(lambda: not processes(mark))
            assert str((await client.exec.collect(["true"])).outcome) == "exited(0)"

    @pytest_twisted.ensureDeferred
    async def test_with_its_daemon(self, mark: str) -> None:
        """Here the service is stopped while a job runs."""
        async with served(stop_pause_seconds=0.1) as client:
            job = await client.exec.run(shell(f"trap '' INT TERM; sleep {mark} & sleep {mark}"))
            await until_so(lambda: len(processes(mark)) == 2)
        outcome = await job.outcome()
        assert str(outcome) in ("killed(shutdown)", f"lost({job.name})")


def client_url(client: Client) -> str:
    address: Any = transport_of(client).getPeer()
    return f"tcp://127.0.0.1:{address.port}"


def transport_of(client: Client) -> Any:
    return client._peer.transport


def cut(client: Client) -> None:
    transport_of(client).abortConnection()


class TestBackPressure:
    @pytest_twisted.ensureDeferred
    async def test_a_caller_that_does_not_read_holds_the_child_and_loses_nothing(self) -> None:
        async with served() as client:
            job = await client.exec.run(
                shell("head -c 30000000 /dev/zero | tr '\\0' x; echo done >&2")
            )
            status = None
            while status != (status := (await client.exec.jobs())[0]) or not status.stdout_bytes:
                await later(0.3)
            assert status.stdout_bytes < 8 * MIB
            stdout = bytearray()
            async for piece in job.stdout:
                stdout += piece
            assert stdout == b"x" * 30_000_000
            assert str(await job.outcome()) == "exited(0)"

    @pytest_twisted.ensureDeferred
    async def test_a_child_that_does_not_read_holds_its_caller(self, mark: str) -> None:
        async with served() as client:
            job = await client.exec.run(["sleep", mark])
            sending = job.stdin.write(bytes(20 * MIB))
            sent = Deferred.fromCoroutine(sending)
            sent.addErrback(lambda failure: None)
            await later(0.3)
            assert not sent.called
            await job.signal("KILL")
            outcome = await job.outcome()
            assert str(outcome) == "signalled(KILL)"
            assert outcome.stdin_bytes < 4 * MIB


class TestManyJobs:
    @pytest_twisted.ensureDeferred
    async def test_nothing_leaks(self) -> None:
        async with served() as client:
            await client.exec.collect(["true"])
            before = sorted(os.listdir("/proc/self/fd"))
            for _ in range(10):
                done = await gatherResults(
                    [client.exec.collect(["echo", str(n)]) for n in range(20)]
                )
                assert [each.stdout for each in done] == [b"%d\n" % n for n in range(20)]
            assert len(os.listdir("/proc/self/fd")) <= len(before) + 1
            zombies = [line for line in children() if " Z " in line]
            assert not zombies

    @pytest_twisted.ensureDeferred
    async def test_what_starts_them_is_killed(self, mark: str) -> None:
        async with served() as client:
            jobs = [await client.exec.run(["sleep", mark]) for _ in range(3)]
            await until_so(lambda: len(processes(mark)) == 3)
            (guardian,) = (int(line.split()[0]) for line in children() if " Z " not in line)
            os.kill(guardian, signal.SIGKILL)
            for job in jobs:
                assert (await job.outcome()).kind == "lost"
            assert str((await client.exec.collect(["true"])).outcome) == "exited(0)"
            await until_so(lambda: not processes(mark))

    @pytest_twisted.ensureDeferred
    async def test_those_beyond_the_bound_wait(self) -> None:
        async with served(max_jobs=3) as client:
            running = [client.exec.collect(["sh", "-c", "sleep 0.1; echo x"]) for _ in range(12)]
            done = await gatherResults(running)
            assert {str(each.outcome) for each in done} == {"exited(0)"}


def children() -> list[str]:
    """The states of the processes whose ancestor is this one."""
    lines = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            _, _, rest = status.rpartition(")")
            if rest.split()[1] == str(os.getpid()):
                lines.append(status)
    return lines


class TestTheDaemon:
    @pytest_twisted.ensureDeferred
    async def test_it_stops_jobs_by_degrees_and_tells_their_callers(
        self, twistd: Callable[..., Twistd], state: Path, mark: str
    ) -> None:
        daemon = twistd("--state", str(state), "--listen", ANY_PORT)
        daemon.wait_until_listening(state)
        client = await connect(reactor, state=state)
        job = await client.exec.run(
            shell(f"trap 'echo tidied; exit 0' INT; sleep {mark} & echo ready; wait")
        )
        gentle = job.stdout.__aiter__()
        assert await gentle.__anext__() == b"ready\n"
        daemon.process.send_signal(signal.SIGTERM)
        outcome: Outcome = await job.outcome()
        assert outcome.reason is KillReason.SHUTDOWN
        assert outcome.code == 0
        assert await gentle.__anext__() == b"tidied\n"
        await until_so(lambda: daemon.process.poll() is not None)
        assert daemon.process.returncode == -signal.SIGTERM
        assert not processes(mark)
        assert audited(state)[-1]["outcome"] == "killed(shutdown)"
        await client.close()

    @pytest_twisted.ensureDeferred
    async def test_nothing_outlives_one_that_is_killed(
        self, twistd: Callable[..., Twistd], state: Path, mark: str
    ) -> None:
        daemon = twistd("--state", str(state), "--listen", ANY_PORT)
        daemon.wait_until_listening(state)
        client = await connect(reactor, state=state)
        job = await client.exec.run(
            shell(f"trap '' TERM INT HUP; setsid sleep {mark} & sleep {mark} & wait")
        )
        await until_so(lambda: len(processes(mark)) == 2)
        daemon.process.kill()
        assert str(await job.outcome()) == f"lost({job.name})"
        await until_so(lambda: not processes(mark))
        daemon.process.wait()

    @pytest_twisted.ensureDeferred
    async def test_the_log_has_the_outcome_of_a_job_whose_caller_is_gone(
        self, twistd: Callable[..., Twistd], state: Path, mark: str
    ) -> None:
        daemon = twistd("--state", str(state), "--listen", ANY_PORT)
        daemon.wait_until_listening(state)
        client = await connect(reactor, state=state)
        await client.exec.run(["sleep", mark])
        await until_so(lambda: processes(mark))
        cut(client)
        await until_so(lambda: not processes(mark))
        await until_so(lambda: audited(state))
        assert audited(state)[-1]["outcome"] == "killed(disconnect)"

    @pytest_twisted.ensureDeferred
    async def test_it_has_no_room_for_more_files(
        self, twistd: Callable[..., Twistd], state: Path, mark: str
    ) -> None:
        daemon = twistd("--state", str(state), "--listen", ANY_PORT)
        daemon.wait_until_listening(state)
        client = await connect(reactor, state=state)
        await client.exec.collect(["true"])
        limit_files(daemon.process.pid, 40)
        jobs = [await client.exec.run(["sleep", mark]) for _ in range(30)]
        outcomes = [job.outcome() for job in jobs]
        await until_so(lambda: any(outcome.called for outcome in outcomes))
        failed_one = next(outcome for outcome in outcomes if outcome.called)
        failed = await failed_one
        assert str(failed) == "failed-to-start(EMFILE)"
        # Those for which there was room run.
        await until_so(lambda: processes(mark))

        def all_are_ended() -> bool:
            # Some start only now that there is room.
            for pid in processes(mark):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return all(outcome.called for outcome in outcomes)

        await until_so(all_are_ended)
        kinds = {str(await outcome) for outcome in outcomes if outcome is not failed_one}
        assert kinds <= {"failed-to-start(EMFILE)", "signalled(KILL)"}
        assert str((await client.exec.collect(["true"])).outcome) == "exited(0)"
        await client.close()

    @pytest_twisted.ensureDeferred
    async def test_an_endless_writer_costs_no_memory(
        self, twistd: Callable[..., Twistd], state: Path
    ) -> None:
        daemon = twistd("--state", str(state), "--listen", ANY_PORT)
        daemon.wait_until_listening(state)
        client = await connect(reactor, state=state)
        await client.exec.collect(["head", "-c", "3000000", "/dev/zero"])
        before = memory_of(daemon.process.pid)
        job = await client.exec.run(["yes"])
        await later(2)
        assert memory_of(daemon.process.pid) - before < 4 * MIB
        job.cancel()
        await client.close()


def audited(state: Path) -> list[dict[str, Any]]:
    """What the audit log says of how jobs have ended."""
    log = state / "audit" / "00000001.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return [
        record["facts"]
        for record in records
        if record.get("op") == "exec.run" and record["event"] == "end"
    ]


def limit_files(pid: int, most: int) -> None:
    """Let a process have no more than so many files open."""
    import resource

    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))


def memory_of(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
