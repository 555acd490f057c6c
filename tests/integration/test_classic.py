"""The tutorial's own clients against a real daemon."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import DEADLINE_SECONDS, Twistd, start_process, until

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
        found = re.findall(r"classic ([a-z_]+) on [a-z]+://127\.0\.0\.1:(\d+)", daemon.output)
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
        "--classic-chat=udp:0",
        "--classic-identity=owner",
    )
    return Classic(daemon, state, environ)


def test_echo(classic: Classic, tmp_path: Path) -> None:
    shown = classic.talk("echo_client", "echo", "hello", "", "grüße 你好", cwd=tmp_path)
    assert shown == "HELLO\nGRÜSSE 你好\n"


LISTING = "ls -l ; abcd ; pwd"


class TestCommands:
    def test_low(self, classic: Classic, tmp_path: Path) -> None:
        commands = [LISTING, "echo 你好", "true", "head -c 300000 /dev/zero | tr '\\0' x", "exit 3"]
        shown = classic.talk("exec_low_client", "exec_low", *commands, cwd=tmp_path)
        listing, rest = shown.split("]\n", 1)
        assert listing.startswith("total ")
        assert "abcd" in listing
        assert "not found" in listing.splitlines()[-2]
        assert rest == f"你好\n[7]\n[0]\n{'x' * 300_000}[300000]\n[0]\n"

    def test_with_a_header_in_json(self, classic: Classic, tmp_path: Path) -> None:
        commands = ["echo out; echo wrong >&2", "seq 100000 | tail -1", "kill -9 $$"]
        shown = classic.talk("exec_client", "exec", *commands, cwd=tmp_path)
        assert shown == (
            "out\nwrong\n[10 output True]\n100000\n[7 output True]\n"
            "sockserv: signalled(KILL)\n[26 output True]\n"
        )
        assert '"rule":"shell"' in classic.audit

    def test_long_ones(self, classic: Classic, tmp_path: Path) -> None:
        text = "x" * 60_000
        shown = classic.talk("exec_low_client", "exec_low", f"echo {text} | wc -c", cwd=tmp_path)
        assert shown == "60001\n[6]\n"

    def test_who_hangs_up_in_the_middle(self, classic: Classic, tmp_path: Path) -> None:
        with classic.connect("exec_low") as client:
            client.sendall(f"echo $$ > {tmp_path / 'pid'}; sleep 600 & wait".encode())
            until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        process = Path("/proc") / (tmp_path / "pid").read_text().strip()
        until(lambda: not process.exists())
        assert classic.talk("exec_low_client", "exec_low", "echo on", cwd=tmp_path) == "on\n[3]\n"

    def test_a_page_in_a_browser(self, classic: Classic, tmp_path: Path) -> None:
        with classic.connect("exec_low") as client:
            client.sendall(f"POST / HTTP/1.1\r\n\r\ntouch {tmp_path / 'here'}\n".encode())
            with suppress(ConnectionResetError):
                assert client.recv(4) == b""
        assert not (tmp_path / "here").exists()


def test_a_command_that_never_ends(
    twistd: Callable[..., Twistd], state: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    config = tmp_path / "sockserv.toml"
    config.write_text("[exec]\nmax_timeout_seconds = 3\n")
    daemon = twistd(
        f"--state={state}",
        f"--config={config}",
        "--listen=tcp:0:interface=127.0.0.1",
        ON_ANY_PORT["exec-low"],
        "--classic-identity=owner",
    )
    classic = Classic(daemon, state, environ)
    commands = ["echo begun; sleep 600; echo done", "echo next"]
    shown = classic.talk("exec_low_client", "exec_low", *commands, cwd=tmp_path)
    begun, why, _, *others = shown.splitlines()
    assert (begun, others) == ("begun", ["next", "[5]"])
    assert why.startswith("sockserv: it ran longer than the 3 seconds that this server allows")


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


def asked(classic: Classic, op: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """What the daemon answers its owner: the lines of the answer's body."""
    program = (
        "import json, sys\n"
        "from twisted.internet import defer, task\n"
        "from sockserv.client import connect\n"
        "async def ask(reactor):\n"
        "    client = await connect(reactor, state=sys.argv[1])\n"
        "    reply = await client.call(sys.argv[2], json.loads(sys.argv[3]))\n"
        "    sys.stdout.write(reply.body.decode())\n"
        "    await client.close()\n"
        "task.react(lambda reactor: defer.Deferred.fromCoroutine(ask(reactor)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(classic.state), op, json.dumps(arguments)],
        env=classic.environ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _is_served(classic: Classic) -> bool:
    with classic.connect("put") as client:
        header = b'{"cmd":"?"}'
        try:
            client.sendall(struct.pack("<i", len(header)) + header)
            return client.recv(4) != b""
        except ConnectionError:
            return False


def test_a_guest_talks_with_a_member(classic: Classic, tmp_path: Path) -> None:
    guest = start_process(
        [sys.executable, CLIENTS / "chat_client.py", str(classic.ports["chat"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=classic.environ,
        text=True,
    )
    assert guest.stdin is not None
    assert guest.stdout is not None
    guest.stdin.write("有人吗\n")
    guest.stdin.flush()
    name = ""

    def is_there() -> bool:
        nonlocal name
        names = asked(classic, "chat.who", {"room": "lobby"})
        name = next((one["name"] for one in names), "")
        return bool(name)

    until(is_there)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", name)
    (message,) = asked(classic, "chat.history", {"to": "lobby"})
    assert (message["sender"], message["text"]) == (name, "有人吗")
    asked(
        classic,
        "chat.send",
        {"device": "d", "number": 1, "to": f"@{name}", "text": "是的"},
    )
    assert guest.stdout.readline() == f">>: from 127.0.0.1:{classic.ports['chat']} 是的\n"
    guest.stdin.close()


def test_who_it_is_has_to_be_said(
    twistd: Callable[..., Twistd], state: Path, tmp_path: Path
) -> None:
    daemon = twistd(f"--state={state}", ON_ANY_PORT["exec"])
    assert daemon.wait() == 1
    assert "--classic-identity NAME" in daemon.errors
    unknown = twistd(
        f"--state={state}",
        "--listen=tcp:0:interface=127.0.0.1",
        ON_ANY_PORT["put"],
        "--classic-identity=nobody",
    )
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
    assert re.search(r"whoever reaches tcp://0\.0\.0\.0:\d+ is a guest, without", daemon.output)
