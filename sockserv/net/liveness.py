"""Finding out whether a peer is still there: by its silence, or by asking it."""

from __future__ import annotations

from enum import Enum

from twisted.internet.defer import Deferred

from sockserv.limits import Limits

__all__ = ["KEEPALIVE_TOKEN", "Liveness", "Pings", "Verdict"]

KEEPALIVE_TOKEN = 0
"""The token of the pings that nobody waits for."""


class Verdict(Enum):
    """What is to be done about a peer's silence."""

    FINE = "fine"
    ASK = "ask"
    """It has been silent for so long that it should be asked for a sign of life."""
    GONE = "gone"


class Liveness:
    """How long a peer has been silent.

    Whoever hears from the peer sets `has_heard`, which costs nothing; the clock is read only by `judge`,
    at every tick of a timer that all connections share.
    """

    __slots__ = ("_has_asked", "_silent_since", "has_heard")

    def __init__(self, now: float) -> None:
        self.has_heard = False
        self._has_asked = False
        self._silent_since = now

    def restart(self, now: float) -> None:
        """Count the silence from now."""
        self._silent_since = now

    def silent_seconds(self, now: float) -> float:
        """How long the peer has been silent, as far as the last `judge` knows."""
        return now - self._silent_since

    def judge(self, now: float, limits: Limits) -> Verdict:
        """What is to be done now, which is then taken to be done."""
        if self.has_heard:
            self.has_heard = self._has_asked = False
            self._silent_since = now
            return Verdict.FINE
        silent = now - self._silent_since
        if silent < limits.keepalive_interval_seconds:
            return Verdict.FINE
        if not self._has_asked:
            self._has_asked = True
            return Verdict.ASK
        if silent < limits.keepalive_interval_seconds + limits.keepalive_timeout_seconds:
            return Verdict.FINE
        return Verdict.GONE


class Pings:
    """Pings whose senders wait for the pong."""

    __slots__ = ("_last_token", "_waiting")

    def __init__(self) -> None:
        self._last_token = KEEPALIVE_TOKEN
        self._waiting: dict[int, Deferred[None]] = {}

    def start(self) -> tuple[int, Deferred[None]]:
        """The token of a new ping, and what its pong will fire."""
        self._last_token += 1
        waiting: Deferred[None] = Deferred()
        self._waiting[self._last_token] = waiting
        return self._last_token, waiting

    def answered(self, token: int) -> None:
        """A pong has come; one that nobody waits for changes nothing."""
        waiting = self._waiting.pop(token, None)
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def fail(self, failure: Exception) -> None:
        """No more pongs will come."""
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            if not one.called:
                one.errback(failure)
