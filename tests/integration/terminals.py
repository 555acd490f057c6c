"""Terminals with real commands in them: what is typed at one, and all that it is told to show."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import Final, Protocol

from tests.integration.conftest import DEADLINE_SECONDS
from tests.integration.test_cli import SOCKSERV

# A session of its own, whose terminal this becomes: so that it gets the signals of one.
_TAKE_TERMINAL: Final = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Account(Protocol):
    """Somebody who types `sockserv`."""

    @property
    def environ(self) -> dict[str, str]:
        """What the command finds in its environment."""


class Terminal:
    """One with a command in it; `everything` was shown, of which `shown` was not waited for yet."""

    def __init__(
        self, account: Account, *arguments: str, size: tuple[int, int] = (100, 30)
    ) -> None:
        self._account = account
        self._master, self._slave = pty.openpty()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.everything = b""
        self.shown = b""
        self.resize(*size)
        self.start(*arguments)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The last that was started."""
        return self._processes[-1]

    def start(self, *arguments: str) -> None:
        """The same terminal has this command in it now."""
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-c", _TAKE_TERMINAL, *SOCKSERV, *arguments],
                env=self._account.environ | {"TERM": "vt220"},
                stdin=self._slave,
                stdout=self._slave,
                stderr=self._slave,
                start_new_session=True,
            )
        )

    def type(self, keys: str | bytes) -> None:
        os.write(self._master, keys if isinstance(keys, bytes) else keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: str) -> None:
        """Until the terminal shows this; what was before it is forgotten."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while text.encode() not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, (text, self.shown)
            self._read(left)
        self.shown = self.shown.partition(text.encode())[2]

    def _read(self, timeout_seconds: float) -> bool:
        if not select.select([self._master], [], [], timeout_seconds)[0]:
            return False
        piece = os.read(self._master, 65_536)
        self.everything += piece
        self.shown += piece
        return True

    @property
    def shows_keys(self) -> bool:
        """Whether it is as a shell has it, and not raw."""
        return bool(termios.tcgetattr(self._slave)[3] & termios.ECHO)

    def show_keys(self) -> None:
        attributes = termios.tcgetattr(self._slave)
        attributes[3] |= termios.ECHO
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)

    def end(self) -> int:
        """Wait for the end of the process; how it has ended. The terminal is as it was."""
        status = self.process.wait(DEADLINE_SECONDS)
        assert self.shows_keys
        while self._read(0):
            pass
        return status

    def close(self) -> None:
        """Whatever still runs here is killed."""
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(self._slave)
        os.close(self._master)
