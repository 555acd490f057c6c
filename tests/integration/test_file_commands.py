"""`sockserv put`, `get` and `sync` as they are typed: interrupted, killed, continued, against a daemon that is killed,
too.
"""

from __future__ import annotations

import json
import os
import pty
import random
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, Twistd, until
from tests.integration.test_cli import MIB, Daemon, finish

BIG_BYTES = 128 * MIB
"""So much takes long enough to be interrupted."""

PHOTOS = {
    "照片/2026 年/雪.jpg": 300_000,
    "照片/2026 年/空 白.jpg": 0,
    "照片/été/plage.jpg": 70_000,
    "照片/été/a\x1b[31mb.jpg": 12,
    "照片/大.raw": 24 * MIB,
}


@pytest.fixture
def daemon(twistd: Callable[..., Twistd], state: Path) -> Daemon:
    return Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photographs, in which the commands run."""
    folder = tmp_path / "here"
    for name, size in PHOTOS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(size))
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def whole(folder: Path) -> dict[str, bytes]:
    """What is there under its own name."""
    return {
        name: content
        for name, content in contents(folder).items()
        if not os.path.basename(name).startswith(".sockserv-partial-")
    }


def ok(result: subprocess.CompletedProcess[bytes]) -> bytes:
    assert (result.returncode, result.stderr) == (0, b"")
    return result.stdout


def summary(result: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(ok(result).splitlines()[-1])
    return values


def root_of(daemon: Daemon) -> Path:
    return daemon.state / "files"


def test_photographs_there_and_back(daemon: Daemon, here: Path) -> None:
    before = contents(here)
    assert ok(daemon.run("put", "-r", "照片")) == b""
    assert contents(root_of(daemon)) == before
    assert ok(daemon.run("get", "-r", "照片", "back")) == b""
    assert {f"照片/{name}": data for name, data in contents(here / "back").items()} == before
    listed = ok(daemon.run("ls", "-R")).decode()
    assert "照片/été/a\\x1b[31mb.jpg\n" in listed
    assert "\x1b" not in listed
    assert summary(daemon.run("sync", "--json", "照片", "照片"))["same"] == len(PHOTOS)


def test_pipes(daemon: Daemon, here: Path) -> None:
    content = (here / "照片/大.raw").read_bytes()
    assert ok(daemon.run("put", "-", "x", input=content)) == b""
    assert ok(daemon.run("get", "x", "-")) == content
    reader = daemon.start("get", "x", "-", stdin=subprocess.DEVNULL)
    assert reader.stdout is not None
    reader.stdout.read(100_000)
    reader.stdout.close()
    assert reader.wait(DEADLINE_SECONDS) == -signal.SIGPIPE
    assert reader.stderr is not None
    assert reader.stderr.read() == b""
    reader.stderr.close()


def wait_for_partial(folder: Path) -> None:
    """Until something of a file is there, and not all of it."""

    def is_there() -> bool:
        return any(
            path.name.startswith(".sockserv-partial-") and path.stat().st_size
            for path in folder.rglob(".sockserv-partial-*")
        )

    until(is_there)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("command", ["put", "get"])
def test_interrupted_and_continued(
    daemon: Daemon, here: Path, command: str, number: signal.Signals
) -> None:
    big = here / "big"
    with big.open("wb") as file:
        file.truncate(BIG_BYTES)
    if command == "get":
        ok(daemon.run("put", "big"))
        big.unlink()
    process = daemon.start(command, "big")
    wait_for_partial(here if command == "get" else root_of(daemon))
    process.send_signal(number)
    output, errors = finish(process)
    assert process.returncode == -number
    stopped = b"Stopped. The same command goes on from here.\n"
    assert (output, errors) == (b"", b"" if number == signal.SIGKILL else stopped)
    assert "big" not in whole(here if command == "get" else root_of(daemon))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        result = daemon.run(command, "--json", "big")
        if b"files.busy" not in result.stderr:
            break
        # The daemon has not noticed yet that the other one is gone.
        assert time.monotonic() < deadline
    assert 0 < summary(result)["sent_bytes"] < BIG_BYTES
    there = (root_of(daemon) / "big").read_bytes()
    assert there == big.read_bytes() == bytes(BIG_BYTES)
    assert not [*here.rglob(".sockserv-partial-*"), *root_of(daemon).rglob(".sockserv-partial-*")]


def test_the_bar_on_a_terminal(daemon: Daemon, here: Path) -> None:
    user, terminal = pty.openpty()
    process = daemon.start("put", "-r", "照片", stderr=terminal, stdin=terminal)
    os.close(terminal)
    shown = b""
    while select.select([user], [], [], DEADLINE_SECONDS)[0]:
        try:
            shown += os.read(user, 65_536)
        except OSError:
            break
    assert finish(process)[0] == b""
    assert process.returncode == 0
    os.close(user)
    assert b"/25.5 MB" in shown
    assert b"5 done, 25.5 MB in " in shown.splitlines()[-1]
    assert b"\x1b[?25l" not in shown  # the cursor is never hidden


def test_the_daemon_is_killed(
    twistd: Callable[..., Twistd], state: Path, daemon: Daemon, here: Path
) -> None:
    big = here / "big"
    with big.open("wb") as file:
        file.truncate(BIG_BYTES)
    process = daemon.start("put", "big")
    wait_for_partial(root_of(daemon))
    daemon.twistd.process.kill()
    _, errors = finish(process)
    assert process.returncode == 5
    assert errors.startswith(b"Stopped. The same command goes on from here.\nsockserv: ")
    assert whole(root_of(daemon)) == {}
    again = Daemon(twistd("--listen", ANY_PORT, "--state", str(state)), state)
    assert 0 < summary(again.run("put", "--json", "big"))["sent_bytes"] < BIG_BYTES
    assert (root_of(again) / "big").read_bytes() == bytes(BIG_BYTES)
