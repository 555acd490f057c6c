"""The protocol's document suffices to write a client: examples/minimal_client.py against the real daemon."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, ROOT, Twistd

CLIENT = ROOT / "examples" / "minimal_client.py"
MAX_LINES = 120

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def daemon(twistd: Callable[..., Twistd], state: Path, tmp_path: Path) -> tuple[str, ...]:
    """The URLs of a daemon: TCP, and a Unix socket."""
    listen = ("--listen", ANY_PORT, "--listen", f"unix:{tmp_path / 'socket'}")
    return twistd("--state", str(state), *listen).wait_until_listening(state).listening


@pytest.fixture
def run(environ: dict[str, str]) -> Run:
    def run(
        *arguments: str | Path, data: bytes = b"", **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            # Isolated: neither the checkout nor any installed package is in reach.
            [sys.executable, "-I", "-S", CLIENT, *arguments],
            input=data,
            capture_output=True,
            timeout=DEADLINE_SECONDS,
            env=environ | variables,
            check=False,
        )

    return run


def test_it_is_small_and_stands_alone() -> None:
    source = CLIENT.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            assert all(alias.name in sys.stdlib_module_names for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3 * 1024 * 1024])
def test_an_echo(daemon: tuple[str, ...], state: Path, run: Run, size: int) -> None:
    data = random.Random(size).randbytes(size)
    done = run(daemon[0], state / "owner-token", data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_the_token_of_the_state_directory(daemon: tuple[str, ...], state: Path, run: Run) -> None:
    for url in daemon:
        done = run(url, data=b"hello", SOCKSERV_STATE=str(state))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")


def test_a_wrong_token(daemon: tuple[str, ...], tmp_path: Path, run: Run) -> None:
    (tmp_path / "token").write_text("wrong\n")
    done = run(daemon[0], tmp_path / "token", data=b"hello")
    assert done.returncode == 1
    assert done.stdout == b""
    assert done.stderr == b"authentication-failed: the token is not valid here\n"
