"""The guardian's process: how it is started, and that it is waited for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from sockserv import processes

__all__ = ["GuardianProcess"]

_PROGRAM: Final = """\
import sys
sys.path.append(sys.argv[1])
from sockserv.processes.main import main
main(int(sys.argv[2]), int(sys.argv[3]))
"""
"""The path is that of the package only: what else is beside it is not wanted, and costs time."""


class GuardianProcess:
    """A guardian that runs; `link` is our end of its socket, which does not block.

    Raises `OSError` when it cannot be started. Its programs may have `open_files` files open.
    """

    def __init__(self, open_files: int) -> None:
        here, there = socket.socketpair()
        try:
            here.setblocking(False)
            self._process = subprocess.Popen(
                _command(there.fileno(), open_files),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                cwd="/",
                start_new_session=True,  # so that a Ctrl-C is for the daemon
            )
        except BaseException:
            here.close()
            raise
        finally:
            there.close()
        self.link = here

    def kill(self) -> None:
        """End it by force, if it has not ended."""
        self._process.kill()

    def is_over(self) -> bool:
        """Whether it has ended, and was waited for."""
        return self._process.poll() is not None


def _command(link: int, open_files: int) -> list[str]:
    package = Path(os.path.abspath(processes.__file__)).parent.parent
    # Isolated, and without the packages that are installed: it is small, and starts in some milliseconds.
    return [
        sys.executable,
        "-I",
        "-S",
        "-c",
        _PROGRAM,
        str(package.parent),
        str(link),
        str(open_files),
    ]
