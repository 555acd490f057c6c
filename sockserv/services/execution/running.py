"""A child of a live job, from its start until its tree is gone and the last byte of its output is on its way.

Invariants:

1. The first process counts. When it has ended, what is left of its tree is ended, and what was written is sent to the
   end.
2. The first reason to stop counts, if there was one before the first process ended; and later only if something of what
   was written was left out for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from sockserv.execution.arguments import STANDARD_ERROR, STANDARD_OUTPUT
from sockserv.execution.bounds import excess_message, time_limit
from sockserv.execution.outcome import KillReason
from sockserv.limits import ExecutionLimits
from sockserv.services.api import Call
from sockserv.services.execution.awaited import Awaited
from sockserv.services.execution.child import Child, Ending
from sockserv.services.execution.deciding import Decision
from sockserv.services.execution.stopping import GradedStop, end_leftovers
from sockserv.services.execution.streams import Inflow, Outflow

__all__ = ["Ended", "RunningChild"]


@attrs.frozen
class Ended:
    """How it was: the `ending` of the first process after `seconds`.

    If it was killed, `reason` says why, and `message` more about it in a sentence, where there is more.
    """

    ending: Ending
    reason: KillReason | None
    seconds: float
    message: str = ""


class RunningChild:
    """A child whose streams are those of a call.

    `on_gone` is called once, when nothing of its tree is left.
    """

    def __init__(
        self,
        call: Call[Any],
        child: Child,
        decision: Decision,
        limits: ExecutionLimits,
        *,
        on_gone: Callable[[], None],
    ) -> None:
        self.child = child
        self._call = call
        self._clock = call.clock
        self._decision = decision
        self.started_at = self._clock.seconds()
        self._reason: KillReason | None = None
        self._is_forced = False
        self._ended: Awaited[Ending] = Awaited()
        self._gone: Awaited[None] = Awaited()
        child.ended.addBoth(self._on_ended)
        child.gone.addBoth(self._on_gone, on_gone)
        self._inflow = Inflow(call, child.stdin, is_wanted=decision.takes_stdin)
        self._stop = GradedStop(
            child,
            self._clock,
            pause_seconds=limits.stop_pause_seconds,
            has_input=lambda: not self._inflow.is_complete,
            on_failure=lambda: self._ended.tell(Ending()),
        )
        self._outflow = Outflow(
            call,
            {STANDARD_OUTPUT: child.stdout, STANDARD_ERROR: child.stderr},
            limit_bytes=decision.output_limit_bytes,
            on_excess=lambda: self.stop(KillReason.OUTPUT_LIMIT),
        )
        self._time_limit = time_limit(
            rule=decision.rule,
            asked_seconds=call.args.timeout_seconds,
            decided_seconds=decision.timeout_seconds,
            default_seconds=limits.default_timeout_seconds,
            max_seconds=limits.max_timeout_seconds,
        )
        self._timer = self._set_timeout()

    @property
    def stdout_bytes(self) -> int:
        """How much of its output was sent."""
        return self._outflow.sent_bytes[STANDARD_OUTPUT]

    @property
    def stderr_bytes(self) -> int:
        """How much of its standard error was sent."""
        return self._outflow.sent_bytes[STANDARD_ERROR]

    def stop(self, reason: KillReason, *, force: bool = False) -> None:
        """End it for a reason, by the graded stop or at once by force."""
        self._reason = self._reason or reason
        self._is_forced = self._is_forced or force
        self._stop.begin(force=force)

    def discard(self) -> None:
        """Send nothing more of what it writes: nobody takes it."""
        self._outflow.discard()

    async def see_through(self) -> Ended:
        """Wait for its end, and for all that comes after it. Not to be cancelled."""
        ending = await self._ended.wait()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        seconds = self._clock.seconds() - self.started_at
        reason, self._reason = self._reason, None
        self._stop.end()
        self._inflow.stop()
        await end_leftovers(self.child, self._gone, self._clock, force=self._is_forced)
        await self._outflow.finish(may_cut=lambda: bool(reason or self._reason))
        if self._outflow.was_cut and self._call.ended_by is None:
            reason = reason or self._reason
        return Ended(ending, reason, seconds, self._explain(reason))

    def _set_timeout(self) -> IDelayedCall | None:
        if self._time_limit is None:
            return None
        return self._clock.callLater(self._time_limit.seconds, self.stop, KillReason.TIMEOUT)

    def _explain(self, reason: KillReason | None) -> str:
        """What there is to say about the reason why it was killed."""
        if reason is KillReason.TIMEOUT and self._time_limit is not None:
            return self._time_limit.message
        limit_bytes = self._decision.output_limit_bytes
        if reason is KillReason.OUTPUT_LIMIT and limit_bytes is not None:
            return excess_message(
                rule=self._decision.rule,
                asked_bytes=self._call.args.output_limit_bytes,
                limit_bytes=limit_bytes,
            )
        return ""

    def _on_ended(self, ending: Ending | Failure) -> None:
        self._ended.tell(Ending() if isinstance(ending, Failure) else ending)

    def _on_gone(self, _: object, on_gone: Callable[[], None]) -> None:
        on_gone()
        self._gone.tell(None)
