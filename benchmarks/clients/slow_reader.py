"""Echoes a lot through sockserv, reads the answer slowly at first, and watches the server's memory."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping

import attrs

from benchmarks.clients.wire_call import Pace, WireCall
from benchmarks.measure import resident_bytes

_SAMPLE_SECONDS = 0.02


@attrs.frozen(kw_only=True)
class SlowPlan:
    """One slow echo.

    :ivar window_bytes: what the client says it can take of a call ahead.
    """

    port: int
    secrets: Mapping[str, str]
    server_pid: int
    total_bytes: int
    window_bytes: int
    slow_bytes_per_second: float
    slow_seconds: float


class MemoryWatch:
    """The largest resident memory of a process over time."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = self.peak = resident_bytes(pid)
        self._next = 0.0

    def look(self) -> None:
        """Take a sample, if the last one is old enough."""
        now = time.perf_counter()
        if now >= self._next:
            self._next = now + _SAMPLE_SECONDS
            self.peak = max(self.peak, resident_bytes(self._pid))


def run(plan: SlowPlan) -> dict[str, float]:
    """A tiny echo first, so that what is loaded at first use is not counted."""
    tiny = WireCall(plan.port, plan.secrets, "echo", 65_536, plan.window_bytes)
    tiny.run(Pace())
    tiny.close()
    call = WireCall(plan.port, plan.secrets, "echo", plan.total_bytes, plan.window_bytes)
    watch = MemoryWatch(plan.server_pid)
    start = time.perf_counter()
    call.run(Pace(plan.slow_bytes_per_second, plan.slow_seconds), watch.look)
    seconds = time.perf_counter() - start
    call.close()
    if call.body_bytes != plan.total_bytes:
        raise SystemExit(f"{call.body_bytes} of {plan.total_bytes} bytes came back")
    return {"growth_bytes": watch.peak - watch.before, "seconds": seconds}


if __name__ == "__main__":
    json.dump(run(SlowPlan(**json.load(sys.stdin))), sys.stdout)
