"""What the clients of the stream benchmarks are told, and what they tell."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import attrs

from benchmarks.measure import ProcessorClock

PIECE_BYTES = 64 * 1024
"""What is written at once, by everybody."""


@attrs.frozen(kw_only=True)
class StreamPlan:
    """One stream through one server.

    :ivar op: the operation, where the server has several.
    :ivar pin: that of the server's key, where it is TLS that is spoken.
    :ivar server_pid: the server's process, whose CPU time is read around the stream.
    """

    port: int
    secrets: Mapping[str, str]
    server_pid: int
    total_bytes: int
    op: str = ""
    pin: str = ""


def read_plan() -> StreamPlan:
    """The plan on standard input."""
    return StreamPlan(**json.load(sys.stdin))


class Stopwatch:
    """Times one stream and the CPU of both ends."""

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        self._clock = ProcessorClock(plan.server_pid)

    def report(self, count: int) -> None:
        """Print the result for the runner; `count` is what the server says it got."""
        if count != self._plan.total_bytes:
            raise SystemExit(f"{count} of {self._plan.total_bytes} bytes went through")
        seconds = self._clock.seconds()
        result = {"bytes_per_second": count / seconds, **self._clock.shares()}
        json.dump(result, sys.stdout)
