"""Jobs that really run: their streams, their ends, and that nothing of them is left, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from sockserv.execution.arguments import Terminal
from sockserv.services.execution.child import Child, Ending, Program, StartFailed
from sockserv.services.execution.guardian import GuardianSpawner
from tests.integration.conftest import ROOT, until
from tests.integration.waiting import later

T = TypeVar("T")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/bin"
MANY = 300


def program(*argv: str, **options: Any) -> Program:
    return Program(argv=argv, environment={"PATH": PATH}, directory="/", **options)


def shell(script: str, **options: Any) -> Program:
    return program("sh", "-c", script, **options)


class Result:
    """How a program has ended, with all that it has written."""

    def __init__(self, ending: Ending, output: bytes, errors: bytes, *, took_all: bool) -> None:
        self.ending = ending
        self.output = output
        self.errors = errors
        self.took_all = took_all


async def read_all(child: Child, *, errors: bool = False) -> bytes:
    source = child.stderr if errors else child.stdout
    pieces = []
    while data := await source.read():
        pieces.append(data)
    return b"".join(pieces)


async def run(spawner: GuardianSpawner, what: Program, data: bytes = b"") -> Result:
    child = await spawner.spawn(what)
    output = Deferred.fromCoroutine(read_all(child))
    errors = Deferred.fromCoroutine(read_all(child, errors=True))
    took_all = await child.stdin.write(data) if data else True
    child.stdin.close()
    ending = await child.ended
    await child.gone
    return Result(ending, await output, await errors, took_all=took_all)


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"), key=int)


def children_of(pid: int) -> dict[int, str]:
    """The children of a process, with their states."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                content = Path("/proc", name, "stat").read_text()
            except OSError:
                continue
            state, parent, *_ = content.rpartition(")")[2].split()
            if int(parent) == pid:
                found[int(name)] = state
    return found


def guardian_of(pid: int) -> int:
    """The guardian of a daemon: its only child."""
    [guardian] = children_of(pid)
    return guardian


def running(mark: str) -> list[int]:
    """The processes that have this word on their command line, and run."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                if mark.encode() in Path("/proc", name, "cmdline").read_bytes().split(b"\0"):
                    found.append(int(name))
            except OSError:
                continue
    return found


@pytest.fixture
def spawner() -> Iterator[GuardianSpawner]:
    made = GuardianSpawner(reactor)
    yield made
    pytest_twisted.blockon(made.stop())
    assert children_of(os.getpid()) == {}


@pytest.fixture
def mark() -> str:
    """A number of seconds that nobody else sleeps."""
    return f"{1000 + time.monotonic_ns() % 1_000_000}.{os.getpid()}"


def run_in(function: Callable[..., Any]) -> Any:
    return pytest_twisted.ensureDeferred(function)


class TestStreams:
    @run_in
    async def test_each_is_complete_and_apart(self, spawner: GuardianSpawner) -> None:
        result = await run(spawner, shell("ls -d / ; abcd ; pwd; exit 3"))
        assert result.output == b"/\n/\n"
        assert b"abcd" in result.errors
        assert result.ending.code == 3

    @run_in
    async def test_any_bytes_both_ways(self, spawner: GuardianSpawner) -> None:
        data = bytes(range(256)) * 40_000
        result = await run(spawner, program("cat"), data)
        assert result.output == data
        assert result.took_all

    @run_in
    async def test_a_child_that_nobody_reads_waits(self, spawner: GuardianSpawner) -> None:
        child = await spawner.spawn(shell("head -c 100M /dev/zero; echo done >&2"))
        child.stdin.close()
        first = await child.stdout.read()
        errors = Deferred.fromCoroutine(child.stderr.read())
        await later(0.2)
        assert not errors.called
        rest = await read_all(child)
        assert len(first) + len(rest) == 100 * 2**20
        assert await errors == b"done\n"
        child.stderr.close()
        await child.gone

    @run_in
    async def test_one_that_does_not_read_and_is_signalled(self, spawner: GuardianSpawner) -> None:
        child = await spawner.spawn(program("sleep", "100"))
        writing = Deferred.fromCoroutine(child.stdin.write(bytes(10**7)))
        await later(0.05)
        assert not writing.called
        child.signal(signal.SIGINT)
        assert (await child.ended).signal == signal.SIGINT
        assert await writing is False
        await child.gone
        assert await child.stdout.read() == b""
        assert await child.stderr.read() == b""

    @run_in
    async def test_one_that_closes_its_streams_and_lives(self, spawner: GuardianSpawner) -> None:
        child = await spawner.spawn(shell("exec <&- >&- 2>&-; sleep 0.2"))
        assert await read_all(child) == b""
        assert await read_all(child, errors=True) == b""
        assert await child.stdin.write(bytes(10**6)) is False
        assert not child.ended.called
        assert (await child.ended).code == 0

    @run_in
    async def test_output_after_the_end(self, spawner: GuardianSpawner) -> None:
        result = await run(spawner, shell("(sleep 0.2; echo late) & echo soon"))
        assert result.output == b"soon\nlate\n"


class TestTerminals:
    @run_in
    async def test_a_size_and_another_one(self, spawner: GuardianSpawner) -> None:
        script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.05; done"
        child = await spawner.spawn(shell(script, terminal=Terminal(columns=100, rows=30)))
        assert await child.stdout.read() == b"30 100\r\n"
        child.resize(120, 40)
        assert await read_all(child) == b"40 120\r\n"
        assert await child.stderr.read() == b""
        child.stdin.close()
        await child.gone
        child.resize(1, 1)

    @run_in
    async def test_the_end_of_what_is_typed(self, spawner: GuardianSpawner) -> None:
        result = await run(spawner, shell("cat; echo done", terminal=Terminal()), b"a\nb")
        assert result.output.endswith(b"bdone\r\n")

    @run_in
    async def test_ctrl_c_is_typed(self, spawner: GuardianSpawner) -> None:
        child = await spawner.spawn(program("sleep", "100", terminal=Terminal()))
        await child.stdin.write(b"\x03")
        assert (await child.ended).signal == signal.SIGINT
        child.stdin.close()
        child.stdout.close()

    @run_in
    async def test_nobody_reads_any_more(self, spawner: GuardianSpawner) -> None:
        """What a person does who closes the window."""
        child = await spawner.spawn(shell("sleep 100", terminal=Terminal()))
        child.stdin.close()
        child.stdout.close()
        assert (await child.ended).signal == signal.SIGHUP


HIDING = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_RTTIME, (-1, -1))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        os.execv("/bin/sleep", ["sleep", sys.argv[1]])
    os._exit(0)
os.wait()
"""


class TestTrees:
    LEFTOVERS = "sleep {0} & setsid sleep {0} & (setsid env -i /bin/sleep {0} &) ; (sleep {0} &) ;"

    @run_in
    async def test_a_signal_is_for_all(self, spawner: GuardianSpawner, mark: str) -> None:
        child = await spawner.spawn(shell(self.LEFTOVERS.format(mark) + f"sleep {mark}"))
        until(lambda: len(running(mark)) == 5)
        child.signal(signal.SIGTERM)
        assert (await child.ended).signal == signal.SIGTERM
        await child.gone
        assert running(mark) == []

    @run_in
    async def test_what_is_left_is_known_and_killed(
        self, spawner: GuardianSpawner, mark: str
    ) -> None:
        script = f"trap '' TERM; {self.LEFTOVERS.format(mark)} sleep 0.1; exit 4"
        child = await spawner.spawn(shell(script))
        other = await spawner.spawn(program("sleep", mark))
        assert (await child.ended).code == 4
        child.signal(signal.SIGTERM)
        await later(0.1)
        assert not child.gone.called
        assert len(running(mark)) == 5
        child.signal(signal.SIGKILL)
        await child.gone
        assert running(mark) == [other.pid]
        assert not other.ended.called

    @run_in
    async def test_one_that_is_stopped(self, spawner: GuardianSpawner) -> None:
        child = await spawner.spawn(program("sleep", "100"))
        child.signal(signal.SIGSTOP)
        child.signal(signal.SIGKILL)
        assert (await child.ended).signal == signal.SIGKILL

    @run_in
    async def test_one_that_hides_whose_it_is_ends_with_the_last_job(
        self, spawner: GuardianSpawner, mark: str
    ) -> None:
        hidden = [sys.executable, "-I", "-S", "-c", HIDING, mark]
        child = await spawner.spawn(program(*hidden))
        other = await spawner.spawn(program("cat"))
        assert (await child.ended).code == 0
        await child.gone
        assert len(running(mark)) == 1
        other.stdin.close()
        await other.gone
        until(lambda: not running(mark))
        for one in child, other:
            one.stdout.close()
            one.stderr.close()
            one.stdin.close()

    @run_in
    async def test_what_is_no_signal_does_nothing(self, spawner: GuardianSpawner) -> None:
        child = await spawner.spawn(program("cat"))
        for number in 0, 999, -1:
            child.signal(number)
        child.stdin.close()
        assert (await child.ended).code == 0

    @run_in
    async def test_one_that_is_another_process_all_the_time(
        self, spawner: GuardianSpawner, mark: str
    ) -> None:
        script = "import os\nwhile True:\n    if os.fork(): os._exit(0)\n    os.setsid()"
        child = await spawner.spawn(program(sys.executable, "-I", "-S", "-c", script, mark))
        await child.ended
        await later(0.1)
        child.signal(signal.SIGKILL)
        await child.gone
        assert running(mark) == []

    @run_in
    async def test_what_was_given_up_is_killed(self, spawner: GuardianSpawner, mark: str) -> None:
        starting = spawner.spawn(program("sleep", mark))
        starting.addErrback(lambda failure: None)
        starting.cancel()
        await run(spawner, program("true"))
        until(lambda: not running(mark))


class TestManyJobs:
    @run_in
    async def test_nothing_piles_up(self, spawner: GuardianSpawner) -> None:
        await run(spawner, program("true"))
        before = descriptors()
        guardian = guardian_of(os.getpid())
        guardians = sorted(os.listdir(f"/proc/{guardian}/fd"))
        left = MANY

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                assert (await run(spawner, shell("exit 5"))).ending.code == 5
                with pytest.raises(StartFailed):
                    await run(spawner, program("/no/such/program"))

        await gatherResults([Deferred.fromCoroutine(worker()) for _ in range(50)])
        assert descriptors() == before
        assert sorted(os.listdir(f"/proc/{guardian}/fd")) == guardians
        assert children_of(guardian) == {}

    @run_in
    async def test_no_job_has_the_streams_of_another(self, spawner: GuardianSpawner) -> None:
        """Else the end of what is read would not be seen while another one runs."""
        first = await spawner.spawn(program("sleep", "100"))
        assert (await run(spawner, program("cat"), b"x")).output == b"x"
        second = await spawner.spawn(program("sleep", "100"))
        first.signal(signal.SIGKILL)
        assert await read_all(first) == b""
        second.signal(signal.SIGKILL)
        await second.gone
        for child in first, second:
            child.stdin.close()
            child.stdout.close()
            child.stderr.close()

    @run_in
    async def test_no_job_has_what_the_guardian_has_open(self, spawner: GuardianSpawner) -> None:
        results = [Deferred.fromCoroutine(run(spawner, shell("ls /proc/$$/fd"))) for _ in range(20)]
        for result in await gatherResults(results):
            assert result.output.split() == [b"0", b"1", b"2"]

    @run_in
    async def test_files_may_be_open_as_it_was_asked(self) -> None:
        spawner = GuardianSpawner(reactor, open_files=77)
        assert (await run(spawner, shell("ulimit -Sn"))).output == b"77\n"
        await spawner.stop()

    @run_in
    async def test_the_mask_for_new_files_is_the_usual_one(self) -> None:
        """A daemon in the background has one that lets nobody else read anything."""
        before = os.umask(0o077)
        try:
            spawner = GuardianSpawner(reactor)
            assert (await run(spawner, shell("umask"))).output == b"0022\n"
            await spawner.stop()
        finally:
            os.umask(before)

    @run_in
    async def test_so_many_files_are_open_that_no_job_fits(self, spawner: GuardianSpawner) -> None:
        import resource

        await run(spawner, program("true"))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = descriptors()
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(before[-1]) + 2, hard))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        try:
            with pytest.raises(StartFailed) as caught:
                await spawner.spawn(program("true"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for file in held:
                os.close(file)
        assert caught.value.what == "process"
        assert descriptors() == before
        assert (await run(spawner, program("true"))).ending.code == 0


class TestLosingTheGuardian:
    @run_in
    async def test_its_jobs_end_with_it_and_another_one_takes_over(
        self, spawner: GuardianSpawner, mark: str
    ) -> None:
        script = TestTrees.LEFTOVERS.format(mark) + f"trap '' TERM; sleep {mark}"
        child = await spawner.spawn(shell(script))
        until(lambda: len(running(mark)) == 5)
        os.kill(guardian_of(os.getpid()), signal.SIGKILL)
        assert await child.ended == Ending()
        await child.gone
        assert (await run(spawner, program("true"))).ending.code == 0
        until(lambda: not running(mark))
        for stream in child.stdin, child.stdout, child.stderr:
            stream.close()

    @run_in
    async def test_again_and_again(self, spawner: GuardianSpawner) -> None:
        await run(spawner, program("true"))
        before = descriptors()
        for _ in range(10):
            starting = spawner.spawn(program("sleep", "100"))
            os.kill(guardian_of(os.getpid()), signal.SIGKILL)
            child = await starting
            assert await child.ended == Ending()
            for stream in child.stdin, child.stdout, child.stderr:
                stream.close()
            await later(0.05)
        assert len(descriptors()) == len(before)


DAEMON = """\
import os, sys
from twisted.internet import reactor
from sockserv.services.execution.child import Program
from sockserv.services.execution.guardian import GuardianSpawner
spawner = GuardianSpawner(reactor)
for script in sys.argv[1:]:
    what = Program(argv=("sh", "-c", script), environment={"PATH": os.environ["PATH"]}, directory="/")
    spawner.spawn(what)
reactor.run()
"""


class TestADaemonThatEnds:
    @pytest.fixture(autouse=True)
    def _leave_none_running(self) -> Iterator[None]:
        self.started: list[subprocess.Popen[bytes]] = []
        yield
        for daemon in self.started:
            daemon.kill()
            daemon.wait()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_nothing_of_its_jobs_is_left(self, mark: str, number: signal.Signals) -> None:
        gentle = (
            f"trap 'exit' TERM; {TestTrees.LEFTOVERS.format(mark)} while :; do sleep {mark}; done"
        )
        stubborn = f"trap '' TERM HUP INT; {TestTrees.LEFTOVERS.format(mark)} while :; do sleep {mark}; done"
        stopped = f"sleep {mark} & sleep 0.2; kill -STOP $!; wait"
        daemon = self.start(gentle, stubborn, stopped)
        until(lambda: len(running(mark)) == 11)
        guardian = guardian_of(daemon.pid)
        daemon.send_signal(number)
        daemon.wait()
        until(lambda: not running(mark) and not Path(f"/proc/{guardian}").exists())

    def test_it_is_killed_while_it_starts_them(self, mark: str) -> None:
        for step in range(10):
            daemon = self.start(*[f"sleep {mark}"] * 20)
            time.sleep(0.15 + 0.05 * step)
            daemon.kill()
            daemon.wait()
        until(lambda: not running(mark))

    def test_its_guardian_does_not_hear_what_is_for_it(self, mark: str) -> None:
        daemon = self.start(f"sleep {mark}")
        until(lambda: running(mark))
        guardian = guardian_of(daemon.pid)
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            os.kill(guardian, number)
        time.sleep(0.1)
        assert running(mark)
        daemon.kill()
        daemon.wait()
        until(lambda: not running(mark))

    def start(self, *scripts: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.started.append(
            subprocess.Popen([sys.executable, "-c", DAEMON, *scripts], env=environment)
        )
        return self.started[-1]
