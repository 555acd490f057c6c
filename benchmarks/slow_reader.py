"""What the server's memory grows by when an echo's answer is read slowly."""

from __future__ import annotations

import attrs

from benchmarks.clients.slow_reader import SlowPlan
from benchmarks.measure import MIB, Spread
from benchmarks.options import Options
from benchmarks.processes import peer, run_module
from benchmarks.table import Grid, Report, Target

MOST_GROWTH_MIB = 16.0

#: A polite client, which says it takes a little ahead, and one that would take all: the second is
#: held up by nothing but its own socket.
WINDOWS = (MIB, 1024 * MIB)


def run(options: Options) -> Report:
    """Echo slowly at first, then fast, with either window; a fresh server each time."""
    total_bytes = (64 if options.quick else 1024) * MIB
    slow_seconds = 2.0 if options.quick else 10.0
    rows = []
    targets = []
    data = {}
    for window_bytes in WINDOWS:
        rounds = []
        for number in range(1 if options.quick else min(options.rounds, 3)):
            options.say(f"slow-reader: round {number + 1}, window of {window_bytes // MIB} MiB")
            with peer("sockserv") as server:
                plan = SlowPlan(
                    port=server.port,
                    secrets=server.secrets,
                    server_pid=server.pid,
                    total_bytes=total_bytes,
                    window_bytes=window_bytes,
                    slow_bytes_per_second=1e6,
                    slow_seconds=slow_seconds,
                )
                rounds.append(run_module("benchmarks.clients.slow_reader", attrs.asdict(plan)))
        growth = Spread.of(each["growth_bytes"] / MIB for each in rounds)
        window = f"{window_bytes // MIB} MiB"
        rows.append(
            [window, growth.text(digits=2), Spread.of(e["seconds"] for e in rounds).text(digits=1)]
        )
        targets.append(
            Target(
                what=f"growth of the server's memory, client's window {window}",
                measured=growth,
                at_most=MOST_GROWTH_MIB,
                unit=" MiB",
            )
        )
        data[window] = rounds
    return Report(
        name="slow-reader",
        grids=[
            Grid(
                title=f"slow-reader, echo of {total_bytes // MIB} MiB, read at 1 MB/s for "
                f"{slow_seconds:g} s, then fast",
                columns=["client's window", "growth MiB", "seconds"],
                rows=rows,
            )
        ],
        targets=targets,
        notes=("the highest resident memory during the echo less that before it",),
        data=data,
    )
