"""Running a command's work on the reactor, until it is done or a signal ends it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cache, partial
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from sockserv.cli.complaints import DEBUG_VARIABLE
from sockserv.cli.exits import EndedBySignal
from sockserv.cli.options import Options
from sockserv.cli.process import end_by_signal, is_ignored
from sockserv.cli.session import Session, Work
from sockserv.cli.stdio import StreamError, ThreadInput, ThreadOutput
from sockserv.cli.terminal import SIGNALS, ProcessTerminal, Terminal
from sockserv.errors import ConnectError, ProfileError, UnknownServer
from sockserv.limits import Limits
from sockserv.urls import ServerUrl

if TYPE_CHECKING:
    from sockserv.client.profiles import Profiles

__all__ = ["Runner", "checked_server", "run_on_reactor"]

_CLEANUP_SECONDS: Final = 0.5
"""How long a command may take to end, once a signal has asked for it."""

_LIMITS: Final = Limits(frame_body_bytes=256 * 1024)
"""A command has its connection to itself: there is no other call that a large frame would hold up."""


def run_on_reactor(options: Options, work: Work) -> None:
    """Do `work` on the global reactor.

    Raises what the work raises, `EndedBySignal` when a signal has ended it, and `click.UsageError`
    when there is no token where the options say, or the work wants a server and what they name is none.
    """
    from twisted.internet import reactor as global_reactor

    from sockserv.client import connect
    from sockserv.client.profiles import Profiles

    reactor: Any = global_reactor
    token = options.token()
    profiles, terminal = Profiles.locate(), ProcessTerminal()
    connect_as_told = partial(
        connect, reactor, state=options.state, limits=_LIMITS, timeout_seconds=options.timeout
    )
    runner = Runner(reactor)
    # Somebody is asked once, however often a command that goes on for long has to connect again.
    password = cache(partial(_password, options, profiles, terminal))
    # Nor does what the environment names concern a command that calls no server, or makes one known.
    server = cache(partial(checked_server, options.server, profiles))
    session = Session(
        options=options,
        clock=reactor,
        now=perf_counter,
        connect=lambda: connect_as_told(server(), token=token, password=password()),
        connect_to=lambda profile, password: connect_as_told(
            str(profile.url),
            token=profile.url.token,
            user=profile.user,
            password=password,
            ca=profile.ca,
            certificate=profile.certificate,
            key=profile.key,
        ),
        connect_by_name=lambda name: connect_as_told(name, token=token),
        on_signal=runner.on_signal,
        profiles=profiles,
        terminal=terminal,
        input=ThreadInput(reactor, 0, "standard input"),
        output=ThreadOutput(reactor, 1, "standard output"),
        errors=ThreadOutput(reactor, 2, "standard error"),
    )
    _silence_the_log()
    runner.run(_do(work, session))


def checked_server(server: str | None, profiles: Profiles) -> str | None:
    """What names a server; None is the daemon of this account.

    Raises `click.UsageError` for what is neither the URL of a server nor the name of one that is known.
    """
    from sockserv.client.profiles import is_name

    if server is None:
        return None
    # A profile that cannot be read is no mistake of whoever typed its name.
    with suppress(ProfileError):
        try:
            if is_name(server):
                profiles.load(server)
            else:
                ServerUrl.parse(server)
        except (UnknownServer, ConnectError) as error:
            raise click.UsageError(str(error)) from None
    return server


def _password(options: Options, profiles: Profiles, terminal: Terminal) -> str | None:
    """The password for a server that is logged in to with one: it is stored nowhere, so somebody is asked.

    Raises what `Terminal.ask_secret` raises, and `ProfileError`.
    """
    from sockserv.client.profiles import is_name

    if options.server is None or not is_name(options.server) or options.token_file is not None:
        return None
    profile = profiles.load(options.server)
    if profile.user is None:
        return None
    return terminal.ask_secret(f"Password of {profile.user} at {profile.name}: ")


async def _do(work: Work, session: Session) -> None:
    try:
        await work(session)
    finally:
        with suppress(StreamError, EndedBySignal):
            await session.errors.flush()
        # What came before a failure has come.
        await session.output.flush()


def _silence_the_log() -> None:
    """What the library logs is for daemons; whoever typed a command is told by its errors."""
    observers = [textFileLogObserver(sys.stderr)] if os.environ.get(DEBUG_VARIABLE) else []
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False, discardBuffer=True)


class Runner:
    """Runs one piece of work on a reactor.

    The first signal cancels the work, which may use half a second to end well; the second one ends
    the process at once. The work may take care of a signal itself. `catch` makes a function the handler of a signal.
    """

    def __init__(
        self, reactor: Any, *, catch: Callable[[int, Any], object] = signal.signal
    ) -> None:
        self._reactor = reactor
        self._catch = catch
        self._running: Deferred[None] | None = None
        self._failure: Failure | None = None
        self._is_done = False
        self._signal: int | None = None
        self._taken_over: dict[int, Callable[[], None]] = {}

    def on_signal(self, number: int, function: Callable[[], None] | None) -> None:
        """Call a function when a signal comes, and do nothing else then; None takes that back.

        A signal that is ignored stays so.
        """
        if function is None:
            self._taken_over.pop(number, None)
        elif number in self._taken_over or not is_ignored(number):
            self._taken_over[number] = function
            self._catch(number, self._on_signal)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the reactor until `work` has ended. Raises what it raises, and `EndedBySignal`."""
        for number in SIGNALS:
            if not is_ignored(number):
                self._catch(number, self._on_signal)
        self._reactor.callWhenRunning(self._start, work)
        self._reactor.run(installSignalHandlers=False)
        if self._signal is not None and not self._has_ended_well:
            raise EndedBySignal(self._signal)
        if self._failure is not None:
            self._failure.raiseException()

    @property
    def _has_ended_well(self) -> bool:
        """Whether the work has made something of the signal: Ctrl-C is how some commands are ended."""
        return self._is_done and self._failure is None and self._signal == signal.SIGINT

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._running = Deferred.fromCoroutine(work)
        self._running.addCallbacks(self._on_done, self._on_failure)

    def _on_done(self, result: None) -> None:
        self._is_done = True
        self._stop()

    def _on_failure(self, failure: Failure) -> None:
        self._failure = failure
        self._stop()

    def _stop(self) -> None:
        # `stop` would wait for the threads of the reactor's pool, and one may wait for a name server.
        self._reactor.crash()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number in self._taken_over:
            self._reactor.callFromThread(self._taken_over[number])
            return
        if number not in SIGNALS:
            return
        if self._signal is not None:
            end_by_signal(number)
        self._signal = number
        self._reactor.callFromThread(self._interrupt)

    def _interrupt(self) -> None:
        if self._running is not None:
            self._reactor.callLater(_CLEANUP_SECONDS, self._stop)
            self._running.cancel()
