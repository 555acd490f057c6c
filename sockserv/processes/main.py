"""The guardian as a process: its socket, and how it learns that a child has ended."""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
from contextlib import suppress
from typing import Final

from sockserv.processes.guardian import Guardian
from sockserv.processes.table import Machine, become_reaper

__all__ = ["main"]

_RECEIVED_BYTES: Final = 64 * 1024
_TOGETHER_SECONDS: Final = 0.002
"""So long a start waits to be told: small programs have ended by then, and who hears of both at once is woken once."""

_MAX_DESCRIPTORS: Final = 3
"""No message comes with more of them."""


def main(link_number: int, open_files: int) -> None:
    """Be the guardian whose socket has this number; the programs may have so many files open as `open_files` says."""
    # The programs get what most systems have, and not what a daemon has for its own files.
    os.umask(0o022)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))
    link = socket.socket(fileno=link_number)
    link.set_inheritable(False)
    wakeups = _wakeups()
    # These are for the daemon, which tells what is to be done then.
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, signal.SIG_IGN)

    def wait(seconds: float) -> None:
        if select.select([wakeups], [], [], seconds)[0]:
            _take(wakeups)

    guardian = Guardian(Machine(adopts=become_reaper()), wait=wait)
    # Nothing here makes cycles, and a fork copies less when nothing is looked at.
    gc.disable()
    gc.freeze()
    try:
        _serve(guardian, link, wakeups)
    finally:
        guardian.end()


def _wakeups() -> socket.socket:
    """A socket that can be read when a child may have ended."""
    wakeups, waking = socket.socketpair()
    wakeups.setblocking(False)
    waking.setblocking(False)
    signal.set_wakeup_fd(waking.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return wakeups


def _take(wakeups: socket.socket) -> None:
    with suppress(BlockingIOError):
        wakeups.recv(_RECEIVED_BYTES)  # more than that never fits there


def _serve(guardian: Guardian, link: socket.socket, wakeups: socket.socket) -> None:
    """Do what is asked until the daemon has gone, or wants no more."""
    link_number = link.fileno()
    poll = select.poll()
    poll.register(link, select.POLLIN)
    poll.register(wakeups, select.POLLIN)
    is_waiting = False
    while guardian.is_serving:
        seconds = _TOGETHER_SECONDS if is_waiting else guardian.next_look_seconds()
        events = dict(poll.poll(None if seconds is None else seconds * 1000))
        if link_number in events:
            guardian.receive(*_receive(link))
        if link_number not in events or len(events) > 1:
            _take(wakeups)
            guardian.look()
        # Once only: starts that come one after the other must not put each other off.
        is_waiting = guardian.is_serving and guardian.can_wait and not is_waiting
        answers = b"" if is_waiting else guardian.take_answers()
        if answers:
            with suppress(ConnectionError):  # which is noticed by reading
                link.sendall(answers)


def _receive(link: socket.socket) -> tuple[bytes, list[int]]:
    try:
        data, descriptors, _, _ = socket.recv_fds(link, _RECEIVED_BYTES, _MAX_DESCRIPTORS)
    except ConnectionError:
        return b"", []
    for descriptor in descriptors:
        # Python 3.11 takes MSG_CMSG_CLOEXEC for this, and makes nothing of it.
        os.set_inheritable(descriptor, False)
    return data, descriptors
