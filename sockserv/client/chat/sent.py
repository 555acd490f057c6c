"""What was said, and what becomes of it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["SentMessage", "shared"]


class SentMessage:
    """A message of ours, and what has become of it so far.

    `id` is the one that it has got when it was stored, None before. `delivered_to` are the members who have it,
    `undelivered` those who will not get it, with the reasons.
    """

    def __init__(self, number: int, to: str, text: str) -> None:
        self.number = number
        self.to = to
        self.text = text
        self.id: int | None = None
        self.delivered_to: set[str] = set()
        self.undelivered: dict[str, str] = {}
        self.stored: Deferred[SentMessage] = Deferred()
        self._waiting: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<message {self.number} to {self.to}: {self.state}>"

    @property
    def state(self) -> str:
        """What has become of it, in words: `waiting`, `sent`, `delivered to bob`, `undelivered to carol`."""
        if self.id is None:
            return "waiting"
        words = []
        if self.delivered_to:
            words.append(f"delivered to {', '.join(sorted(self.delivered_to))}")
        if self.undelivered:
            words.append(f"undelivered to {', '.join(sorted(self.undelivered))}")
        return "; ".join(words) or "sent"

    async def delivery(self) -> None:
        """Wait until anything becomes of it: somebody has it, or will not get it."""
        waiting: Deferred[None] = Deferred(lambda one: self._waiting.remove(one))
        self._waiting.append(waiting)
        await waiting

    # For the session

    def change(self) -> None:
        """Something has become of it."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


def shared(deferred: Deferred[SentMessage]) -> Deferred[SentMessage]:
    """A Deferred with the same result, which may be cancelled by itself."""
    mine: Deferred[SentMessage] = Deferred(lambda one: None)

    def fire(result: SentMessage) -> SentMessage:
        if not mine.called:
            mine.callback(result)
        return result

    def fail(failure: Failure) -> Failure:
        if not mine.called:
            mine.errback(failure)
        return failure

    deferred.addCallbacks(fire, fail)
    return mine
