"""The beginning and the end of a supervisor's process: from its order to its job, or to why there is none."""

from __future__ import annotations

import os
import resource
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from sockserv.execution.outcome import Outcome
from sockserv.execution.starting import failed_to_start
from sockserv.keeping.channels import Channels, open_channels
from sockserv.keeping.conversation import Conversation
from sockserv.keeping.folder import JobFolder
from sockserv.keeping.messages import Decoder, Ended, Order, encode
from sockserv.keeping.record import write_outcome, write_record
from sockserv.keeping.spool import Spool
from sockserv.keeping.supervisor import Supervisor
from sockserv.processes.starting import StartError, start
from sockserv.processes.table import Machine, become_reaper
from sockserv.processes.trees import Trees

__all__ = ["main"]

_READ_BYTES: Final = 64 * 1024
_BACKLOG: Final = 16


def main(link_number: int, lock_number: int, open_files: int) -> None:
    """Be a supervisor. Blocks until the job has ended.

    The daemon is at the other end of the socket with the first number; the second is that of the folder's lock, which
    is held as long as this process lives. The job may have so many files open as `open_files` says.
    """
    os.set_inheritable(lock_number, False)
    link = socket.socket(fileno=link_number)
    link.set_inheritable(False)
    # The programs get what most systems have, and not what a daemon has for its own files.
    os.umask(0o022)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))
    decoder = Decoder()
    order = _receive_order(link, decoder)
    if order is None:
        return
    folder = JobFolder(Path(order.folder))
    try:
        supervisor = _start(order, folder)
    except StartError as error:
        _tell(folder, link, _failed(order, error))
        return
    supervisor.join(Conversation(link, decoder))
    try:
        supervisor.run()
    except BaseException:
        supervisor.kill()
        raise
    finally:
        supervisor.close()


def _receive_order(link: socket.socket, decoder: Decoder) -> Order | None:
    """What is to be done; None when the daemon has gone before it said that."""
    while data := link.recv(_READ_BYTES):
        for message in decoder.feed(data):
            assert isinstance(message, Order), "it is the first of all messages"
            return message
    return None


def _start(order: Order, folder: JobFolder) -> Supervisor:
    """Start the job. Raises `StartError`."""
    channels: Channels | None = None
    try:
        wakeups = _open_wakeups()
        listener = _listen(folder)
        spool = Spool(folder, limit_bytes=order.record.spool_bytes)
        size = (order.columns, order.rows) if order.record.has_terminal else None
        channels = open_channels(size)
    except OSError as error:
        raise StartError(error.errno or 0, "folder of the job") from error
    machine = Machine(adopts=become_reaper())
    machine.set_mark(order.record.mark)
    try:
        pid = start(order.launch, channels.of_job)
    except StartError:
        channels.close()
        raise
    channels.close_those_of_job()
    trees = Trees(machine)
    supervisor = Supervisor(
        order, folder, channels, pid, trees, spool, listener=listener, wakeups=wakeups
    )
    with suppress(OSError):  # it is of use only for people who look there
        write_record(folder, attrs.evolve(order.record, pid=pid))
    return supervisor


def _open_wakeups() -> socket.socket:
    """What can be read when a signal has come to this process."""
    wakeups, waking = socket.socketpair()
    for one in wakeups, waking:
        one.setblocking(False)
    signal.set_wakeup_fd(waking.detach(), warn_on_full_buffer=False)
    for number in signal.SIGCHLD, signal.SIGTERM:
        signal.signal(number, lambda number, frame: None)
    for number in signal.SIGINT, signal.SIGHUP, signal.SIGPIPE:
        signal.signal(number, signal.SIG_IGN)
    return wakeups


def _listen(folder: JobFolder) -> socket.socket:
    """Listen in the folder of the job: by a short path, as the system has no long ones for sockets."""
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(folder.path)
    try:
        listener.bind(folder.control.name)
    finally:
        os.chdir("/")
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _failed(order: Order, error: StartError) -> Outcome:
    return failed_to_start(
        errno=error.errno,
        what=error.what,
        program=os.fsdecode(order.launch.arguments[0]),
        directory=os.fsdecode(order.launch.directory),
        job=order.record.job,
        rule=order.record.rule,
    )


def _tell(folder: JobFolder, link: socket.socket, outcome: Outcome) -> None:
    """Say that there is nothing to look after."""
    with suppress(OSError):  # a daemon that is gone finds it on the disk, if that has room
        write_outcome(folder, outcome)
    with suppress(OSError):
        link.sendall(encode(Ended(outcome)))
