"""A service whose handlers a test holds in its hands."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred

from sockserv.services import Call, Service, operation
from sockserv.testing import MemoryServer, RawPeer


@attrs.frozen
class FloodArguments:
    piece_bytes: int = 1000


class Probe(Service):
    """`calls` are those whose handlers were entered, `ends` tells how they ended, in that order."""

    def __init__(self) -> None:
        self.calls: list[Call[Any]] = []
        self.ends: list[str] = []
        self._gates: list[Deferred[Any]] = []

    def let_go(self, result: Any = None) -> None:
        """Let the oldest held handler return."""
        self._gates.pop(0).callback(result)

    @operation("probe.hold", permission="probe")
    async def hold(self, call: Call[Any]) -> Any:
        """Waits for the test."""
        gate: Deferred[Any] = Deferred()
        self.calls.append(call)
        self._gates.append(gate)
        try:
            result = await gate
        except CancelledError:
            self._gates.remove(gate)
            self.ends.append("cancelled")
            raise
        self.ends.append("returned")
        return result

    @operation("probe.swallow", permission="probe")
    async def swallow(self, call: Call[Any]) -> int:
        """Reads the whole body."""
        self.calls.append(call)
        size = 0
        async for piece in call.body:
            size += len(piece)
        return size

    @operation("probe.flood", args=FloodArguments, permission="probe")
    async def flood(self, call: Call[FloodArguments]) -> None:
        """Sends without end, and never reads."""
        self.calls.append(call)
        try:
            while True:
                await call.send(bytes(call.args.piece_bytes))
        finally:
            self.ends.append("ended")

    @operation("probe.now", permission="probe")
    def now(self, call: Call[Any]) -> str:
        """Answers at once."""
        self.calls.append(call)
        return "now"


def open_frame(call: int, op: str, **fields: Any) -> dict[str, Any]:
    return {"type": "open", "call": call, "op": op, **fields}


def frames_of(memory: MemoryServer, raw: RawPeer, call: int) -> list[tuple[str, int]]:
    """The types and body sizes of the frames that have come for a call."""
    memory.flush()
    return [
        (frame["type"], len(frame.body))
        for frame in raw.take_frames()
        if frame.header.get("call") == call
    ]
