"""`sockserv exec`, `shell`, `jobs`, `attach`, `wait` and `kill` as they are typed: in pipes, in terminals, cut off."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, Twistd, until
from tests.integration.terminals import Terminal
from tests.integration.test_cli import (
    MIB,
    SOCKSERV,
    Daemon,
    environment,
    finish,
    peak_memory_bytes,
)

MAX_COMMAND_MEMORY_BYTES = 100 * MIB


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests that do not end it."""
    folder = tmp_path_factory.mktemp("daemon")
    state = folder / "state"
    twistd = Twistd(folder, "--listen", ANY_PORT, "--state", str(state), environ=environment())
    try:
        yield Daemon(twistd, state)
    finally:
        twistd.stop()


@pytest.fixture
def own_daemon(twistd: Callable[..., Twistd], state: Path) -> Daemon:
    """One for the test alone."""
    return Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)


def is_running(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def has_pending_signals(pid: int) -> bool:
    """Whether a process has not taken yet what was sent to it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(mask, 16) for mask in re.findall(r"(?:Sig|Shd)Pnd:\s*(\w+)", status))


class TestOutcomes:
    def test_streams_apart_and_its_status(self, daemon: Daemon) -> None:
        result = daemon.run("exec", "--shell", "ls -d / ; abcd ; pwd ; exit 7")
        assert result.returncode == 7
        assert result.stdout == f"/\n{Path.home()}\n".encode()
        assert b"abcd: not found" in result.stderr
        assert b"sockserv:" not in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "status", "said"),
        [
            (["--", "sh", "-c", "kill -SEGV $$"], 139, "signalled(SEGV)"),
            (["--timeout", "0.2", "--", "sleep", "60"], 124, "killed(timeout): it ran longer"),
            (["--output-limit", "10k", "--", "yes"], 137, "killed(output-limit): it wrote more"),
            (["--", "no-such-program"], 127, "failed-to-start(ENOENT)"),
            (["--cwd", "/no/such/folder", "--", "true"], 127, "failed-to-start(ENOENT)"),
            (["--", "/etc/passwd"], 126, "failed-to-start(EACCES)"),
            (["--", "echo", "x" * 70_000], 125, "too long"),
        ],
    )
    def test_what_is_not_its_own(
        self, daemon: Daemon, arguments: list[str], status: int, said: str
    ) -> None:
        result = daemon.run("exec", *arguments)
        assert (result.returncode, said in result.stderr.decode()) == (status, True), result
        assert result.stderr.startswith(b"sockserv: ")
        assert result.stderr.count(b"\n") == 1

    def test_who_may_not(self, daemon: Daemon, tmp_path: Path) -> None:
        line = daemon.run("invite", "alice", "--exec", "/bin/echo").stdout
        config = {"SOCKSERV_CONFIG": str(tmp_path), "SOCKSERV_STATE": str(daemon.state)}
        environ = environment(**config)
        assert (
            daemon.run("login", "--name", "lab", "-", input=line, environ=environ).returncode == 0
        )
        ours = ("exec", "--server", "lab", "--")
        assert daemon.run(*ours, "/bin/echo", "hi", environ=environ).stdout == b"hi\n"
        refused = daemon.run(*ours, "id", environ=environ)
        assert refused.returncode == 126
        assert refused.stderr.startswith(b"sockserv: refused(none): ")

    def test_nobody_there(self, tmp_path: Path) -> None:
        result = subprocess.run(
            [*SOCKSERV, "--state", str(tmp_path), "exec", "true"],
            env=environment(),
            capture_output=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert result.returncode == 125

    def test_json(self, daemon: Daemon) -> None:
        result = daemon.run("exec", "--json", "--", "sh", "-c", "echo out; exit 3")
        assert (result.returncode, result.stdout) == (3, b"out\n")
        outcome = json.loads(result.stderr)["outcome"]
        assert (outcome["kind"], outcome["code"], outcome["stdout_bytes"]) == ("exited", 3, 4)


class TestPipes:
    def test_any_bytes_both_ways(self, daemon: Daemon) -> None:
        content = os.urandom(8 * MIB + 321)
        result = daemon.run("exec", "--", "tee", "/dev/stderr", input=content)
        assert result.returncode == 0
        assert result.stdout == content
        assert result.stderr == content

    def test_tar(self, daemon: Daemon, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        source = Path(__file__).parent
        piped = f"tar c -C {source} . | {' '.join(SOCKSERV)} exec -- tar x -C {tmp_path / 'there'}"
        environ = environment(SOCKSERV_STATE=str(daemon.state))
        subprocess.run(["sh", "-c", piped], env=environ, check=True, timeout=DEADLINE_SECONDS)
        assert {p.name for p in (tmp_path / "there").iterdir()} >= {"conftest.py"}
        here, there = source / "conftest.py", tmp_path / "there/conftest.py"
        assert here.read_bytes() == there.read_bytes()

    def test_whoever_reads_goes_away(self, daemon: Daemon, tmp_path: Path) -> None:
        note = tmp_path / "pid"
        process = daemon.start(
            "exec", "--", "sh", "-c", f"echo $$ > {note}; exec yes", stdin=subprocess.DEVNULL
        )
        assert process.stdout is not None
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.stderr.close()
        until(lambda: not is_running(int(note.read_text())))

    def test_a_job_that_reads_no_more(self, daemon: Daemon) -> None:
        """Whoever writes to us is not kept waiting for one who has gone."""
        process = daemon.start("exec", "--", "head", "-c", "3", stdin=subprocess.PIPE)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            while process.poll() is None:
                process.stdin.write(b"x" * MIB)
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdin = None
        assert finish(process) == (b"xxx", b"")
        assert process.returncode == 0

    @pytest.mark.parametrize("closed", ["<&-", "< /dev/null"])
    def test_without_standard_input(self, daemon: Daemon, closed: str) -> None:
        process = daemon.start("exec", "--", "cat", shell=f"exec {closed}")
        assert finish(process) == (b"", b"")
        assert process.returncode == 0

    def test_a_slow_reader_costs_little_memory(self, daemon: Daemon) -> None:
        process = daemon.start("exec", "--", "cat", "/dev/zero", stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.read(16 * MIB)
        time.sleep(1)
        assert peak_memory_bytes(process) < MAX_COMMAND_MEMORY_BYTES
        process.stdout.read(16 * MIB)
        process.kill()
        finish(process)


class TestInterrupts:
    def start(self, daemon: Daemon, text: str) -> tuple[subprocess.Popen[bytes], int]:
        """A shell text that runs, and the number of its process."""
        process = daemon.start("exec", "--shell", f"echo $$; {text}", stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    def test_once(self, daemon: Daemon) -> None:
        process, pid = self.start(daemon, "sleep 60; echo not this")
        process.send_signal(signal.SIGINT)
        assert finish(process) == (b"", b"")
        assert process.returncode == 130
        assert not is_running(pid)

    def test_a_job_that_makes_something_of_it(self, daemon: Daemon) -> None:
        process, _ = self.start(daemon, "trap 'echo bye; exit 5' INT; echo go; sleep 60 & wait")
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert finish(process) == (b"bye\n", b"")
        assert process.returncode == 5

    def test_twice(self, daemon: Daemon) -> None:
        text = "trap 'echo heard' INT; echo go; while :; do sleep 60 & wait; done"
        process, pid = self.start(daemon, text)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"heard\n"
        process.send_signal(signal.SIGINT)
        assert finish(process) == (b"", b"sockserv: killed(cancelled)\n")
        assert process.returncode == 137
        assert not is_running(pid)

    def test_three_times_leaves_where_nobody_answers(self, own_daemon: Daemon) -> None:
        process, pid = self.start(own_daemon, "sleep 60")
        own_daemon.twistd.process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(3):
                # Two of which none is taken yet would be one.
                until(lambda: not has_pending_signals(process.pid))
                time.sleep(0.2)
                process.send_signal(signal.SIGINT)
            errors = finish(process)[1]
        finally:
            own_daemon.twistd.process.send_signal(signal.SIGCONT)
        assert process.returncode == 255
        assert errors.startswith(b"sockserv: lost(")
        until(lambda: not is_running(pid))

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
    def test_we_are_ended(self, daemon: Daemon, number: signal.Signals) -> None:
        process, pid = self.start(daemon, "sleep 60")
        process.send_signal(number)
        assert finish(process) == (b"", b"")
        assert process.returncode == -number
        until(lambda: not is_running(pid))


class TestLost:
    def test_the_daemon_is_killed(self, own_daemon: Daemon) -> None:
        process = own_daemon.start(
            "exec", "--job", "a", "--shell", "echo $$; sleep 60", stdin=subprocess.DEVNULL
        )
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        own_daemon.twistd.process.kill()
        assert finish(process)[1].startswith(b"sockserv: lost(a): the connection ")
        assert process.returncode == 255
        until(lambda: not is_running(pid))

    def test_the_daemon_stops(self, own_daemon: Daemon) -> None:
        process = own_daemon.start(
            "exec", "--shell", "trap 'echo bye; exit 1' INT; echo go; sleep 60 & wait"
        )
        assert process.stdout is not None
        process.stdout.readline()
        own_daemon.twistd.stop()
        assert finish(process) == (b"bye\n", b"sockserv: killed(shutdown)\n")
        assert process.returncode == 137

    def test_a_kept_job_goes_on_without_daemon_and_caller(
        self, own_daemon: Daemon, twistd: Callable[..., Twistd], state: Path, tmp_path: Path
    ) -> None:
        end = tmp_path / "end"
        text = (
            f"echo one; echo two >&2; while [ ! -e {end} ]; do sleep 0.05; done; echo three; exit 9"
        )
        process = own_daemon.start("exec", "-n", "--keep", "--job", "a", "--shell", text)
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        own_daemon.twistd.process.kill()
        errors = finish(process)[1]
        assert process.returncode == 255
        assert b"sockserv: lost(a)" in errors
        assert errors.endswith(b"\nIf it goes on: sockserv attach a\n")
        again = Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)
        (listed,) = map(json.loads, again.run("jobs", "--json").stdout.splitlines())
        assert (listed["job"], listed["is_kept"], "outcome" in listed) == ("a", True, False)
        follower = again.start("attach", "--stdout-offset", "2", "a", stdin=subprocess.DEVNULL)
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"e\n"
        waiter = again.start("wait", "a")
        end.touch()
        assert finish(follower) == (b"three\n", b"two\n")
        assert follower.returncode == 9
        assert finish(waiter) == (b"", b"")
        assert waiter.returncode == 9
        assert again.run("jobs", "--remove", "a").returncode == 0
        assert again.run("wait", "a").returncode == 125


class TestJobs:
    def test_kill(self, daemon: Daemon) -> None:
        name = daemon.run("exec", "-d", "--", "sleep", "60").stdout.decode().strip()
        assert daemon.run("kill", "--signal", "CONT", name).returncode == 0
        result = daemon.run("kill", name)
        assert (result.returncode, result.stdout.decode()) == (0, f"{name}: killed(cancelled)\n")
        assert daemon.run("wait", name).returncode == 137
        assert daemon.run("kill", "nothing").returncode == 1

    def test_attach_to_write(self, daemon: Daemon) -> None:
        """Whoever writes goes on where the last one has stopped; the end of the input is an end for the job."""
        first = daemon.start("exec", "--keep", "--job", "w", "--", "cat")
        assert first.stdin is not None
        assert first.stdout is not None
        first.stdin.write(b"one\n")
        first.stdin.flush()
        assert first.stdout.readline() == b"one\n"
        first.kill()
        finish(first)

        def is_free() -> bool:
            again = daemon.run("attach", "--stdin", "w", input=b"two\n")
            if again.returncode:
                assert b"writing to the job" in again.stderr
                return False
            assert again.stdout == b"one\ntwo\n"
            return True

        until(is_free)

    def test_on_many(self, daemon: Daemon) -> None:
        nobody = "tcp://127.0.0.1:1"
        result = daemon.run("exec", "--on", f"{daemon.url},{nobody}", "--", "echo", "hi")
        assert result.returncode == 1
        address = daemon.url.partition("?")[0].rstrip("/")
        assert result.stdout.split() == [address.encode(), b"|", b"hi"]
        assert b"exited(0)" in result.stderr
        assert b"connection refused" in result.stderr


class TestTerminal:
    def test_a_shell(self, daemon: Daemon, terminal: Callable[..., Terminal]) -> None:
        screen = terminal(daemon, "shell", "--env", "PS1=ready:")
        screen.type("PS1=; echo $((40 + 2)) $TERM; stty size; tty\r")
        screen.wait_for("42 vt220\r\n30 100\r\n/dev/")
        assert not screen.shows_keys
        screen.resize(132, 43)
        screen.type("while [ \"$(stty size)\" != '43 132' ]; do sleep 0.05; done; echo res''ized\r")
        screen.wait_for("resized")
        screen.type("sleep 60\r")
        time.sleep(0.3)
        screen.type("\x03")
        screen.type("echo inter''rupted $?\r")
        screen.wait_for("interrupted 130")
        screen.type("exit 7\r")
        assert screen.end() == 7

    def test_the_way_out(self, daemon: Daemon, terminal: Callable[..., Terminal]) -> None:
        screen = terminal(daemon, "exec", "--pty", "--", "sh", "-c", "echo go; cat")
        screen.wait_for("go")
        screen.type("a~.\r~.")
        screen.wait_for("sockserv: lost(")
        assert screen.end() == 255

    @pytest.mark.parametrize(
        "numbers", [[signal.SIGTERM], [signal.SIGHUP], [signal.SIGTERM] * 2], ids=str
    )
    def test_it_is_restored_when_we_are_ended(
        self, daemon: Daemon, numbers: list[signal.Signals], terminal: Callable[..., Terminal]
    ) -> None:
        screen = terminal(daemon, "exec", "--pty", "--", "sh", "-c", "echo go; cat")
        screen.wait_for("go")
        assert not screen.shows_keys
        for number in numbers:
            screen.process.send_signal(number)
        assert screen.end() == -numbers[0]

    def test_the_daemon_is_killed(
        self, own_daemon: Daemon, terminal: Callable[..., Terminal]
    ) -> None:
        screen = terminal(own_daemon, "exec", "--pty", "--", "sh", "-c", "echo go; cat")
        screen.wait_for("go")
        own_daemon.twistd.process.kill()
        screen.wait_for("lost(")
        assert screen.end() == 255

    def test_a_kept_shell(self, daemon: Daemon, terminal: Callable[..., Terminal]) -> None:
        screen = terminal(daemon, "exec", "--keep", "--pty", "--job", "t", "--", "sh")
        screen.type("PS1=; there=42; echo st''arted\r")
        screen.wait_for("started")
        screen.type("\r~.")
        screen.wait_for("sockserv attach --stdin t")
        assert screen.end() == 255
        screen = terminal(daemon, "attach", "--stdin", "--new", "t", size=(90, 25))
        screen.type("echo again $there; stty size\r")
        screen.wait_for("again 42\r\n25 90\r\n")
        screen.type("exit 3\r")
        assert screen.end() == 3
