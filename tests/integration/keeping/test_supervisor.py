"""Kept jobs with real supervisors and real programs."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_twisted

from sockserv.execution.arguments import ResourceLimits, Terminal
from sockserv.execution.errors import OutputGone, StandardInputBusy
from sockserv.execution.outcome import KillReason, Outcome
from sockserv.keeping.messages import INPUT_WINDOW_BYTES, Input, OpenInput, encode
from sockserv.services.execution.kept.job import SupervisedJob
from tests.integration.keeping.kit import (
    Attached,
    Typed,
    kept,
    marked,
    supervisor_of,
)
from tests.integration.waiting import later, until_so

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/limits").exists(), reason="it looks into /proc"
)


class TestOutcomes:
    @pytest.mark.parametrize(
        ("script", "told"),
        [
            ("exit 0", "exited(0)"),
            ("exit 7", "exited(7)"),
            ("kill -TERM $$", "signalled(TERM)"),
            ("kill -SEGV $$", "signalled(SEGV)"),
            ("exec 1>&- 2>&-; sleep 0.2; exit 3", "exited(3)"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_how_it_ends(self, tmp_path: Path, script: str, told: str) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(script)
            assert str(await job.outcome()) == told
            await until_so(lambda: not marked(job))

    @pytest_twisted.ensureDeferred
    async def test_its_time(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("sleep 100", timeout_seconds=0.3)
            outcome = await job.outcome()
            assert (str(outcome), outcome.signal) == ("killed(timeout)", "INT")
            assert 0.3 <= outcome.seconds < 50

    @pytest_twisted.ensureDeferred
    async def test_it_ignores_all_that_can_be_ignored(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("trap '' INT TERM HUP; while :; do sleep 1; done")
            outcome = await job.kill(force=False)
            assert (str(outcome), outcome.signal) == ("killed(cancelled)", "KILL")

    @pytest_twisted.ensureDeferred
    async def test_one_that_is_stopped_can_be_ended(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(
                "trap 'exit 9' TERM; trap '' INT; kill -STOP $$; sleep 100 & wait"
            )
            outcome = await job.kill(force=False)
            assert (str(outcome), outcome.code) == ("killed(cancelled)", 9)

    @pytest_twisted.ensureDeferred
    async def test_by_force(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("trap '' INT; sleep 100")
            outcome = await job.kill(force=True)
            assert (str(outcome), outcome.signal) == ("killed(cancelled)", "KILL")

    @pytest_twisted.ensureDeferred
    async def test_signals(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(
                "trap 'echo got; exit 4' USR1; echo ready; while :; do sleep 0.05; done"
            )
            attached = Attached(job)
            await until_so(lambda: b"ready" in attached.output)
            await job.signal(signal.SIGUSR1)
            assert str(await attached.outcome) in ("exited(4)", "signalled(USR1)")

    @pytest_twisted.ensureDeferred
    async def test_the_machine_goes_down(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("sleep 100")
            os.kill(supervisor_of(job), signal.SIGTERM)
            outcome = await job.outcome()
            assert outcome.reason is KillReason.SHUTDOWN
            assert "told to end" in outcome.message

    @pytest_twisted.ensureDeferred
    async def test_what_cannot_be_started(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            for argv, errno in ((("no-such",), "ENOENT"), (("/etc/passwd",), "EACCES")):
                outcome = await keeper.start(*argv)
                assert isinstance(outcome, Outcome)
                assert str(outcome) == f"failed-to-start({errno})"
            assert [*keeper.folder.iterdir()] == []


class TestItsTree:
    @pytest.mark.parametrize(
        "script",
        [
            "sleep 100 &",
            "(sleep 100 &) ; setsid sleep 100 &",
            "setsid sh -c 'trap \"\" TERM INT HUP; setsid sleep 100 & sleep 100' & sleep 0.2",
            "nohup sh -c 'while :; do sleep 0.1; done' >/dev/null 2>&1 &",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_it_dies_with_the_job(self, tmp_path: Path, script: str) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(f"{script}\nexit 5")
            assert str(await job.outcome()) == "exited(5)"
            await until_so(lambda: not marked(job))

    @pytest_twisted.ensureDeferred
    async def test_it_dies_when_the_job_is_killed(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("setsid sleep 100 & trap '' INT TERM; sleep 100 & sleep 100")
            await until_so(lambda: len(marked(job)) >= 5)
            assert str(await job.kill(force=False)) == "killed(cancelled)"
            await until_so(lambda: not marked(job))

    @pytest_twisted.ensureDeferred
    async def test_what_is_left_when_the_supervisor_is_killed(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("echo before; setsid sleep 100 & trap '' TERM; sleep 100")
            attached = Attached(job)
            await until_so(lambda: attached.output)
            os.kill(supervisor_of(job), signal.SIGKILL)
            outcome = await attached.outcome
            assert (str(outcome), outcome.stdout_bytes) == ("lost(build)", 7)
            assert attached.output == b"before\n"
            await until_so(lambda: not marked(job))
            await keeper.again()
            assert str(await keeper.find().outcome()) == "lost(build)"

    @pytest_twisted.ensureDeferred
    async def test_no_supervisor_is_left_as_a_zombie(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("exec sleep 100")
            supervisor = supervisor_of(job)
            await job.kill(force=True)
            await until_so(lambda: not Path(f"/proc/{supervisor}").exists())


class TestOutput:
    @pytest_twisted.ensureDeferred
    async def test_every_byte_of_both_streams(self, tmp_path: Path) -> None:
        script = "seq 1 200000; seq 1 100000 >&2; head -c 3000000 /dev/zero; printf '\\000\\377'"
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(script)
            attached = Attached(job)
            outcome = await attached.outcome
        lines = b"".join(b"%d\n" % number for number in range(1, 200_001))
        assert attached.output == lines + bytes(3_000_000) + b"\0\xff"
        assert attached.errors == b"".join(b"%d\n" % number for number in range(1, 100_001))
        assert outcome.stdout_bytes == len(attached.output)
        assert outcome.stderr_bytes == len(attached.errors)

    @pytest_twisted.ensureDeferred
    async def test_many_who_come_and_go(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("for i in $(seq 1 300); do echo $i; sleep 0.005; done")
            everything = b"".join(b"%d\n" % number for number in range(1, 301))
            await until_so(lambda: job.describe().stdout_bytes >= 10)
            attached = [Attached(job, stdout_offset=offset) for offset in range(10)]
            await later(0.3)
            for each in attached[::2]:
                each.outcome.addErrback(lambda _: None).cancel()
            await keeper.again()
            # Who is left was told that the daemon goes; each of them goes on where it was.
            job = keeper.find()
            again = []
            for offset, each in enumerate(attached):
                await each.outcome.addErrback(lambda _: None)
                assert everything[offset:].startswith(each.output)
                reached = offset + len(each.output)
                again.append((each, Attached(job, stdout_offset=reached)))
            for offset, (first, second) in enumerate(again):
                assert (await second.outcome).stdout_bytes == len(everything)
                assert first.output + second.output == everything[offset:]

    @pytest.mark.parametrize(
        ("size", "told"), [(10_000, "exited(0)"), (10_001, "killed(output-limit)")]
    )
    @pytest_twisted.ensureDeferred
    async def test_the_limit(self, tmp_path: Path, size: int, told: str) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(f"head -c {size} /dev/zero", spool_bytes=10_000)
            outcome = await job.outcome()
            assert (str(outcome), outcome.stdout_bytes) == (told, 10_000)
            assert job.folder.stdout.stat().st_size == 10_000

    @pytest_twisted.ensureDeferred
    async def test_one_that_writes_without_end(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("trap '' PIPE INT TERM; yes; yes >&2", spool_bytes=3_000_000)
            outcome = await job.outcome()
            assert str(outcome) == "killed(output-limit)"
            assert outcome.stdout_bytes + outcome.stderr_bytes == 3_000_000

    @pytest_twisted.ensureDeferred
    async def test_output_after_the_end_of_the_first_process(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(
                "(trap 'echo late; exit' TERM; sleep 100 & wait) & sleep 0.3; echo on time"
            )
            attached = Attached(job)
            assert str(await attached.outcome) == "exited(0)"
            assert attached.output == b"on time\nlate\n"

    @pytest_twisted.ensureDeferred
    async def test_all_of_it_is_private(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("umask 0; sleep 100")
            for path in (job.folder.path, job.folder.path.parent, keeper.folder):
                assert stat.S_IMODE(path.stat().st_mode) == 0o700
            for path in job.folder.path.iterdir():
                if not path.is_socket():
                    assert stat.S_IMODE(path.stat().st_mode) == 0o600


class TestInput:
    @pytest_twisted.ensureDeferred
    async def test_all_of_it(self, tmp_path: Path) -> None:
        data = bytes(range(256)) * 8192
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("sleep 0.3; cat")
            attached = Attached(
                job,
                Typed(*(data[at : at + 70_000] for at in range(0, len(data), 70_000)), end=True),
            )
            outcome = await attached.outcome
            assert attached.output == data
            assert outcome.stdin_bytes == len(data)

    @pytest_twisted.ensureDeferred
    async def test_from_one_daemon_to_the_next(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("cat")
            first = Attached(job, Typed(b"one "))
            await until_so(lambda: first.output == b"one ")
            await keeper.again()
            first.outcome.addErrback(lambda _: None)
            job = keeper.find()
            await until_so(lambda: job.stdin_bytes == 4)
            wrong = Attached(job, Typed(), stdin_offset=3)
            with pytest.raises(StandardInputBusy) as caught:
                await wrong.outcome
            assert caught.value.details == {"stdin_bytes": 4}
            second = Attached(job, Typed(b"two", end=True), stdin_offset=4, stdout_offset=4)
            assert str(await second.outcome) == "exited(0)"
            assert second.output == b"two"

    @pytest_twisted.ensureDeferred
    async def test_a_job_that_does_not_read_can_still_be_told(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("trap 'exit 3' TERM; while :; do sleep 0.05; done")
            body = Typed(*[b"x" * INPUT_WINDOW_BYTES] * 8)
            attached = Attached(job, body)
            await later(0.3)
            assert body._pieces
            await job.signal(signal.SIGTERM)
            assert str(await attached.outcome) in ("exited(3)", "signalled(TERM)")

    @pytest_twisted.ensureDeferred
    async def test_a_job_that_closes_it(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("exec 0<&-; sleep 0.5; echo done")
            attached = Attached(job, Typed(b"nobody reads this", b"nor that"))
            assert str(await attached.outcome) == "exited(0)"
            assert attached.output == b"done\n"

    @pytest_twisted.ensureDeferred
    async def test_none(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("cat; echo end", stdin=False)
            attached = Attached(job)
            assert str(await attached.outcome) == "exited(0)"
            assert attached.output == b"end\n"


class TestSurroundings:
    @pytest_twisted.ensureDeferred
    async def test_a_terminal(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(
                'stty size; read line; echo "<$line>"; stty size; ps -o tty= -p $$',
                terminal=Terminal(columns=132, rows=43),
            )
            body = Typed()
            attached = Attached(job, body)
            await until_so(lambda: b"43 132" in attached.output)
            await job.resize(20, 10)
            body.type(b"hello\n")
            assert str(await attached.outcome) == "exited(0)"
            assert b"<hello>\r\n10 20\r\n" in attached.output
            assert b"pts/" in attached.output
            assert attached.errors == b""

    @pytest_twisted.ensureDeferred
    async def test_nothing_is_handed_down(self, tmp_path: Path) -> None:
        script = "ls -l /proc/self/fd | grep -c -- '->'; env | sort; pwd; ulimit -n; ps -o ni= -p $$; umask"
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell(script, nice=3, limits=ResourceLimits(open_files=77))
            attached = Attached(job)
            await attached.outcome
            lines = attached.output.decode().splitlines()
            # Standard input, output and error, and the folder that is listed.
            assert lines[0] == "4"
            assert {line.partition("=")[0] for line in lines[1:-4]} <= {
                "PATH",
                "PWD",
                "OLDPWD",
                "SHLVL",
                "_",
            }
            assert [line.strip() for line in lines[-4:]] == ["/", "77", str(os.nice(0) + 3), "0022"]

    @pytest_twisted.ensureDeferred
    async def test_a_path_that_is_too_long_for_a_socket(self, tmp_path: Path) -> None:
        folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
        folder.mkdir(parents=True)
        async with kept(folder / "jobs") as keeper:
            await keeper.shell("sleep 0.5; echo done")
            await keeper.again()
            assert str(await keeper.find().outcome()) == "exited(0)"

    @pytest_twisted.ensureDeferred
    async def test_no_descriptor_is_left_here(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:

            async def run_one() -> None:
                job = await keeper.shell("echo hello")
                await Attached(job).outcome
                await job.remove()

            await run_one()
            before = Counter(_open_files())
            for _ in range(5):
                await run_one()
            await until_so(lambda: not Counter(_open_files()) - before)


class TestSabotage:
    """A job that runs as the daemon's account can do anything to its folder. It harms itself alone."""

    @pytest.mark.parametrize(
        "what",
        [
            "rm -rf $0",
            "rm $0/stdout",
            "rm $0/lock $0/record.json",
            "rm $0/stdout; mkfifo $0/stdout",
            "rm $0/stdout; ln -s /etc/passwd $0/stdout",
            "mkdir $0/outcome.json $0/outcome.json.new",
            "rm $0/control; mkfifo $0/control",
            "truncate -s 0 $0/stdout",
            "truncate -s 1G $0/stdout",
            "echo '{}' > $0/outcome.json; echo '{}' > $0/record.json",
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_its_end_is_told_all_the_same(self, tmp_path: Path, what: str) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            folder = keeper.folder / "alice" / "build"
            job = await keeper.start("sh", "-c", f"echo hello; {what}; exit 3", str(folder))
            assert isinstance(job, SupervisedJob)
            attached = Attached(job)
            with suppress(OutputGone):
                await attached.outcome
            assert b"root:" not in attached.output
            assert str(await job.outcome()) == "exited(3)"
            other = await keeper.shell("exit 4", name="other")
            assert str(await other.outcome()) == "exited(4)"
            for each in job, other:
                await each.remove()
            assert [*keeper.folder.iterdir()] == []

    @pytest_twisted.ensureDeferred
    async def test_somebody_who_talks_nonsense_to_its_supervisor(self, tmp_path: Path) -> None:
        async with kept(tmp_path / "jobs") as keeper:
            job = await keeper.shell("sleep 1; exit 3")
            deaf = [socket.socket(socket.AF_UNIX) for _ in range(20)]
            for connection in deaf:
                connection.connect(str(job.folder.control))
                connection.setblocking(False)
            deaf[0].send(b"\xff" * 100)
            deaf[1].send(b"{}\n" * 100)
            with suppress(OSError):  # it takes no more, or has hung up
                while True:
                    deaf[2].send(encode(OpenInput(7)) * 100)
            with suppress(OSError):  # it takes no more, or has hung up
                while True:
                    deaf[3].send(encode(Input(b"x" * 1000)))
            assert str(await job.outcome()) == "exited(3)"
            for connection in deaf:
                connection.close()


def _open_files() -> Iterator[str]:
    """What this process has open: files by their names, all else by its kind."""
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # a thread has closed it meanwhile
            yield os.readlink(f"/proc/self/fd/{number}").partition(":")[0]
