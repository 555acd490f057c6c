"""The tutorial's own clients against a real daemon."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import DEADLINE_SECONDS, Twistd, until

CLIENTS = Path(__file__).with_name("classic_clients")
ON_ANY_PORT = {
    dialect: f"--classic-{dialect}=tcp:0:interface=127.0.0.1"
    for dialect in ("echo", "exec-low", "exec", "put")
}


class Classic:
    """A daemon that speaks all dialects on behalf of its owner."""

    def __init__(self, daemon: Twistd, state: Path, environ: dict[str, str]) -> None:
        self.daemon = daemon
        self.state = state
        self.environ = environ
        daemon.wait_until_listening(state)
        found = re.findall(r"classic ([a-z_]+) on tcp://127\.0\.0\.1:(\d+)", daemon.output)
        self.ports = {dialect: int(port) for dialect, port in found}

    def talk(self, client: str, dialect: str, *lines: str, cwd: Path) -> str:
        """What a client shows to a person who types these lines."""
        done = subprocess.run(
            [sys.executable, CLIENTS / f"{client}.py", str(self.ports[dialect])],
            input="".join(f"{line}\n" for line in lines),
            cwd=cwd,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.replace(">>: ", "")

    def connect(self, dialect: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[dialect]), DEADLINE_SECONDS)

    @property
    def audit(self) -> str:
        return "".join(path.read_text() for path in sorted((self.state / "audit").glob("*.jsonl")))


@pytest.fixture
def classic(
    twistd: Callable[..., Twistd], state: Path, environ: dict[str, str], tmp_path: Path
) -> Classic:
    daemon = twistd(
        f"--state={state}",
        "--listen=tcp:0:interface=127.0.0.1",
        *ON_ANY_PORT.values(),
        "--classic-identity=owner",
    )
    return Classic(daemon, state, environ)


def test_echo(classic: Classic, tmp_path: Path) -> None:
    shown = classic.talk("echo_client", "echo", "hello", "", "grüße 你好", cwd=tmp_path)
    assert shown == "HELLO\nGRÜSSE 你好\n"


def test_put_and_get(classic: Classic, tmp_path: Path) -> None:
    (tmp_path / "照片.jpg").write_bytes(bytes(range(256)) * 4000)
    (tmp_path / "empty").touch()
    commands = ["put 照片.jpg", "put empty", "put missing", "get 照片.jpg copy", "get nothing x"]
    shown = classic.talk("put_client", "put", *commands, cwd=tmp_path)
    assert shown.splitlines() == [
        "upload successful",
        "upload successful",
        "file:missing is not exists",
        "download successful",
        "error: 'nothing': there is no such file or directory",
    ]
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "照片.jpg").read_bytes()
    stored = classic.state / "files"
    assert sorted(path.name for path in stored.iterdir()) == ["empty", "照片.jpg"]
    assert '"credential":"put"' in classic.audit
    assert "127.0.0.1 port" in classic.audit


def test_an_upload_that_breaks_off_leaves_nothing(classic: Classic) -> None:
    header = b'{"cmd":"put","filename":"half","filesize":1000000}'
    with classic.connect("put") as client:
        client.sendall(struct.pack("<i", len(header)) + header + bytes(500_000))
    until(lambda: "was ended: the connection ended 500000 bytes before" in classic.daemon.output)
    stored = classic.state / "files"
    assert not stored.exists() or not list(stored.iterdir())


def test_a_hundred_that_sit_in_a_header(classic: Classic) -> None:
    waiting = [classic.connect("put") for _ in range(100)]
    for client in waiting:
        client.sendall(b"\x40\x00")
    with classic.connect("put") as one_more:
        assert one_more.recv(1) == b""
    for client in waiting:
        client.close()
    # There is room again, and the daemon is none the worse.
    until(lambda: _is_served(classic))


def _is_served(classic: Classic) -> bool:
    with classic.connect("put") as client:
        header = b'{"cmd":"?"}'
        try:
            client.sendall(struct.pack("<i", len(header)) + header)
            return client.recv(4) != b""
        except ConnectionError:
            return False


def test_who_it_is_has_to_be_said(
    twistd: Callable[..., Twistd], state: Path, tmp_path: Path
) -> None:
    daemon = twistd(f"--state={state}", ON_ANY_PORT["exec"])
    assert daemon.wait() == 1
    assert "--classic-identity NAME" in daemon.errors
    unknown = twistd(f"--state={state}", ON_ANY_PORT["put"], "--classic-identity=nobody")
    assert unknown.wait() == 1
    assert "there is no identity 'nobody'" in unknown.errors


def test_other_machines_are_kept_out(twistd: Callable[..., Twistd], state: Path) -> None:
    daemon = twistd(f"--state={state}", "--classic-echo=tcp:0:interface=0.0.0.0")
    assert daemon.wait() == 1
    assert "0.0.0.0 is not loopback" in daemon.errors


def test_they_are_let_in_where_that_is_said_aloud(
    twistd: Callable[..., Twistd], state: Path, tmp_path: Path
) -> None:
    config = tmp_path / "sockserv.toml"
    config.write_text(
        'listen = ["tcp:0:interface=127.0.0.1"]\n'
        '[classic]\nallow_remote = true\necho = "tcp:0:interface=0.0.0.0"\n'
    )
    daemon = twistd(f"--state={state}", f"--config={config}")
    daemon.wait_until_listening(state)
    assert re.search(r"whoever reaches tcp://0\.0\.0\.0:\d+ is somebody, without", daemon.output)
