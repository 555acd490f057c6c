"""Starts programs by the guardian, which is started with the first of them, and again when it was lost."""

from __future__ import annotations

import errno
import resource
import secrets
import signal
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from sockserv.processes.starting import Launch
from sockserv.processes.table import FIRST_MARK
from sockserv.services.execution.child import Child, Program, StartFailed
from sockserv.services.execution.guardian.child import GuardedChild
from sockserv.services.execution.guardian.pipes import open_streams
from sockserv.services.execution.guardian.process import GuardianProcess
from sockserv.services.execution.guardian.session import GuardianSession, Left
from sockserv.services.execution.launching import launch_of

__all__ = ["MAX_STARTING", "GuardianSpawner"]

MAX_STARTING: Final = 32
"""So many starts are asked of the guardian at a time. The others wait, and have no descriptors yet."""

_MARK_BITS: Final = 62


@attrs.frozen(eq=False)
class _Request:
    """A program that is to be started, and who waits for that."""

    program: Program
    launch: Launch
    waiting: Deferred[Child] = attrs.field(factory=Deferred)


class GuardianSpawner:
    """See `Spawner`. Making one starts nothing.

    `reactor` offers `IReactorFDSet` and `IReactorTime`. `open_files` is how many files a program may have open where
    it has no limit of its own; None for as many as this process may at this moment, so a daemon that is going to raise
    that makes this before. `start_guardian` is for tests.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        open_files: int | None = None,
        start_guardian: Callable[[int], GuardianProcess] = GuardianProcess,
    ) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._reactor = reactor
        self._open_files = soft if open_files is None else open_files
        self._start_guardian = start_guardian
        self._session: GuardianSession | None = None
        self._requests: deque[_Request] = deque()
        self._starting = 0
        self._stopping: list[Deferred[None]] = []

    def spawn(self, program: Program) -> Deferred[Child]:
        """See `Spawner`. Fails with `StartFailed` (`ECANCELED`) between `stop` and its end."""
        if self._stopping:
            return fail(StartFailed(errno.ECANCELED, "process"))
        try:
            request = _Request(program, launch_of(program))
        except UnicodeEncodeError:
            return fail(StartFailed(errno.EILSEQ, "program"))
        self._requests.append(request)
        self._ask()
        return request.waiting

    def stop(self) -> Deferred[None]:
        """See `Spawner`. Programs may be started again when this has fired."""
        if self._session is None:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopping.append(stopped)
        if len(self._stopping) == 1:
            requests, self._requests = self._requests, deque()
            for request in requests:
                self._refuse(request, errno.ECANCELED)
            self._session.stop().addCallback(self._on_stopped)
        return stopped

    def _on_stopped(self, result: None) -> None:
        self._session = None
        stopping, self._stopping = self._stopping, []
        for stopped in stopping:
            if not stopped.called:  # it was cancelled
                stopped.callback(None)

    def _ask(self) -> None:
        """Ask for as many starts as may be under way."""
        while self._requests and self._starting < MAX_STARTING:
            request = self._requests.popleft()
            if request.waiting.called:  # it was cancelled
                continue
            try:
                self._begin(request)
            except OSError as error:
                self._refuse(request, error.errno or errno.EIO)

    def _begin(self, request: _Request) -> None:
        session = self._session or self._connect()
        streams = open_streams(self._reactor, request.program.terminal)

        def on_answer(answer: GuardedChild | StartFailed) -> None:
            self._starting -= 1
            if request.waiting.called:
                if isinstance(answer, GuardedChild):
                    answer.signal(signal.SIGKILL)
                    answer.close()
            elif isinstance(answer, GuardedChild):
                request.waiting.callback(answer)
            else:
                request.waiting.errback(answer)
            self._ask()

        self._starting += 1
        mark = FIRST_MARK + secrets.randbits(_MARK_BITS)
        session.start(request.launch, mark, streams, on_answer)

    def _refuse(self, request: _Request, number: int) -> None:
        if not request.waiting.called:
            request.waiting.errback(StartFailed(number, "process"))

    def _connect(self) -> GuardianSession:
        process = self._start_guardian(self._open_files)
        session = self._session = GuardianSession(self._reactor, process, on_lost=self._on_lost)
        return session

    def _on_lost(self, left: Left) -> None:
        """The guardian has ended, against all expectations. Another one ends what it has left."""
        self._session = None
        self._log.error(
            "the process that starts and ends jobs was lost, and {count} jobs with it",
            count=len(left.marks),
        )
        if not left.marks:
            return
        try:
            self._connect().kill_strangers(left)
        except OSError as error:
            self._log.error("what is left of them runs on: {error}", error=error)
