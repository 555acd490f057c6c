"""One job whose caller waits, from what was asked to how it has ended.

Invariants:

1. There is one outcome, and it is told once: to the caller, to all who wait for it, and to the audit log.
2. A job is over when its first process has ended. Then what is left of its tree is ended, and what it has written is sent to
   the end, before the outcome is told.
3. The first reason to stop a job counts, if there was one before its first process ended; and later only if something of
   what it has written was left out for that.
4. A caller that is gone, or has given up, ends the job, and is not waited for. The job is waited for, all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from sockserv.errors import CallCancelled, ConnectionEnded, DeadlineExceeded, PermissionDenied
from sockserv.execution.arguments import STANDARD_ERROR, STANDARD_OUTPUT, RunArguments
from sockserv.execution.errors import NoTerminal, OutcomeUnknown
from sockserv.execution.outcome import Job, KillReason, Outcome, OutcomeKind
from sockserv.execution.signals import name_of_signal
from sockserv.execution.starting import failed_to_start
from sockserv.limits import ExecutionLimits
from sockserv.services.api import Call
from sockserv.services.execution.awaited import Awaited
from sockserv.services.execution.child import Child, Ending, StartFailed
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.stopping import GradedStop, end_leftovers
from sockserv.services.execution.streams import Inflow, Outflow

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

    `decide` says what is to be run. `enter` waits for room, and says whether it had to; `leave` gives it back. `spawn` starts it.
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
        self._clock = call.clock
        self._limits = limits
        self._asked_at = self._clock.seconds()
        self._started_at: float | None = None
        self._decision: Decision | None = None
        self._starting: Deferred[Child] | None = None
        self._child: Child | None = None
        self._begun: Awaited[None] = Awaited()
        self._stop: GradedStop | None = None
        self._inflow: Inflow | None = None
        self._outflow: Outflow | None = None
        self._ending: Ending | None = None
        self._reason: KillReason | None = None
        self._early_signal: int | None = None
        self._is_forced = False
        self._outcome: Awaited[Outcome] = Awaited()

    # For the caller

    async def answer(self, start: Start) -> Outcome:
        """Run the command, and wait for how it ends, though the call may end before: `CancelledError` is raised then, later.

        Raises what `start` raises, and `OutcomeUnknown`.
        """
        Deferred.fromCoroutine(self._run(start)).addBoth(self._outcome.tell)
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
        decision, child = self._decision, self._child
        sent = {} if self._outflow is None else self._outflow.sent_bytes
        return Job(
            job=self.name,
            identity=self.identity,
            command="" if decision is None else decision.command,
            rule="" if decision is None else decision.rule,
            is_kept=False,
            started_at=self._asked_at if self._started_at is None else self._started_at,
            has_terminal=self._call.args.terminal is not None,
            pid=None if child is None else child.pid,
            stdin_bytes=0 if child is None else child.stdin.written_bytes,
            stdout_bytes=sent.get(STANDARD_OUTPUT, 0),
            stderr_bytes=sent.get(STANDARD_ERROR, 0),
        )

    def outcome(self) -> Deferred[Outcome]:
        """How it has ended, when it has. Raises what `answer` raises."""
        return self._outcome.wait()

    def stop(self, reason: KillReason, *, force: bool = False) -> None:
        """End it for a reason, by the graded stop or at once by force."""
        if self._outcome.is_known:
            return
        self._reason = self._reason or reason
        self._is_forced = self._is_forced or force
        if self._stop is not None:
            self._stop.begin(force=force)
        elif self._starting is not None:
            self._starting.cancel()

    def kill(self, *, force: bool) -> Deferred[Outcome]:
        """End it because somebody wants that; how it has ended then."""
        self.stop(KillReason.CANCELLED, force=force)
        return self._outcome.wait()

    async def signal(self, number: int) -> None:
        """Send a signal to all its processes. One that has not begun yet ends by one that would end most programs."""
        if self._child is None and not self._outcome.is_known:
            if number in _ENDING and self._starting is not None:
                self._early_signal = number
                self._starting.cancel()
                return
            await self._begun.wait()
        if self._child is not None:
            self._child.signal(number)

    async def resize(self, columns: int, rows: int) -> None:
        """Tell its terminal the size."""
        if self._call.args.terminal is None:
            raise NoTerminal(f"the job {self.name} has no terminal", details={"job": self.name})
        await self._begun.wait()
        if self._child is not None:
            self._child.resize(columns, rows)

    def _desert(self) -> None:
        """The caller does not wait any more."""
        ended_by = self._call.ended_by
        reasons = (reason for kind, reason in _REASONS.items() if isinstance(ended_by, kind))
        self.stop(next(reasons, KillReason.CANCELLED))
        if self._outflow is not None:
            self._outflow.discard()

    # From beginning to end

    async def _run(self, start: Start) -> Outcome:
        try:
            self._starting = Deferred.fromCoroutine(self._start(start))
            child = await self._starting
            self._child = child
        except StartFailed as failed:
            return self._not_started(failed)
        except CancelledError:
            return self._never_run()
        finally:
            self._begun.tell(None)
        return await self._see_through(child, start)

    async def _start(self, start: Start) -> Child:
        decision = self._decision = await start.decide()
        self._call.note(rule=decision.rule)
        has_waited = await start.enter()
        try:
            if has_waited:
                # The rules may be others by now, and a path may lead elsewhere.
                decision = self._decision = await start.decide()
            child = await start.spawn(decision)
        except BaseException:
            start.leave()
            raise
        return child

    async def _see_through(self, child: Child, start: Start) -> Outcome:
        """The child runs: wait for its end, and for all that comes after that."""
        self._started_at = self._clock.seconds()
        ended: Awaited[Ending] = Awaited()
        gone: Awaited[None] = Awaited()

        def on_end(ending: Ending | Failure) -> None:
            ended.tell(Ending() if isinstance(ending, Failure) else ending)

        def on_gone(_: object) -> None:
            start.leave()
            gone.tell(None)

        child.ended.addBoth(on_end)
        child.gone.addBoth(on_gone)
        assert self._decision is not None
        inflow = self._inflow = Inflow(
            self._call, child.stdin, is_wanted=self._decision.takes_stdin
        )
        self._stop = GradedStop(
            child,
            self._clock,
            pause_seconds=self._limits.stop_pause_seconds,
            has_input=lambda: not inflow.is_complete,
            on_failure=lambda: ended.tell(Ending()),
        )
        self._outflow = Outflow(
            self._call,
            {STANDARD_OUTPUT: child.stdout, STANDARD_ERROR: child.stderr},
            limit_bytes=self._decision.output_limit_bytes,
            on_excess=lambda: self.stop(KillReason.OUTPUT_LIMIT),
        )
        timer = self._set_timeout(self._decision)
        ending = await ended.wait()
        if timer is not None and timer.active():
            timer.cancel()
        return await self._clean_up(child, ending, gone)

    def _set_timeout(self, decision: Decision) -> IDelayedCall | None:
        limits = self._limits
        seconds = decision.timeout_seconds or limits.default_timeout_seconds
        if limits.max_timeout_seconds is not None:
            seconds = min(seconds or limits.max_timeout_seconds, limits.max_timeout_seconds)
        if seconds is None:
            return None
        return self._clock.callLater(seconds, self.stop, KillReason.TIMEOUT)

    async def _clean_up(self, child: Child, ending: Ending, gone: Awaited[None]) -> Outcome:
        """The first process has ended."""
        assert self._stop is not None
        assert self._inflow is not None
        assert self._outflow is not None
        ended_for, self._reason = self._reason, None
        self._stop.end()
        self._inflow.stop()
        seconds = self._clock.seconds() - (self._started_at or 0.0)
        await end_leftovers(child, gone, self._clock, force=self._is_forced)
        await self._outflow.finish(may_cut=lambda: bool(ended_for or self._reason))
        if self._outflow.was_cut and self._call.ended_by is None:
            ended_for = ended_for or self._reason
        if ending.code is None and ending.signal is None:
            raise OutcomeUnknown(
                f"nobody knows how the job {self.name} has ended, or whether it has: what watched it was lost",
                details={"job": self.name},
            )
        return self._ended(ending, ended_for, seconds)

    # Outcomes

    def _ended(self, ending: Ending, reason: KillReason | None, seconds: float) -> Outcome:
        assert self._child is not None
        assert self._outflow is not None
        killed = OutcomeKind.KILLED if reason else None
        by_itself = OutcomeKind.EXITED if ending.signal is None else OutcomeKind.SIGNALLED
        return Outcome(
            kind=killed or by_itself,
            code=ending.code,
            signal=None if ending.signal is None else name_of_signal(ending.signal),
            reason=reason,
            job=self.name,
            rule=self._rule,
            stdin_bytes=self._child.stdin.written_bytes,
            stdout_bytes=self._outflow.sent_bytes[STANDARD_OUTPUT],
            stderr_bytes=self._outflow.sent_bytes[STANDARD_ERROR],
            seconds=seconds,
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
        signal = self._early_signal if self._reason is None else None
        reason = None if signal is not None else self._reason or KillReason.CANCELLED
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
