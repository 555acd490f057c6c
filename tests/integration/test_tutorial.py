"""The tutorial: its programs do what it says, in both of its languages, and its code is theirs."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.conftest import DEADLINE_SECONDS, ROOT, start_process, until

PROGRAMS = ROOT / "examples" / "tutorial"
PAGES = [ROOT / "docs" / "tutorial.md", ROOT / "docs" / "tutorial.zh.md"]


def blocks(page: Path, language: str) -> list[str]:
    """What stands between the fences of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def without_numbers(text: str) -> str:
    """The text with all numbers alike: how much comes at once is another each time."""
    return re.sub(r"\d+", "0", text)


def output_of(*arguments: str | Path, environ: dict[str, str], typed: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROGRAMS,
        env=environ,
        input=typed,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def serving(*arguments: str | Path, port: int, environ: dict[str, str]) -> Iterator[None]:
    """A server among the programs, until it has been used."""
    server = start_process([sys.executable, *arguments], cwd=PROGRAMS, env=environ)

    def listens() -> bool:
        assert server.poll() is None
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True

    until(listens)
    yield
    server.terminate()
    server.wait(DEADLINE_SECONDS)


@pytest.fixture
def port() -> int:
    """One that is free, and that the system gives no connection of others until it is listened on."""
    while True:
        number = random.randrange(20_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", number)):
            return number


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_all_code_is_in_a_program(page: Path) -> None:
    programs = [path.read_text("utf-8") for path in PROGRAMS.glob("*.py")]
    shown = blocks(page, "python")
    assert len(shown) >= 4
    for block in shown:
        assert any(block in program for program in programs), block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_shown_comes_out(page: Path, environ: dict[str, str]) -> None:
    shown = {
        command: output
        for block in blocks(page, "console")
        for command, output in [block.removeprefix("$ ").split("\n", 1)]
    }
    by_themselves = [command for command in shown if len(command.split()) == 2]
    assert len(by_themselves) == 4
    for command in by_themselves:
        output = output_of(command.split()[1], environ=environ)
        assert without_numbers(output) == without_numbers(shown[command])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_both_pages_show_the_same(page: Path) -> None:
    for language in ("python", "console"):
        assert blocks(page, language) == blocks(PAGES[0], language)


def test_some_datagrams_are_lost(environ: dict[str, str]) -> None:
    last = output_of("datagrams.py", environ=environ).splitlines()[-1]
    received = re.fullmatch(r"sent: 10000, received: (\d+)", last)
    assert received is not None
    assert 0 < int(received[1]) < 10_000


def test_echo(port: int, environ: dict[str, str]) -> None:
    with serving("echo.py", "serve", str(port), port=port, environ=environ):
        answer = output_of("echo.py", "talk", str(port), environ=environ, typed="hello\n\ngrüße\n")
    assert answer == "HELLO\nGRÜSSE\n"


def test_many_clients_at_once(port: int, environ: dict[str, str]) -> None:
    with serving("many_clients.py", str(port), port=port, environ=environ):
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for client in reversed(clients):
            client.sendall(b"hello")
            assert client.recv(5, socket.MSG_WAITALL) == b"HELLO"
        for client in clients:
            client.close()
