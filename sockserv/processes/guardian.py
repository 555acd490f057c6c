"""The guardian: the one process that starts a daemon's jobs, and that ends all of them when the daemon is gone.

It stands between them because a daemon cannot do this itself: its fork gets slower with its memory, and after a
SIGKILL it ends nobody. It is given requests, with the descriptors that a program is to have (see `messages`), and
answers. It is told of nothing else: it needs no file, and no network. When the daemon is gone, all trees get SIGTERM,
a pause, and SIGKILL, and the guardian ends, too. What is here knows no socket; see `main` for that.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from sockserv.processes.messages import Answer, Decoder, Message, Request, encode
from sockserv.processes.starting import Launch, StartError, start
from sockserv.processes.table import Processes
from sockserv.processes.trees import Trees, kill_strangers

__all__ = ["GuardedProcesses", "Guardian"]

_SHORTEST_LOOK_SECONDS: Final = 0.02
_LONGEST_LOOK_SECONDS: Final = 1.0
_GENTLE_SECONDS: Final = 2.0
_KILLING_SECONDS: Final = 5.0

_Start = Callable[[Launch, tuple[int, int, int]], int]


class GuardedProcesses(Processes, Protocol):
    """Processes that can be marked; see `Machine`."""

    def set_mark(self, mark: int) -> None:
        """Mark all that is started from now on."""


class Guardian:
    """The guardian's work for one daemon: requests in, answers out.

    `wait` blocks until a child may have ended, and so many seconds at most. `clock` is in seconds. `start` starts
    programs, see `starting`.
    """

    def __init__(
        self,
        processes: GuardedProcesses,
        *,
        wait: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
        start: _Start = start,
    ) -> None:
        self._processes = processes
        self._wait = wait
        self._clock = clock
        self._start_program = start
        self._trees = Trees(processes)
        self._decoder = Decoder()
        self._descriptors: deque[int] = deque()
        self._answers: list[bytes] = []
        self._untold_starts = 0
        self._pause_seconds = _SHORTEST_LOOK_SECONDS
        self.is_serving = True
        """Whether the daemon wants more."""

    def receive(self, data: bytes, descriptors: Iterable[int] = ()) -> None:
        """Do what is asked; the descriptors are closed when a program has them. No data is the end of the daemon."""
        self._descriptors.extend(descriptors)
        if not data:
            self.is_serving = False
        messages = self._decoder.decode(data)
        while messages:
            self._answer(messages)

    def look(self) -> None:
        """See who has ended."""
        for key, reaped in self._trees.reap():
            self._answers.append(encode(Answer.ENDED, key, reaped.code, *reaped.usage))
        self._answers += [encode(Answer.GONE, key) for key in self._trees.settle()]

    def take_answers(self) -> bytes:
        """What there is to tell."""
        answers = b"".join(self._answers)
        self._answers.clear()
        self._untold_starts = 0
        return answers

    @property
    def can_wait(self) -> bool:
        """Whether nothing else is to be told than that programs run."""
        return 0 < self._untold_starts == len(self._answers)

    def next_look_seconds(self) -> float | None:
        """When to look again though no child has ended; None for never. It is later from one time to the next."""
        if not self._trees.need_a_look:
            self._pause_seconds = _SHORTEST_LOOK_SECONDS
            return None
        pause_seconds = self._pause_seconds
        self._pause_seconds = min(pause_seconds * 1.5, _LONGEST_LOOK_SECONDS)
        return pause_seconds

    def end(self) -> None:
        """End all trees, gently at first. Blocks for some seconds at most."""
        self._trees.signal_all(signal.SIGTERM)
        self._trees.signal_all(signal.SIGCONT)  # or a stopped one would not notice
        self._wait_for_end(_GENTLE_SECONDS)
        self._kill()

    def _kill(self) -> None:
        self._trees.signal_all(signal.SIGKILL)
        self._wait_for_end(_KILLING_SECONDS)

    def _wait_for_end(self, seconds: float) -> None:
        deadline = self._clock() + seconds
        while self._trees or self._trees.need_a_look:
            left = deadline - self._clock()
            if left <= 0:
                return
            self._wait(min(left, _SHORTEST_LOOK_SECONDS))
            self.look()

    def _answer(self, messages: list[Message]) -> None:
        """Do what the first message says, and take it away."""
        kind, *fields = messages.pop(0)
        if kind == Request.START:
            self._start(*fields)
        elif kind == Request.SIGNAL:
            key, number = fields
            keys = [key]
            # Many jobs are often ended at the same time, and to look for the processes of all takes as long as for
            # those of one.
            while messages and messages[0][0] == Request.SIGNAL and messages[0][2] == number:
                keys.append(messages.pop(0)[1])
            self._trees.signal_each(keys, number)
        elif kind == Request.KILL_STRANGERS:
            kill_strangers(self._processes, *fields)
        elif kind == Request.STOP:
            self._kill()
            self.is_serving = False

    def _start(self, key: int, mark: int, count: int, *fields: object) -> None:
        """Start a program with the next descriptors: three, or one that is a terminal."""
        descriptors = [self._descriptors.popleft() for _ in range(count)]
        self._processes.set_mark(mark)
        try:
            stdin, stdout, stderr = descriptors * (3 // count)
            launch = Launch(*fields)  # type: ignore[arg-type]  # they came by `marshal`
            pid = self._start_program(launch, (stdin, stdout, stderr))
        except StartError as error:
            self._answers.append(encode(Answer.FAILED, key, error.errno, error.what))
        else:
            self._trees.add(key, pid, mark=mark)
            self._answers.append(encode(Answer.STARTED, key, pid))
            self._untold_starts += 1
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
