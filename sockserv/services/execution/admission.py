"""How many jobs may run at once, of one identity and of all, and who waits for that.

Who waits gets in by turn; whose identity has no room lets the others pass.
"""

from __future__ import annotations

from collections import Counter

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sockserv.execution.errors import TooManyJobs
from sockserv.limits import ExecutionLimits

__all__ = ["Admission"]


@attrs.define(eq=False)
class _Waiting:
    identity: str
    admitted: Deferred[None]
    timer: IDelayedCall


class Admission:
    """Lets jobs in, and remembers who is."""

    def __init__(self, limits: ExecutionLimits) -> None:
        self._limits = limits
        self._running: Counter[str] = Counter()
        self._total = 0
        self._waiting: list[_Waiting] = []

    async def enter(self, identity: str, clock: IReactorTime) -> bool:
        """Let one more job of this identity in, waiting for room if there must; `leave` has to follow.

        Returns whether it had to wait. Raises `TooManyJobs` when too many wait, or when this one has waited too long.
        Cancelling it gives the turn up.
        """
        reason = self._obstacle(identity)
        if reason is None:
            self._enter(identity)
            return False
        limits = self._limits
        if len(self._waiting) >= limits.max_waiting_jobs:
            raise _refusal(reason, limits, f"and {limits.max_waiting_jobs} wait already")
        own = sum(waiting.identity == identity for waiting in self._waiting)
        if own >= limits.max_identity_jobs:
            # Nobody may take all places from the others.
            raise _refusal(reason, limits, f"and {own} of this identity wait already")
        admitted: Deferred[None] = Deferred(lambda _: self._give_up(waiting))
        timer = clock.callLater(limits.waiting_timeout_seconds, lambda: self._expire(waiting))
        waiting = _Waiting(identity, admitted, timer)
        self._waiting.append(waiting)
        await admitted
        return True

    def leave(self, identity: str) -> None:
        """A job that was let in has ended."""
        self._total -= 1
        self._running[identity] -= 1
        if not self._running[identity]:
            del self._running[identity]
        self._admit()

    def _obstacle(self, identity: str) -> str | None:
        """The limit that keeps one more job of this identity out."""
        if self._total >= self._limits.max_jobs:
            return "max_jobs"
        if self._running[identity] >= self._limits.max_identity_jobs:
            return "max_identity_jobs"
        return None

    def _enter(self, identity: str) -> None:
        self._total += 1
        self._running[identity] += 1

    def _admit(self) -> None:
        for waiting in tuple(self._waiting):
            if self._total >= self._limits.max_jobs:
                return
            # Somebody may have given up because of one who was let in.
            if waiting in self._waiting and self._obstacle(waiting.identity) is None:
                self._give_up(waiting)
                self._enter(waiting.identity)
                waiting.admitted.callback(None)

    def _give_up(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        if waiting.timer.active():
            waiting.timer.cancel()

    def _expire(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        reason = self._obstacle(waiting.identity) or "max_jobs"
        seconds = self._limits.waiting_timeout_seconds
        waiting.admitted.errback(
            _refusal(reason, self._limits, f"and none ended within {seconds:g} seconds")
        )


def _refusal(rule: str, limits: ExecutionLimits, more: str) -> TooManyJobs:
    whose = "jobs" if rule == "max_jobs" else "jobs of this identity"
    return TooManyJobs(
        f"{getattr(limits, rule)} {whose} run, which is the limit ({rule}), {more}: try again later",
        details={"rule": rule},
    )
