"""A kept job, as the daemon knows it: by its supervisor while that lives, and by its folder after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import Unavailable
from sockserv.execution.arguments import AttachArguments
from sockserv.execution.errors import JobNotFound, JobRunning, NoTerminal
from sockserv.execution.outcome import Job, KillReason, Outcome
from sockserv.keeping.messages import (
    Ended,
    InputOpened,
    InputTaken,
    Kill,
    Message,
    Order,
    Progress,
    Resize,
    Running,
    Signal,
    Watch,
)
from sockserv.services.api import Call
from sockserv.services.execution.kept.attaching import attach
from sockserv.services.execution.kept.bell import Bell
from sockserv.services.execution.kept.finding import Found, look_at
from sockserv.services.execution.kept.link import Link, Supervisors
from sockserv.services.execution.kept.standard_input import StandardInput
from sockserv.services.threads import InThread

__all__ = ["SupervisedJob", "Surroundings"]

_RETRY_SECONDS: Final = 1.0


@attrs.frozen(kw_only=True)
class Surroundings:
    """What all kept jobs of a daemon have in common.

    `clock` is the time of day, too; `in_thread` calls a blocking function in a thread. `on_end` is called with a job
    that has ended, `on_removed` with one that was removed.
    """

    clock: IReactorTime
    supervisors: Supervisors
    in_thread: InThread
    on_end: Callable[[SupervisedJob], None]
    on_removed: Callable[[SupervisedJob], None]


class SupervisedJob:
    """A kept job; see `KeptJob` of `sockserv.services.execution.reaching`.

    It is made of what was found in its folder: call `begin` for one that is to be started now, `reach` for one whose
    supervisor lives.
    """

    _log = Logger()

    def __init__(self, found: Found, surroundings: Surroundings) -> None:
        self.folder = found.folder
        self.record = found.record
        self.ended = found.ended
        # A clock that was wrong keeps nothing for ever.
        self.ended_at = min(found.ended_at, surroundings.clock.seconds())
        self.stdin_bytes = 0
        self.stdout_bytes = found.stdout_bytes
        self.stderr_bytes = found.stderr_bytes
        self.pid = found.record.pid
        self.stdin = StandardInput(self._say)
        self._surroundings = surroundings
        self._link: Link | None = None
        self._news = Bell()
        self._gone = Bell()
        self._has_watch = False
        self._kill: Kill | None = None
        self._is_let_go = False
        self._is_removed = False
        self._finding_out: Deferred[None] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Whose job it is, and its name."""
        return self.record.identity, self.record.job

    @property
    def expires_at(self) -> float | None:
        """When it is to be removed, in seconds since 1970; None while it runs."""
        return None if self.ended is None else self.ended_at + self.record.expiry_seconds

    @property
    def kept_bytes(self) -> int:
        """How much of the disk it has, or may come to have."""
        return (
            self.record.spool_bytes if self.ended is None else self.stdout_bytes + self.stderr_bytes
        )

    # For the service

    def describe(self) -> Job:
        """What is told of it in a list."""
        if self.ended is None:
            # It is in memory: these files are written to.
            self.note_sizes(*self.folder.spooled_bytes())
        ended, record = self.ended, self.record
        return Job(
            job=record.job,
            identity=record.identity,
            command=record.command,
            rule=record.rule,
            is_kept=True,
            started_at=record.started_at,
            has_terminal=record.has_terminal,
            pid=self.pid if ended is None else None,
            stdin_bytes=self.stdin_bytes if ended is None else ended.stdin_bytes,
            stdout_bytes=self.stdout_bytes,
            stderr_bytes=self.stderr_bytes,
            outcome=ended,
            expires_at=self.expires_at,
        )

    async def outcome(self) -> Outcome:
        """How it has ended, when it has; lost, when nobody can tell. Raises `Unavailable` when the server goes."""
        while self.ended is None:
            await self._hear()
        return self.ended

    async def kill(self, *, force: bool) -> Outcome:
        """End it, by the graded stop or at once by force; how it has ended then. Raises what `outcome` raises."""
        if self.ended is None:
            self._end_for(KillReason.CANCELLED, force=force)
        return await self.outcome()

    async def signal(self, number: int) -> None:
        """Send a signal to all its processes; does nothing when none is left. Raises `Unavailable`."""
        self._say_now(Signal(number))

    async def resize(self, columns: int, rows: int) -> None:
        """Tell its terminal the size. Raises `NoTerminal` and `Unavailable`."""
        if not self.record.has_terminal:
            raise NoTerminal(f"the job {self.record.job} has no terminal")
        self._say_now(Resize(columns, rows))

    async def attach(self, call: Call[AttachArguments]) -> Outcome:
        """Answer a call with its output from the offsets on, and its outcome; see `attaching.attach`."""
        return await attach(self, call)

    async def remove(self) -> None:
        """Forget it, with its output. Raises `JobRunning`, and `JobNotFound` when somebody else is doing that."""
        if self.ended is None:
            raise JobRunning(f"the job {self.record.job} still runs: end it first")
        if self._is_removed:
            raise JobNotFound(f"there is no job {self.record.job} any more")
        self._is_removed = True
        try:
            await self._surroundings.in_thread(self.folder.remove)
        except BaseException:
            self._is_removed = False
            raise
        self._surroundings.on_removed(self)

    # For who is attached

    def note_sizes(self, stdout_bytes: int, stderr_bytes: int) -> None:
        """It was seen that it has written so much, or more."""
        if self.ended is None:
            self.stdout_bytes = max(self.stdout_bytes, stdout_bytes)
            self.stderr_bytes = max(self.stderr_bytes, stderr_bytes)

    async def more(self) -> None:
        """Wait until it has written more than is known, or has ended. Raises `Unavailable` when the server goes."""
        if not self._has_watch:
            self._has_watch = True
            self._say(Watch(self.stdout_bytes, self.stderr_bytes))
        await self._hear()

    # For who has all jobs

    async def begin(self, order: Order, lock: int) -> None:
        """Start its supervisor, and wait until it runs, or has ended already. Raises `OSError` when there is none then.

        `lock` is closed. Cancelling it does not end the job.
        """
        self._link = await self._surroundings.supervisors.start(order, lock, self)
        if self._is_let_go:
            self._link.close()
        while self.pid is None and self.ended is None:
            await self._hear()

    def reach(self) -> None:
        """Connect to its supervisor, or find out what has become of that."""
        try:
            self._link = self._surroundings.supervisors.reach(self.folder, self)
        except OSError:
            self.on_lost()

    def revoke(self) -> None:
        """End it because its owner may not run it any more."""
        self._end_for(KillReason.REVOKED)

    def let_go(self) -> Deferred[None]:
        """Leave it alone from now on: the server goes. Whoever waits gets `Unavailable`. Fires when it is done."""
        self._is_let_go = True
        if self._finding_out is not None:
            self._finding_out.cancel()
        self._news.ring()
        if self._link is None:
            return succeed(None)
        gone = self._gone.heard()
        self._link.close()
        return gone

    def discard(self) -> None:
        """End it by force, and remove it: nobody wants it any more."""
        discarding = Deferred.fromCoroutine(self._discard())
        discarding.addErrback(self._log_failure)

    async def _discard(self) -> None:
        try:
            await self.kill(force=True)
            await self.remove()
        except (Unavailable, JobNotFound):
            pass  # the server goes, or somebody else has removed it

    # For the link

    def on_message(self, message: Message) -> None:
        """The supervisor has said something."""
        match message:
            case Running():
                self.pid = message.pid
                self.stdin_bytes = message.stdin_bytes
                self._has_watch = False
                self.note_sizes(message.stdout_bytes, message.stderr_bytes)
                if self._kill is not None:
                    self._say(self._kill)
                self._news.ring()
            case Progress():
                self._has_watch = False
                self.note_sizes(message.stdout_bytes, message.stderr_bytes)
                self._news.ring()
            case InputOpened():
                self.stdin.on_opened(message)
            case InputTaken():
                self.stdin_bytes = message.stdin_bytes
                self.stdin.on_taken(message)
            case Ended():
                self._end(message.outcome, self._surroundings.clock.seconds())

    def on_lost(self) -> None:
        """The connection is gone."""
        self._link = None
        self.stdin.on_lost()
        self._gone.ring()
        if self.ended is None and not self._is_let_go:
            self._finding_out = Deferred.fromCoroutine(self._find_out())
            self._finding_out.addErrback(self._log_failure)

    async def _find_out(self) -> None:
        """See what has become of the supervisor, and connect again if it lives."""
        around = self._surroundings
        while True:
            try:
                found: Found = await around.in_thread(look_at, self.folder, self.record)
                if found.ended is not None:
                    self._end(found.ended, min(found.ended_at, around.clock.seconds()))
                    return
                # Not at once: one with which nobody can talk would be tried all the time.
                await deferLater(around.clock, _RETRY_SECONDS)
                self._link = around.supervisors.reach(self.folder, self)
            except OSError as error:
                self._log.warn("a kept job cannot be reached: {why}", why=error)
                await deferLater(around.clock, _RETRY_SECONDS)
            else:
                return

    def _end(self, outcome: Outcome, at: float) -> None:
        if self.ended is None:
            self.ended, self.ended_at = outcome, at
            self.stdout_bytes, self.stderr_bytes = outcome.stdout_bytes, outcome.stderr_bytes
            self.stdin.on_lost()
            self._surroundings.on_end(self)
            self._news.ring()
        if self._link is not None:
            self._link.close()

    def _end_for(self, reason: KillReason, *, force: bool = False) -> None:
        # Kept: if the connection is just being made again, it is said then.
        self._kill = Kill(reason=reason, force=force)
        self._say(self._kill)

    async def _hear(self) -> None:
        if self._is_let_go:
            raise Unavailable("the server is going away; the job goes on, and can be found again")
        await self._news.heard()

    def _say(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)

    def _say_now(self, message: Message) -> None:
        if self.ended is None and self._link is None:
            raise Unavailable(f"the job {self.record.job} cannot be reached now: try again")
        self._say(message)

    def _log_failure(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("it cannot be found out what has become of a kept job", failure)
