"""The guardian: the one process that starts a daemon's jobs, and that ends all of them when the daemon is gone.

It stands between them because a daemon cannot do this itself: its fork gets slower with its memory, and after a SIGKILL it ends
nobody. It is given requests on a socket, with the descriptors that a program is to have (see `messages`), and answers there. It
is told of nothing else: it needs no file, and no network. When the socket ends, so did the daemon: then all trees get
SIGTERM, a pause, and SIGKILL, and the guardian ends, too.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Final

from sockserv.processes.messages import Answer, Decoder, Message, Request, encode
from sockserv.processes.starting import Launch, StartError, start
from sockserv.processes.table import Machine, become_reaper
from sockserv.processes.trees import Trees, kill_strangers

__all__ = ["MAX_DESCRIPTORS", "Guardian", "main"]

MAX_DESCRIPTORS: Final = 3
"""No message comes with more of them."""

_RECEIVED_BYTES: Final = 64 * 1024
_SHORTEST_LOOK_SECONDS: Final = 0.02
_LONGEST_LOOK_SECONDS: Final = 1.0
_GENTLE_SECONDS: Final = 2.0
_KILLING_SECONDS: Final = 5.0


class Guardian:
    """The guardian's work, for one daemon, on this socket. Blocks."""

    def __init__(self, link: socket.socket, machine: Machine, wakeups: socket.socket) -> None:
        self._link = link
        self._machine = machine
        self._wakeups = wakeups
        self._trees = Trees(machine)
        self._decoder = Decoder()
        self._descriptors: deque[int] = deque()
        self._answers: list[bytes] = []
        self._pause_seconds = _SHORTEST_LOOK_SECONDS
        self._is_serving = True

    def serve(self) -> None:
        """Do what is asked until the daemon has gone, or wants no more."""
        link = self._link.fileno()
        poll = select.poll()
        poll.register(link, select.POLLIN)
        poll.register(self._wakeups, select.POLLIN)
        while self._is_serving:
            events = dict(poll.poll(self._timeout_milliseconds()))
            if link in events:
                self._receive()
            if link not in events or len(events) > 1:
                self._look()
            self._send()

    def end(self) -> None:
        """End all trees, gently at first."""
        self._trees.signal_all(signal.SIGTERM)
        self._trees.signal_all(signal.SIGCONT)  # or a stopped one would not notice
        self._wait_for_end(_GENTLE_SECONDS)
        self._trees.signal_all(signal.SIGKILL)
        self._wait_for_end(_KILLING_SECONDS)

    def kill(self) -> None:
        """End all trees at once."""
        self._trees.signal_all(signal.SIGKILL)
        self._wait_for_end(_KILLING_SECONDS)

    def _wait_for_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._trees or self._trees.need_a_look:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            select.select([self._wakeups], [], [], min(left, _SHORTEST_LOOK_SECONDS))
            self._look()

    def _timeout_milliseconds(self) -> float | None:
        if not self._trees.need_a_look:
            self._pause_seconds = _SHORTEST_LOOK_SECONDS
            return None
        self._pause_seconds = min(self._pause_seconds * 1.5, _LONGEST_LOOK_SECONDS)
        return self._pause_seconds * 1000

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._link, _RECEIVED_BYTES, MAX_DESCRIPTORS)
        except ConnectionError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            # Python 3.11 takes MSG_CMSG_CLOEXEC for this, and makes nothing of it.
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        if not data:
            self._is_serving = False
        messages = self._decoder.decode(data)
        while messages:
            self._answer(messages)

    def _answer(self, messages: list[Message]) -> None:
        """Do what the first message says, and take it away."""
        kind, *fields = messages.pop(0)
        if kind == Request.START:
            self._start(*fields)
        elif kind == Request.SIGNAL:
            key, number = fields
            keys = [key]
            # Many jobs are often ended at the same time, and to look for the processes of all takes as long as for those of one.
            while messages and messages[0][0] == Request.SIGNAL and messages[0][2] == number:
                keys.append(messages.pop(0)[1])
            self._trees.signal_each(keys, number)
        elif kind == Request.KILL_STRANGERS:
            kill_strangers(self._machine, *fields)
        elif kind == Request.STOP:
            self.kill()
            self._is_serving = False

    def _start(self, key: int, mark: int, count: int, *fields: object) -> None:
        """Start a program with the next descriptors: three, or one that is a terminal."""
        descriptors = [self._descriptors.popleft() for _ in range(count)]
        self._machine.set_mark(mark)
        try:
            stdin, stdout, stderr = descriptors * (3 // count)
            pid = start(Launch(*fields), (stdin, stdout, stderr))  # type: ignore[arg-type]  # they came by `marshal`
        except StartError as error:
            self._answers.append(encode(Answer.FAILED, key, error.errno, error.what))
        else:
            self._trees.add(key, pid, mark=mark)
            self._answers.append(encode(Answer.STARTED, key, pid))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _look(self) -> None:
        """See who has ended."""
        with suppress(BlockingIOError):
            self._wakeups.recv(_RECEIVED_BYTES)  # more than that never fits there
        for key, reaped in self._trees.reap():
            self._answers.append(encode(Answer.ENDED, key, reaped.code, *reaped.usage))
        self._answers += [encode(Answer.GONE, key) for key in self._trees.settle()]

    def _send(self) -> None:
        if not self._answers:
            return
        answers = b"".join(self._answers)
        self._answers.clear()
        with suppress(ConnectionError):  # which is noticed by reading
            self._link.sendall(answers)


def main(link_number: int, open_files: int) -> None:
    """Be the guardian whose socket has this number; the programs may have so many files open as `open_files` says."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, most))
    link = socket.socket(fileno=link_number)
    link.set_inheritable(False)
    wakeups, waking = socket.socketpair()
    for one in wakeups, waking:
        one.setblocking(False)
    signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    # These are for the daemon, which tells what is to be done then.
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, signal.SIG_IGN)
    guardian = Guardian(link, Machine(adopts=become_reaper()), wakeups)
    # Nothing here makes cycles, and a fork copies less when nothing is looked at.
    gc.disable()
    gc.freeze()
    try:
        guardian.serve()
    finally:
        guardian.end()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
