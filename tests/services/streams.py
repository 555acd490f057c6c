"""A service with answers that do not fit into one value."""

from __future__ import annotations

from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from sockserv.services import Call, Service, operation

MIB: Final = 1024 * 1024
_PATTERN: Final = bytes(range(251))


@attrs.frozen
class LargeArguments:
    size: int
    piece_bytes: int = 64 * 1024


class Streams(Service):
    """`sent_bytes` counts what was sent, `running` the calls of `streams.endless`."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.running = 0
        self._ended: list[Deferred[None]] = []

    @staticmethod
    def large_answer(size: int) -> bytes:
        return (_PATTERN * (size // len(_PATTERN) + 1))[:size]

    def all_ended(self) -> Deferred[None]:
        """Fires when no endless call runs."""
        ended: Deferred[None] = Deferred()
        if self.running:
            self._ended.append(ended)
        else:
            ended.callback(None)
        return ended

    @operation("streams.large", args=LargeArguments, permission="streams")
    async def large(self, call: Call[LargeArguments]) -> dict[str, int]:
        answer = self.large_answer(call.args.size)
        for start in range(0, len(answer), call.args.piece_bytes):
            await call.send(answer[start : start + call.args.piece_bytes])
        return {"size": len(answer)}

    @operation("streams.endless", permission="streams")
    async def endless(self, call: Call[Any]) -> None:
        self.running += 1
        try:
            while True:
                await call.send(_PATTERN * 200)
                self.sent_bytes += len(_PATTERN) * 200
        finally:
            self.running -= 1
            ended, self._ended = self._ended, []
            for one in ended:
                one.callback(None)
