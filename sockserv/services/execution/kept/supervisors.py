"""Starting the supervisors of kept jobs, and connecting to those that there are."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.process import registerReapProcessHandler, unregisterReapProcessHandler

from sockserv import keeping
from sockserv.keeping.folder import JobFolder
from sockserv.keeping.messages import Order
from sockserv.services.execution.kept.link import Link, Listener, SocketLink
from sockserv.services.threads import InThread

__all__ = ["SupervisorProcesses"]

_PROGRAM: Final = """\
import sys
sys.path.insert(0, sys.argv[1])
from sockserv.keeping.main import main
main(*map(int, sys.argv[2:]))
"""
"""The package that this one is of, wherever it was found."""


class SupervisorProcesses:
    """See `Supervisors`.

    `reactor` offers `IReactorFDSet`, `in_thread` calls a blocking function in a thread. `open_files` is how many
    files a job may have open where it has no limit of its own; None for as many as this process may at this moment,
    so a daemon that is going to raise that makes this before.
    """

    def __init__(self, reactor: Any, *, in_thread: InThread, open_files: int | None = None) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._reactor = reactor
        self._in_thread = in_thread
        self._open_files = soft if open_files is None else open_files

    def start(self, order: Order, lock: int, listener: Listener) -> Deferred[Link]:
        """Start one, and give it its order; see `Supervisors`."""
        return Deferred.fromCoroutine(self._start(order, lock, listener))

    def reach(self, folder: JobFolder, listener: Listener) -> Link:
        """Connect to the one of a folder; see `Supervisors`."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setblocking(False)
            _connect(connection, folder.control)
        except BaseException:
            connection.close()
            raise
        return SocketLink(self._reactor, connection, listener)

    async def _start(self, order: Order, lock: int, listener: Listener) -> Link:
        process, connection = await self._in_thread(
            _start, JobFolder(Path(order.folder)), lock, self._open_files
        )
        _Child(process)
        link = SocketLink(self._reactor, connection, listener)
        link.send(order)
        return link


class _Child:
    """A supervisor as a child of this process: when it ends, somebody has to take note, which is the reactor."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        registerReapProcessHandler(process.pid, self)

    def reapProcess(self) -> None:
        """Some child has ended."""
        if self._process.poll() is not None:
            unregisterReapProcessHandler(self._process.pid, self)

    def processEnded(self, status: int) -> None:
        """It has ended already, and was waited for."""
        self._process.returncode = status


def _start(
    folder: JobFolder, lock: int, open_files: int
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process that holds the lock, which is closed here; blocks. Raises `OSError`."""
    try:
        here, there = socket.socketpair()
        with there:
            try:
                with open(folder.log, "xb", opener=_open_privately) as log:
                    process = subprocess.Popen(
                        _command(there.fileno(), lock, open_files),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=log,
                        pass_fds=[there.fileno(), lock],
                        cwd="/",
                        # Neither a Ctrl-C nor the end of the daemon's session is for it.
                        start_new_session=True,
                    )
            except BaseException:
                here.close()
                raise
    finally:
        os.close(lock)
    return process, here


def _command(link: int, lock: int, open_files: int) -> list[str]:
    package = Path(os.path.abspath(keeping.__file__)).parent.parent
    # It imports what is installed where this daemon runs, and nothing from the directory that it is in.
    return [
        sys.executable,
        "-P",
        "-c",
        _PROGRAM,
        str(package.parent),
        str(link),
        str(lock),
        str(open_files),
    ]


def _connect(connection: socket.socket, path: Path) -> None:
    """Connect to a socket by its path, however long that is."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = Path(f"/proc/self/fd/{folder}")
        connection.connect(str((short if short.exists() else path.parent) / path.name))
    finally:
        os.close(folder)


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
