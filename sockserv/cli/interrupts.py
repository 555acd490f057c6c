"""What Ctrl-C means while a remote command runs: once asks it to end, twice ends it, and three times leaves it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client.execution import RemoteJob

__all__ = ["Interrupts", "forget"]


class Interrupts:
    """Counts how often somebody has pressed Ctrl-C, and tells the jobs; `leave` is called when nothing has helped."""

    def __init__(self, session: Session, leave: Callable[[], None]) -> None:
        self._session = session
        self._leave = leave
        self._jobs: list[RemoteJob] = []
        self._count = 0

    def add(self, job: RemoteJob) -> None:
        """Tell this one, too; what was pressed before counts for it."""
        self._jobs.append(job)
        if self._count:
            self._tell(job)

    @property
    def has_come(self) -> bool:
        """Whether there was one at all."""
        return self._count > 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take care of Ctrl-C within this block."""
        self._session.on_signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            self._session.on_signal(signal.SIGINT, None)

    def _on_interrupt(self) -> None:
        self._count += 1
        if self._count > 2:
            self._leave()
        for job in self._jobs:
            self._tell(job)

    def _tell(self, job: RemoteJob) -> None:
        if self._count == 1:
            forget(job.signal("INT"))
        elif self._count == 2:
            forget(job.kill(force=True))


def forget(told: Deferred[Any]) -> None:
    """Wait for nothing: what has gone wrong here is seen by how the job ends."""
    told.addErrback(lambda failure: None)
