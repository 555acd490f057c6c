"""What jobs do to others: how long pings take beside sixteen that stream, and what one costs that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from benchmarks.execution.contenders import sockserv
from benchmarks.files.usage import Usage
from benchmarks.measure import MIB, Spread
from benchmarks.processes import BenchmarkError
from benchmarks.table import Target

__all__ = ["Beside", "beside_targets", "measure_beside"]

_STREAMS: Final = 16


@attrs.frozen(kw_only=True)
class Beside:
    """Seconds of pings, and what the daemon grew by while an endless job was not read."""

    p50_seconds: float
    p99_seconds: float
    growth_bytes: int
    unread_seconds: float


def measure_beside(state: Path, *, quick: bool) -> Beside:
    """Ping beside jobs that stream on another connection; then do not read an endless job for a minute, and then read
    it.
    """
    seconds = 2.0 if quick else 10.0
    with sockserv(state / "pings", streams=_STREAMS, seconds=seconds) as program:
        pings = program.ask({})
    unread_seconds = 5.0 if quick else 60.0
    with sockserv(state / "unread", stall=unread_seconds) as program:
        program.ask({})
        with Usage(program.server_pid) as usage:
            stalled = program.ask({})
    if stalled["moved"] or stalled["lost"]:
        raise BenchmarkError(
            f"a job that was not read has gone on, or was not read whole: {stalled}"
        )
    return Beside(
        p50_seconds=pings["p50_seconds"],
        p99_seconds=pings["p99_seconds"],
        growth_bytes=usage.growth_bytes,
        unread_seconds=unread_seconds,
    )


def beside_targets(beside: Sequence[Beside]) -> Iterator[Target]:
    """The promises about them."""
    if beside:
        yield Target(
            what=f"p99 of pings while {_STREAMS} jobs stream",
            measured=Spread.of(each.p99_seconds * 1e3 for each in beside),
            at_most=15.0,
            unit=" ms",
            digits=1,
        )
        yield Target(
            what=f"growth of the daemon while a job is not read for {beside[0].unread_seconds:g} s",
            measured=Spread.of(each.growth_bytes / MIB for each in beside),
            at_most=4.0,
            unit=" MiB",
            digits=1,
        )
