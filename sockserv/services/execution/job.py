"""One job whose caller waits, from what was asked to how it has ended.

Invariants:

1. There is one outcome, and it is told once: to the caller, to all who wait for it, and to the audit log.
2. A caller that is gone, or has given up, ends the job, and is not waited for. The job is waited for, all the same.
3. That it has not begun is said only of a job whose start was never asked for: what was asked for may have run before
   anybody hears of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred

from sockserv.errors import CallCancelled, ConnectionEnded, DeadlineExceeded, PermissionDenied
from sockserv.execution.arguments import RunArguments
from sockserv.execution.errors import NoTerminal, OutcomeUnknown
from sockserv.execution.outcome import Job, KillReason, Outcome, OutcomeKind
from sockserv.execution.signals import name_of_signal
from sockserv.execution.starting import failed_to_start
from sockserv.limits import ExecutionLimits
from sockserv.services.api import Call
from sockserv.services.execution.awaited import Awaited
from sockserv.services.execution.child import Child, StartFailed
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.running import Ended, RunningChild

__all__ = ["LiveJob", "Start"]

_ENDING: Final = frozenset({SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGKILL})
"""Signals that end a job which has not begun; any other waits until it has."""

_REASONS: Final = {
    CallCancelled: KillReason.CANCELLED,
    DeadlineExceeded: KillReason.CANCELLED,
    PermissionDenied: KillReason.REVOKED,
    ConnectionEnded: KillReason.DISCONNECT,
}


@attrs.frozen
class Start:
    """What starting a job takes, in this order; any of it may wait, and be cancelled.

    `decide` says what is to be run. `enter` waits for room, and says whether it had to; `leave` gives it back. `spawn`
    starts it.
    """

    decide: Callable[[], Awaitable[Decision]]
    enter: Callable[[], Awaitable[bool]]
    leave: Callable[[], None]
    spawn: Callable[[Decision], Awaitable[Child]]


class LiveJob:
    """A job whose streams are those of the call `call`; see `ReachableJob`.

    `name` is what it is called by its owner, whose name is `identity`.
    """

    def __init__(self, call: Call[RunArguments], name: str, limits: ExecutionLimits) -> None:
        self.identity = call.identity.name
        self.name = name
        self._call = call
        self._limits = limits
        self._asked_at = call.clock.seconds()
        self._decision: Decision | None = None
        # All of it, from the decision to the outcome; it is cancelled only before a child was asked for.
        self._life: Deferred[None] | None = None
        self._is_starting = False
        self._running: RunningChild | None = None
        self._begun: Awaited[None] = Awaited()
        # Why it is ended before it is known to run.
        self._early_reason: KillReason | None = None
        self._is_forced = False
        self._early_signal: int | None = None
        self._outcome: Awaited[Outcome] = Awaited()

    # For the caller

    async def answer(self, start: Start) -> Outcome:
        """Run the command, and wait for how it ends, though the call may end before: then `CancelledError` is raised.

        Raises what `start` raises, and `OutcomeUnknown`.
        """
        self._life = Deferred.fromCoroutine(self._live(start)).addBoth(self._outcome.tell)
        while True:
            try:
                outcome = await self._outcome.wait()
            except CancelledError:
                if self._outcome.is_known:
                    raise
                self._desert()
            else:
                break
        self._call.note(job=self.name, outcome=str(outcome), seconds_run=outcome.seconds)
        if self._call.ended_by is not None:
            raise CancelledError
        return outcome

    # For everybody

    def describe(self) -> Job:
        """What is told of it in a list."""
        decision, running = self._decision, self._running
        return Job(
            job=self.name,
            identity=self.identity,
            command="" if decision is None else decision.command,
            rule="" if decision is None else decision.rule,
            is_kept=False,
            started_at=self._asked_at if running is None else running.started_at,
            has_terminal=self._call.args.terminal is not None,
            pid=None if running is None else running.child.pid,
            stdin_bytes=0 if running is None else running.child.stdin.written_bytes,
            stdout_bytes=0 if running is None else running.stdout_bytes,
            stderr_bytes=0 if running is None else running.stderr_bytes,
        )

    def outcome(self) -> Deferred[Outcome]:
        """How it has ended, when it has. Raises what `answer` raises."""
        return self._outcome.wait()

    def stop(self, reason: KillReason, *, force: bool = False) -> None:
        """End it for a reason, by the graded stop or at once by force."""
        if self._outcome.is_known:
            return
        if self._running is not None:
            self._running.stop(reason, force=force)
        elif self._life is not None:
            self._early_reason = self._early_reason or reason
            self._is_forced = self._is_forced or force
            if not self._is_starting:
                self._life.cancel()

    def kill(self, *, force: bool) -> Deferred[Outcome]:
        """End it because somebody wants that; how it has ended then."""
        self.stop(KillReason.CANCELLED, force=force)
        return self._outcome.wait()

    async def signal(self, number: int) -> None:
        """Send a signal to all its processes. One that has not begun yet ends by one that would end most programs."""
        if not self._begun.is_known:
            if number in _ENDING and self._life is not None and not self._is_starting:
                self._early_signal = number
                self._life.cancel()
                return
            await self._begun.wait()
        if self._running is not None:
            self._running.child.signal(number)

    async def resize(self, columns: int, rows: int) -> None:
        """Tell its terminal the size."""
        if self._call.args.terminal is None:
            raise NoTerminal(f"the job {self.name} has no terminal", details={"job": self.name})
        await self._begun.wait()
        if self._running is not None:
            self._running.child.resize(columns, rows)

    def _desert(self) -> None:
        """The caller does not wait any more."""
        ended_by = self._call.ended_by
        reasons = (reason for kind, reason in _REASONS.items() if isinstance(ended_by, kind))
        self.stop(next(reasons, KillReason.CANCELLED))
        if self._running is not None:
            self._running.discard()

    # From beginning to end

    async def _live(self, start: Start) -> Outcome:
        try:
            decision, child = await self._start(start)
        except StartFailed as failed:
            return self._not_started(failed)
        except CancelledError:
            return self._never_run()
        else:
            self._running = RunningChild(
                self._call, child, decision, self._limits, on_gone=start.leave
            )
            if self._early_reason is not None:
                self._running.stop(self._early_reason, force=self._is_forced)
            if self._call.ended_by is not None:
                self._running.discard()
        finally:
            self._begun.tell(None)
        return self._ended(self._running, await self._running.see_through())

    async def _start(self, start: Start) -> tuple[Decision, Child]:
        decision = self._decision = await start.decide()
        self._call.note(rule=decision.rule)
        has_waited = await start.enter()
        try:
            if has_waited:
                # The rules may be others by now, and a path may lead elsewhere.
                decision = self._decision = await start.decide()
            self._is_starting = True
            return decision, await start.spawn(decision)
        except BaseException:
            start.leave()
            raise

    # Outcomes

    def _ended(self, running: RunningChild, ended: Ended) -> Outcome:
        ending = ended.ending
        if ending.code is None and ending.signal is None:
            raise OutcomeUnknown(
                f"nobody knows how the job {self.name} has ended, or whether it has: what watched it was lost",
                details={"job": self.name},
            )
        by_itself = OutcomeKind.EXITED if ending.signal is None else OutcomeKind.SIGNALLED
        return Outcome(
            kind=by_itself if ended.reason is None else OutcomeKind.KILLED,
            code=ending.code,
            signal=None if ending.signal is None else name_of_signal(ending.signal),
            reason=ended.reason,
            message=ended.message,
            job=self.name,
            rule=self._rule,
            stdin_bytes=running.child.stdin.written_bytes,
            stdout_bytes=running.stdout_bytes,
            stderr_bytes=running.stderr_bytes,
            seconds=ended.seconds,
            user_seconds=ending.user_seconds,
            system_seconds=ending.system_seconds,
            max_memory_bytes=ending.max_memory_bytes,
        )

    def _not_started(self, failed: StartFailed) -> Outcome:
        assert self._decision is not None
        program = self._decision.program
        return failed_to_start(
            errno=failed.errno,
            what=failed.what,
            program=program.argv[0],
            directory=program.directory,
            job=self.name,
            rule=self._rule,
        )

    def _never_run(self) -> Outcome:
        """It was ended before it began."""
        signal = self._early_signal if self._early_reason is None else None
        reason = None if signal is not None else self._early_reason or KillReason.CANCELLED
        return Outcome(
            kind=OutcomeKind.SIGNALLED if reason is None else OutcomeKind.KILLED,
            signal=None if signal is None else name_of_signal(signal),
            reason=reason,
            message="it had not begun yet",
            job=self.name,
            rule=self._rule,
        )

    @property
    def _rule(self) -> str:
        return "" if self._decision is None else self._decision.rule
