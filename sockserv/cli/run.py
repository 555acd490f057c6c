"""Running a command's work on the reactor, until it is done or a signal ends it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Mapping
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.options import Options
from sockserv.cli.output import as_json_line, printable
from sockserv.cli.process import end_by_signal, is_ignored
from sockserv.cli.stdio import Input, Output, ThreadInput, ThreadOutput

if TYPE_CHECKING:
    from sockserv.client import Client

__all__ = ["Session", "Work", "run_on_reactor"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CLEANUP_SECONDS: Final = 0.5
"""How long a command may take to end, once a signal has asked for it."""


@attrs.frozen(kw_only=True)
class Session:
    """What a command's work has to do with: the options, the daemon, the standard streams, the time."""

    options: Options
    clock: IReactorTime
    now: Callable[[], float]
    connect: Callable[[], Deferred[Client]]
    input: Input
    output: Output

    async def show(self, text: str, values: Mapping[str, Any] | None = None) -> None:
        """Write a line: `text` for people, `values` as JSON. Without values there is none in JSON.

        Raises `StreamError` and `EndedBySignal`.
        """
        if not self.options.json:
            await self.output.write(f"{printable(text)}\n".encode())
        elif values is not None:
            await self.output.write(as_json_line(values))


Work: TypeAlias = Callable[[Session], Coroutine[Any, Any, None]]


def run_on_reactor(options: Options, work: Work) -> None:
    """Connects nothing yet: calls `work` with a session, and runs the reactor until it has returned.

    Raises what the work raises, and `EndedBySignal` when a signal has ended it.
    """
    from twisted.internet import reactor as global_reactor

    from sockserv.client import connect

    reactor: Any = global_reactor

    # What the library logs is for daemons; whoever calls is told by the error.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    token = options.token()
    session = Session(
        options=options,
        clock=reactor,
        now=perf_counter,
        connect=lambda: connect(
            reactor,
            options.server,
            token=token,
            state=options.state,
            timeout_seconds=options.timeout,
        ),
        input=ThreadInput(reactor, 0, "standard input"),
        output=ThreadOutput(reactor, 1, "standard output"),
    )
    _Run(reactor, work, session).run()


class _Run:
    """One piece of work on the reactor."""

    def __init__(self, reactor: Any, work: Work, session: Session) -> None:
        self._reactor = reactor
        self._work = work
        self._session = session
        self._running: Deferred[None] | None = None
        self._failure: Failure | None = None
        self._is_done = False
        self._signal: int | None = None

    def run(self) -> None:
        for number in _SIGNALS:
            if not is_ignored(number):
                signal.signal(number, self._on_signal)
        self._reactor.callWhenRunning(self._start)
        self._reactor.run(installSignalHandlers=False)
        if self._signal is not None and not self._is_ended_well:
            raise EndedBySignal(self._signal)
        if self._failure is not None:
            self._failure.raiseException()

    @property
    def _is_ended_well(self) -> bool:
        """Whether the work has made something of the signal: Ctrl-C is how some commands are ended."""
        return self._is_done and self._failure is None and self._signal == signal.SIGINT

    def _start(self) -> None:
        self._running = Deferred.fromCoroutine(self._finish())
        self._running.addCallbacks(self._on_done, self._on_failure)

    async def _finish(self) -> None:
        await self._work(self._session)
        await self._session.output.flush()

    def _on_done(self, result: None) -> None:
        self._is_done = True
        self._stop()

    def _on_failure(self, failure: Failure) -> None:
        self._failure = failure
        self._stop()

    def _stop(self) -> None:
        # Not `stop`: that waits for the threads of the reactor's pool, and one may wait for a name server.
        self._reactor.crash()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            end_by_signal(number)
        self._signal = number
        self._reactor.callFromThread(self._interrupt)

    def _interrupt(self) -> None:
        if self._running is not None:
            self._reactor.callLater(_CLEANUP_SECONDS, self._stop)
            self._running.cancel()
