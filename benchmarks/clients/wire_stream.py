"""Streams through an operation of sockserv from a bare socket: what the server can take."""

from __future__ import annotations

from benchmarks.clients.streams import Stopwatch, StreamPlan, read_plan
from benchmarks.clients.wire_call import Pace, WireCall


def stream(plan: StreamPlan) -> None:
    """Send everything, read whatever comes back meanwhile, check the count."""
    call = WireCall(plan.port, plan.secrets, plan.op, plan.total_bytes, window_bytes=1 << 20)
    stopwatch = Stopwatch(plan)
    call.run(Pace())
    assert call.reply is not None
    stopwatch.report(call.body_bytes or call.reply["result"]["bytes"])
    call.close()


if __name__ == "__main__":
    stream(read_plan())
