"""The `sockserv` command as it is typed: a process of its own, against a daemon that is one, too."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest

from sockserv import __version__
from sockserv.state import StateDirectory
from tests.integration.conftest import (
    ANY_PORT,
    DEADLINE_SECONDS,
    ROOT,
    Twistd,
    start_process,
    until,
)

MIB: Final = 1024 * 1024
SOCKSERV: Final = [sys.executable, "-m", "sockserv"]


def environment(**variables: str) -> dict[str, str]:
    """Ours, without what the command looks for, and with the checkout."""
    kept = {name: value for name, value in os.environ.items() if "SOCKSERV" not in name}
    return kept | {"PYTHONPATH": str(ROOT)} | variables


class Daemon:
    """A running daemon, and the command as a user of the same account types it."""

    def __init__(self, twistd: Twistd, state: Path) -> None:
        self.twistd = twistd
        self.state = state
        self.environ = environment(SOCKSERV_STATE=str(state))
        (self.url,) = twistd.wait_until_listening(state).listening

    def run(
        self,
        *arguments: str,
        input: bytes | None = b"",
        environ: dict[str, str] | None = None,
        **settings: Any,
    ) -> subprocess.CompletedProcess[bytes]:
        """The result of `sockserv` with these arguments."""
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
        if input is not None:
            settings["input"] = input
        result = subprocess.run(
            [*SOCKSERV, *arguments],
            env=environ or self.environ,
            timeout=DEADLINE_SECONDS,
            check=False,
            **settings,
        )
        return cast("subprocess.CompletedProcess[bytes]", result)

    def start(self, *arguments: str, shell: str = "", **settings: Any) -> subprocess.Popen[bytes]:
        """`sockserv` with these arguments, running, with pipes for its streams.

        `shell` is what a shell does before it becomes the command.
        """
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return start_process(
            ["sh", "-c", f'{shell}\nexec "$@"', "sh", *SOCKSERV, *arguments],
            env=self.environ,
            **(pipes | settings),
        )


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for all tests that do not kill it. Its state directory has spaces in its name."""
    folder = tmp_path_factory.mktemp("a daemon")
    state = folder / "its state"
    twistd = Twistd(folder, "--listen", ANY_PORT, "--state", str(state), environ=environment())
    try:
        yield Daemon(twistd, state)
    finally:
        twistd.process.kill()
        twistd.wait()


@pytest.fixture
def own_daemon(twistd: Callable[..., Twistd], state: Path) -> Daemon:
    """One for the test alone."""
    return Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 20 MiB and some bytes."""
    path = tmp_path_factory.mktemp("big") / "file"
    path.write_bytes(os.urandom(20 * MIB + 12_345))
    return path


def peak_memory_bytes(process: subprocess.Popen[bytes]) -> int:
    """The most memory that a running process has had; what `wait` tells counts that of its parent, too."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return int(peak) * 1024


def finish(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a command has printed by its end."""
    return process.communicate(timeout=DEADLINE_SECONDS)


class TestEcho:
    def test_text(self, daemon: Daemon) -> None:
        result = daemon.run("echo", "grüße,", "中文")
        assert (result.returncode, result.stderr) == (0, b"")
        assert result.stdout.decode() == "grüße, 中文\n"

    def test_upper_case_with_characters_cut_at_borders(self, daemon: Daemon) -> None:
        text = "aé中🎉ß\n" * 60_000
        result = daemon.run("echo", "--upper", input=text.encode())
        assert (result.returncode, result.stderr) == (0, b"")
        assert result.stdout.decode() == text.upper()

    def test_json(self, daemon: Daemon) -> None:
        result = daemon.run("--json", "echo", "-u", "中 x")
        assert json.loads(result.stdout) == {"text": "中 X"}

    def test_a_file_to_a_file(self, daemon: Daemon, big: Path, tmp_path: Path) -> None:
        with big.open("rb") as source, (tmp_path / "copy").open("wb") as target:
            result = daemon.run("echo", input=None, stdin=source, stdout=target)
        assert (result.returncode, result.stderr) == (0, b"")
        assert (tmp_path / "copy").read_bytes() == big.read_bytes()

    def test_a_pipe_to_a_pipe(self, daemon: Daemon, big: Path) -> None:
        content = big.read_bytes()
        result = daemon.run("echo", input=content)
        assert (result.returncode, result.stderr) == (0, b"")
        assert result.stdout == content

    def test_nothing(self, daemon: Daemon) -> None:
        result = daemon.run("echo")
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")

    def test_each_line_when_it_is_typed(self, daemon: Daemon) -> None:
        user, terminal = pty.openpty()
        process = daemon.start("echo", stdin=terminal)
        os.close(terminal)
        assert process.stdout is not None
        for line in (b"one\n", b"two\n"):
            os.write(user, line)
            assert process.stdout.read(len(line)) == line
        os.write(user, b"\x04")
        assert finish(process) == (b"", b"")
        assert process.returncode == 0
        os.close(user)

    def test_much_costs_no_memory(self, daemon: Daemon) -> None:
        process = daemon.start("echo", stdout=subprocess.DEVNULL)
        assert process.stdin is not None
        for _ in range(300):
            process.stdin.write(bytes(MIB))
        assert peak_memory_bytes(process) < 100 * MIB
        assert finish(process)[1] == b""
        assert process.returncode == 0

    def test_a_slow_reader_costs_no_memory(self, daemon: Daemon) -> None:
        process = daemon.start("echo")
        assert process.stdin is not None
        source = process.stdin.fileno()
        os.set_blocking(source, False)
        sent = 0
        # Full, and still full when everything that was under way has arrived. It may be a while until it reads at all.
        while select.select([], [source], [], 0.5 if sent > MIB else DEADLINE_SECONDS)[1]:
            sent += os.write(source, bytes(MIB))
        # The windows both ways, on both sides, with the pipes and the sockets.
        assert MIB < sent < 24 * MIB
        assert peak_memory_bytes(process) < 100 * MIB
        os.set_blocking(source, True)
        output, errors = finish(process)
        assert (len(output), errors) == (sent, b"")

    def test_the_descriptors_stay_as_they_were(self, daemon: Daemon) -> None:
        ends = [*os.pipe(), *os.pipe()]
        source, feed, drain, target = ends
        os.write(feed, b"hello")
        flags = [fcntl.fcntl(file, fcntl.F_GETFL) for file in (source, target)]
        process = daemon.start("echo", stdin=source, stdout=target)
        until(lambda: os.read(drain, 5) == b"hello")
        assert [fcntl.fcntl(file, fcntl.F_GETFL) for file in (source, target)] == flags
        os.close(feed)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert [fcntl.fcntl(file, fcntl.F_GETFL) for file in (source, target)] == flags
        for file in (source, drain, target):
            os.close(file)
        finish(process)


class TestPing:
    def test_for_people(self, daemon: Daemon) -> None:
        result = daemon.run("ping", "--count", "3")
        assert (result.returncode, result.stderr) == (0, b"")
        head, *round_trips, summary = result.stdout.decode().splitlines()
        assert head == f"{daemon.url} (sockserv/{__version__}), as owner"
        assert [line.partition(":")[0] for line in round_trips] == ["1", "2", "3"]
        assert summary.startswith("3 round trips: min ")

    def test_for_programs(self, daemon: Daemon) -> None:
        result = daemon.run("ping", "--count", "3", "--json")
        *round_trips, summary = map(json.loads, result.stdout.splitlines())
        assert [value["ping"] for value in round_trips] == [1, 2, 3]
        assert 0 < summary["min_ms"] <= summary["median_ms"] <= summary["max_ms"]

    def test_ctrl_c_shows_the_summary(self, daemon: Daemon) -> None:
        process = daemon.start("ping", "--count", "0", "--interval", "0.01")
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, errors = finish(process)
        assert (process.returncode, errors) == (0, b"")
        assert b" round trips: min " in output.splitlines()[-1]


class TestFindingTheDaemon:
    def test_by_options(self, daemon: Daemon, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text(StateDirectory(daemon.state).owner_token() + "\n")
        elsewhere = environment(SOCKSERV_STATE=str(tmp_path / "none"))
        options = ["--server", daemon.url, "--token-file", str(token)]
        for arguments in (["echo", "x", *options], [*options, "echo", "x"]):
            result = daemon.run(*arguments, environ=elsewhere)
            assert (result.stdout, result.stderr) == (b"x\n", b"")

    def test_by_the_environment(self, daemon: Daemon, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text(StateDirectory(daemon.state).owner_token())
        environ = environment(
            SOCKSERV_STATE=str(tmp_path / "none"),
            SOCKSERV_SERVER=daemon.url,
            SOCKSERV_TOKEN_FILE=str(token),
        )
        assert daemon.run("echo", "x", environ=environ).stdout == b"x\n"

    def test_by_its_state_directory(self, daemon: Daemon) -> None:
        result = daemon.run("--state", str(daemon.state), "echo", "x", environ=environment())
        assert (result.stdout, result.stderr) == (b"x\n", b"")


class TestRefusals:
    def check(self, result: subprocess.CompletedProcess[bytes], status: int, *parts: str) -> None:
        """One sentence on standard error, nothing on standard output."""
        assert (result.returncode, result.stdout) == (status, b"")
        message = result.stderr.decode()
        assert message.startswith("sockserv: ")
        assert message.count("\n") == 1
        for part in parts:
            assert part in message

    def test_no_daemon(self, daemon: Daemon, tmp_path: Path) -> None:
        result = daemon.run("--state", str(tmp_path / "a b"), "ping")
        self.check(result, 3, "no daemon is running", f"--state '{tmp_path}/a b'")

    def test_the_wrong_port(self, daemon: Daemon) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
            result = daemon.run("ping", "--server", url)
        self.check(result, 3, f"cannot connect to {url}: connection refused")

    def test_no_socket(self, daemon: Daemon, tmp_path: Path) -> None:
        result = daemon.run("ping", "--server", f"unix://{tmp_path}/none")
        self.check(
            result, 3, f"cannot connect to unix://{tmp_path}/none: no such file or directory"
        )

    @pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.9\r\n", b"220 hello there\r\n"])
    def test_something_else_listens_there(self, daemon: Daemon, greeting: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            process = daemon.start("ping", "--server", url)
            connection, _ = server.accept()
            connection.sendall(greeting)
            output, errors = finish(process)
            connection.close()
        self.check(subprocess.CompletedProcess([], process.returncode, output, errors), 3, url)

    def test_nothing_answers(self, daemon: Daemon) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            result = daemon.run("ping", "--server", url, "--timeout", "0.2")
        self.check(result, 3, f"{url} did not answer within 0.2 seconds")

    def test_a_wrong_token(self, daemon: Daemon, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("wrong")
        result = daemon.run("ping", "--token-file", str(tmp_path / "token"))
        self.check(result, 4, "refused the login")

    def test_for_programs(self, daemon: Daemon, tmp_path: Path) -> None:
        result = daemon.run("ping", "--json", "--state", str(tmp_path / "none"))
        assert (result.returncode, result.stdout) == (3, b"")
        error = json.loads(result.stderr)["error"]
        assert (error["code"], error["status"]) == ("state-error", 3)

    def test_a_wrong_command_line(self, daemon: Daemon) -> None:
        self.check(daemon.run("ping", "--nope"), 2, "--nope", "`sockserv ping --help`")

    def test_a_wrong_settings_file(self, daemon: Daemon, tmp_path: Path) -> None:
        (tmp_path / "s.toml").write_text("listen = 3")
        result = daemon.run("config", "check", str(tmp_path / "s.toml"))
        self.check(result, 1, f"{tmp_path}/s.toml: listen: expected array")


class TestTheConnectionEnds:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_the_daemon_dies_in_the_middle(self, own_daemon: Daemon, number: int) -> None:
        process = own_daemon.start("echo")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello")
        process.stdin.flush()
        assert process.stdout.read(5) == b"hello"
        own_daemon.twistd.process.send_signal(number)
        if number == signal.SIGTERM:
            # It lets the call end.
            assert process.stdin.write(b"more") == 4
            assert finish(process) == (b"more", b"")
            assert process.returncode == 0
        else:
            _, errors = finish(process)
            assert process.returncode == 5
            assert errors.startswith(b"sockserv: the connection ")
            assert errors.count(b"\n") == 1

    def test_it_is_stopped_while_it_is_pinged(self, own_daemon: Daemon) -> None:
        process = own_daemon.start("ping", "-c", "0", "-i", "0.05")
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        own_daemon.twistd.process.send_signal(signal.SIGTERM)
        output, errors = finish(process)
        assert process.returncode == 5
        assert b" round trip" in output
        assert errors.startswith(b"sockserv: ")
        assert errors.count(b"\n") == 1


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_while_it_waits_for_input(self, daemon: Daemon, number: int) -> None:
        process = daemon.start("echo")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x"
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == -number
        assert finish(process) == (b"", b"")

    def test_while_it_connects(self, daemon: Daemon) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            process = daemon.start("ping", "--server", url)
            connection, _ = server.accept()
            process.send_signal(signal.SIGINT)
            assert finish(process) == (b"", b"")
            assert process.returncode == -signal.SIGINT
            connection.close()

    def test_while_nobody_reads_what_it_writes(self, daemon: Daemon, big: Path) -> None:
        with big.open("rb") as source:
            process = daemon.start("echo", stdin=source)
            assert process.stdout is not None
            assert len(process.stdout.read(MIB)) == MIB
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_SECONDS) == -signal.SIGINT
        _, errors = finish(process)
        assert errors == b""

    def test_while_the_daemon_does_not_react(self, own_daemon: Daemon) -> None:
        process = own_daemon.start("echo")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x"
        own_daemon.twistd.process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGINT
        finish(process)

    def test_one_that_the_parent_ignores(self, daemon: Daemon) -> None:
        process = daemon.start("echo", shell="trap '' INT")
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x"
        process.send_signal(signal.SIGINT)
        process.stdin.write(b"y")
        assert finish(process) == (b"y", b"")
        assert process.returncode == 0


class TestStandardStreams:
    def test_the_reader_goes(self, daemon: Daemon, big: Path) -> None:
        with big.open("rb") as source:
            process = daemon.start("echo", stdin=source)
            assert process.stdout is not None
            assert process.stdout.read(10) == big.read_bytes()[:10]
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert process.wait(DEADLINE_SECONDS) == -signal.SIGPIPE
        process.stderr.close()

    @pytest.mark.parametrize("arguments", [["echo", "x"], ["echo"], ["ping"], ["--help"]])
    def test_no_room(self, daemon: Daemon, arguments: list[str]) -> None:
        with open("/dev/full", "wb") as full:
            result = daemon.run(*arguments, input=b"x" * 100_000, stdout=full)
        assert result.returncode == 1
        expected = b"sockserv: cannot write to standard output: no space left on device\n"
        assert result.stderr == expected

    @pytest.mark.parametrize(
        ("file", "message"),
        [
            (0, b"sockserv: cannot read standard input: it is closed\n"),
            (1, b"sockserv: cannot write to standard output: it is closed\n"),
            (2, b""),
        ],
    )
    def test_one_is_closed(self, daemon: Daemon, file: int, message: bytes) -> None:
        process = daemon.start("echo", shell=f"exec {file}>&-")
        output, errors = process.communicate(b"hello" if file else None, timeout=DEADLINE_SECONDS)
        assert errors == message
        assert (process.returncode, output) == ((1, b"") if message else (0, b"hello"))
