"""`twistd sockserv` as it is typed: starting, refusing to start, ending and dying."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sockserv.errors import StateError
from sockserv.state import StateDirectory
from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, TWISTD, Twistd, until

Start = Callable[..., Twistd]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next frame; those of a login have no body."""
    (length,) = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
    header: dict[str, Any] = json.loads(connection.recv(length, socket.MSG_WAITALL))
    return header


def send(connection: socket.socket, header: dict[str, Any]) -> None:
    data = json.dumps(header).encode()
    connection.sendall(struct.pack(">I", len(data)) + data)


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        address: Any = parts.path
    else:
        family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
        connection = socket.socket(family)
        address = (parts.hostname, parts.port)
    connection.settimeout(DEADLINE_SECONDS)
    connection.connect(address)
    return connection


def log_in(connection: socket.socket, token: str) -> dict[str, Any]:
    """What the daemon answers to a login."""
    limits = {"max_header_bytes": 65536, "max_body_bytes": 1048576}
    limits |= {"window_bytes": 65536, "max_calls": 1}
    send(connection, {"type": "hello", "version": 1, "agent": "test", "limits": limits})
    assert "token" in receive(connection)["auth"]
    login = {"type": "open", "call": 1, "op": "auth.token", "args": {"token": token}}
    send(connection, login | {"end": True})
    return receive(connection)


def login_at(url: str, token: str) -> dict[str, Any]:
    with connect(url) as connection:
        return log_in(connection, token)


class TestStarting:
    def test_the_first_start(self, twistd: Start, tmp_path: Path) -> None:
        daemon = twistd("--listen", ANY_PORT)
        state = tmp_path / "account" / "sockserv"
        (url,) = daemon.wait_until_listening(state).listening
        assert mode_of(state) == 0o700
        assert mode_of(state / "owner-token") == 0o600
        until(lambda: "type in another terminal" in daemon.output)
        assert f"sockserv listens on {url}\n" in daemon.output
        assert f"its state is in {state}\n" in daemon.output
        token = StateDirectory(state).owner_token()
        assert login_at(url, token)["result"] == {"identity": "owner"}
        assert login_at(url, token[::-1])["code"] == "authentication-failed"

    def test_as_many_files_as_it_may_open(self, twistd: Start, state: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
        try:
            daemon = twistd("--listen", ANY_PORT, "--state", str(state))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        daemon.wait_until_listening(state)
        assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)

    def test_everywhere_at_once(self, twistd: Start, state: Path, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        listen = ["--listen", ANY_PORT, "--listen", f"unix:{path}"]
        if has_ipv6_loopback():
            listen += ["--listen", r"tcp6:0:interface=\:\:1"]
        note = twistd("--state", str(state), *listen).wait_until_listening(state)
        assert mode_of(path) == 0o600
        token = StateDirectory(state).owner_token()
        for url in note.listening:
            assert login_at(url, token)["result"] == {"identity": "owner"}

    def test_the_option_comes_before_the_environment(
        self, twistd: Start, state: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "other"
        by_variable = twistd("--listen", ANY_PORT, SOCKSERV_STATE=str(other))
        by_variable.wait_until_listening(other)
        both = twistd("--listen", ANY_PORT, "--state", str(state), SOCKSERV_STATE=str(other))
        both.wait_until_listening(state)

    def test_a_settings_file(self, twistd: Start, tmp_path: Path) -> None:
        config = tmp_path / "settings.toml"
        config.write_text(
            f"listen = ['{ANY_PORT}']\nstate = 'here'\nlimits.login_timeout_seconds = 0.2"
        )
        note = twistd("--config", str(config)).wait_until_listening(tmp_path / "here")
        parts = urlsplit(note.listening[0])
        with socket.create_connection((parts.hostname, parts.port)) as silent:
            silent.settimeout(DEADLINE_SECONDS)
            receive(silent)
            assert receive(silent)["code"] == "login-timeout"

    def test_in_the_background(self, environ: dict[str, str], state: Path, tmp_path: Path) -> None:
        command: list[str | Path] = [
            TWISTD,
            f"--pidfile={tmp_path}/pid",
            f"--logfile={tmp_path}/log",
            "sockserv",
        ]
        command += ["--listen", ANY_PORT, "--state", state]
        run: dict[str, Any] = {"env": environ, "cwd": tmp_path, "timeout": DEADLINE_SECONDS}
        subprocess.run(command, check=True, **run)
        note = StateDirectory(state).running()
        try:
            assert (tmp_path / "pid").read_text() == str(note.pid)
            # The note is there a moment before the reactor runs; who answers is told of signals, too.
            token = StateDirectory(state).owner_token()
            assert login_at(note.listening[0], token)["result"] == {"identity": "owner"}
            command[1:3] = [f"--pidfile={tmp_path}/pid2", f"--logfile={tmp_path}/log2"]
            second = subprocess.run(command, check=False, capture_output=True, text=True, **run)
            assert second.returncode == 1
            assert f"the daemon with process id {note.pid} already" in second.stderr
            assert "Traceback" not in (tmp_path / "log2").read_text()
            # Whoever started it hears of the end a moment before that.
            until(lambda: not (tmp_path / "pid2").exists())
        finally:
            os.kill(note.pid, signal.SIGTERM)
        until(lambda: not (tmp_path / "pid").exists())


class TestRefusingToStart:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--listen", "tcp:7700"], "tcp:7700: without an interface it would be open"),
            (["--auth", "anonymous"], "Auth plugin not supported: "),
            (["--listen", "tcp:x:interface=127.0.0.1"], "the port must be a number"),
            (["--config", "missing.toml"], "missing.toml: cannot be read: no such file"),
            (["--what"], "option --what not recognized"),
            (["what"], "unexpected argument 'what'"),
        ],
    )
    def test_a_wrong_option(
        self, twistd: Start, tmp_path: Path, arguments: list[str], message: str
    ) -> None:
        daemon = twistd(*arguments)
        assert daemon.wait() == 1
        assert message in daemon.errors
        assert daemon.errors.count("\n") == 1
        assert daemon.output == ""
        assert not (tmp_path / "account").exists()

    def test_a_settings_file_that_is_wrong(self, twistd: Start, tmp_path: Path) -> None:
        config = tmp_path / "settings.toml"
        config.write_text("[limits]\nmax_calls = '64'")
        daemon = twistd("--config", str(config))
        assert daemon.wait() == 1
        assert daemon.errors == f"sockserv: {config}: limits.max_calls: expected int, got str\n"

    def test_a_second_daemon(self, twistd: Start, state: Path) -> None:
        arguments = ["--listen", ANY_PORT, "--state", str(state)]
        first = twistd(*arguments)
        before = first.wait_until_listening(state)
        second = twistd(*arguments)
        assert second.wait() == 1
        assert second.errors == (
            f"sockserv: the daemon with process id {first.process.pid} already uses the state "
            f"directory {state}: stop it, or choose another directory with --state\n"
        )
        assert StateDirectory(state).running() == before

    def test_a_port_that_is_taken(self, twistd: Start, state: Path, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            taken = f"tcp:{port}:interface=127.0.0.1"
            daemon = twistd("--listen", f"unix:{path}", "--listen", taken, "--state", str(state))
            assert daemon.wait() == 1
        assert daemon.errors == (
            f"sockserv: cannot listen on tcp://127.0.0.1:{port}: address already in use; "
            "choose another address with --listen\n"
        )
        assert "Traceback" not in daemon.output
        assert not path.exists()
        StateDirectory(state).open_for_daemon().close()

    def test_a_socket_that_somebody_listens_on(
        self, twistd: Start, state: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen(1)
            daemon = twistd("--listen", f"unix:{path}", "--state", str(state))
            assert daemon.wait() == 1
            assert f"cannot listen on unix://{path}: address already in use" in daemon.errors
            assert path.exists()

    def test_a_folder_that_does_not_exist(self, twistd: Start, state: Path, tmp_path: Path) -> None:
        daemon = twistd("--listen", f"unix:{tmp_path}/no/socket", "--state", str(state))
        assert daemon.wait() == 1
        assert f"cannot listen on unix://{tmp_path}/no/socket: no such file" in daemon.errors

    def test_a_state_that_others_can_enter(self, twistd: Start, state: Path) -> None:
        state.mkdir()
        state.chmod(0o755)
        daemon = twistd("--listen", ANY_PORT, "--state", str(state))
        assert daemon.wait() == 1
        assert f"close it with `chmod 700 {state}`" in daemon.errors
        assert list(state.iterdir()) == []


class TestEnding:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_cleanly(
        self, twistd: Start, state: Path, tmp_path: Path, number: signal.Signals
    ) -> None:
        path = tmp_path / "socket"
        daemon = twistd("--listen", f"unix:{path}", "--state", str(state))
        url = daemon.wait_until_listening(state).listening[0]
        # It answers, so it has got as far as to handle signals.
        login_at(url, StateDirectory(state).owner_token())
        assert daemon.stop(number) == -number
        left = ["audit", "commands.toml", "identities.toml", "lock", "owner-token"]
        assert sorted(os.listdir(state)) == left
        assert not path.exists()
        assert daemon.errors == ""
        assert "Traceback" not in daemon.output

    def test_who_asks_twice_does_not_wait_for_running_calls(
        self, twistd: Start, state: Path
    ) -> None:
        daemon = twistd("--listen", ANY_PORT, "--state", str(state))
        (url,) = daemon.wait_until_listening(state).listening
        with connect(url) as connection:
            log_in(connection, StateDirectory(state).owner_token())
            send(connection, {"type": "open", "call": 3, "op": "echo"})
            send(connection, {"type": "ping", "token": 1})
            assert receive(connection) == {"type": "pong", "token": 1}
            daemon.process.send_signal(signal.SIGINT)
            assert receive(connection)["code"] == "shutting-down"
            assert not (state / "listening.json").exists()
            assert daemon.process.poll() is None
            assert daemon.stop(signal.SIGINT) == -signal.SIGINT
        assert "Traceback" not in daemon.output

    def test_the_next_one_takes_over_from_one_that_was_killed(
        self, twistd: Start, state: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "socket"
        arguments = ["--listen", f"unix:{path}", "--state", str(state)]
        killed = twistd(*arguments)
        killed.wait_until_listening(state)
        token = StateDirectory(state).owner_token()
        killed.stop(signal.SIGKILL)
        assert path.exists()
        with pytest.raises(StateError, match="no daemon is running"):
            StateDirectory(state).running()
        note = twistd(*arguments).wait_until_listening(state)
        assert login_at(note.listening[0], token)["result"] == {"identity": "owner"}
