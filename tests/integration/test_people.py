"""Letting people in, as it is typed: two accounts, which are two directories each, and real daemons and commands."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from sockserv.client.profiles import Profiles
from sockserv.state import StateDirectory
from tests.integration.conftest import ANY_PORT, DEADLINE_SECONDS, Twistd, until
from tests.integration.test_cli import SOCKSERV, environment
from tests.test_atomic import files_of_at_most

QUESTION: Final = b"Invitation (it is not shown): "


class Account:
    """Somebody on this machine: where their logins are, and perhaps their daemon's state."""

    def __init__(self, config: Path, state: Path) -> None:
        self.profiles = Profiles(config / "servers")
        self._environ = environment(SOCKSERV_CONFIG=str(config), SOCKSERV_STATE=str(state))

    def run(self, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """The result of `sockserv` with these arguments."""
        return subprocess.run(
            [*SOCKSERV, *arguments],
            env=self._environ,
            input=input,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def succeed(self, *arguments: str, input: str = "") -> str:
        """What `sockserv` with these arguments prints, when there is nothing to complain about."""
        result = self.run(*arguments, input=input)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`sockserv` with these arguments, running, with pipes for its output and errors."""
        return subprocess.Popen(
            [*SOCKSERV, *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def start_on(self, terminal: int, *arguments: str) -> subprocess.Popen[bytes]:
        """`sockserv` with a terminal of its own for all its streams."""

        def become_its_leader() -> None:
            os.setsid()
            os.close(os.open(os.ttyname(terminal), os.O_RDWR))

        return subprocess.Popen(
            [*SOCKSERV, *arguments],
            env=self._environ,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            preexec_fn=become_its_leader,
        )


class Screen:
    """A terminal, with what is on it so far."""

    def __init__(self) -> None:
        self._user, self.terminal = pty.openpty()
        os.set_blocking(self._user, False)
        self._shown = b""

    @property
    def shown(self) -> bytes:
        """All that was shown."""
        try:
            while piece := os.read(self._user, 65_536):
                self._shown += piece
        except BlockingIOError:
            pass
        return self._shown

    def has_echo(self) -> bool:
        """Whether what is typed is shown."""
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)

    def type(self, text: bytes) -> None:
        os.write(self._user, text)

    def close(self) -> None:
        os.close(self._user)
        os.close(self.terminal)


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    screen.close()


@pytest.fixture
def owner(tmp_path: Path, state: Path) -> Account:
    """The account that the daemon on `state` belongs to."""
    return Account(tmp_path / "owner's config", state)


@pytest.fixture
def alice(tmp_path: Path) -> Account:
    """Another account, without a daemon."""
    return Account(tmp_path / "alice's config", tmp_path / "no state")


@pytest.fixture
def url(twistd: Callable[..., Twistd], state: Path) -> str:
    """A daemon's URL on loopback, with the owner's token."""
    daemon = twistd("--listen", ANY_PORT, "--state", str(state))
    (url,) = daemon.wait_until_listening(state).listening
    return f"{url}/?token={StateDirectory(state).owner_token()}"


class TestTheQuestion:
    def test_it_is_answered(self, alice: Account, screen: Screen, url: str) -> None:
        process = alice.start_on(screen.terminal, "login", "--name", "lab1")
        until(lambda: QUESTION in screen.shown)
        assert not screen.has_echo()
        screen.type(f"{url}\n".encode())
        assert process.wait(DEADLINE_SECONDS) == 0
        assert screen.has_echo()
        assert b"lab1 is tcp://127.0.0.1:" in screen.shown
        assert url.rpartition("=")[2].encode() not in screen.shown
        assert alice.succeed("--server", "lab1", "echo", "hi") == "hi\n"

    @pytest.mark.parametrize(
        ("typed", "status"), [(b"\x03", -signal.SIGINT), (b"\x04", 2), (b"\n", 2), (b"\xff\n", 2)]
    )
    def test_it_is_not(self, alice: Account, screen: Screen, typed: bytes, status: int) -> None:
        process = alice.start_on(screen.terminal, "login", "--name", "lab1")
        until(lambda: QUESTION in screen.shown)
        screen.type(typed)
        assert process.wait(DEADLINE_SECONDS) == status
        assert screen.has_echo()
        assert b"Traceback" not in screen.shown
        assert alice.profiles.names() == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_leaves_the_terminal_as_it_was(
        self, alice: Account, screen: Screen, number: signal.Signals
    ) -> None:
        process = alice.start_on(screen.terminal, "login")
        until(lambda: QUESTION in screen.shown)
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == -number
        assert screen.has_echo()


class TestTheProfiles:
    def test_the_reader_of_the_list_goes_away(self, alice: Account, url: str) -> None:
        alice.succeed("login", "--name", "lab1", input=url)
        process = alice.start("servers")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(DEADLINE_SECONDS) == -signal.SIGPIPE
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.read() == b""

    def test_a_full_disk(self, alice: Account, url: str) -> None:
        with files_of_at_most(50):
            result = alice.run("login", "--name", "lab1", input=url)
        assert (result.returncode, result.stdout) == (1, "")
        assert re.fullmatch(r"sockserv: cannot write .*lab1.toml: file too large\n", result.stderr)
        assert alice.profiles.names() == []
        alice.succeed("login", "--name", "lab1", input=url)
        assert alice.succeed("--server", "lab1", "echo", "hi") == "hi\n"
