"""Bulk: a gibibyte one way into a service that discards it, and there and back through echo."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import attrs

from benchmarks.clients.streams import PIECE_BYTES, StreamPlan
from benchmarks.measure import MIB, Spread
from benchmarks.options import Options
from benchmarks.processes import peer, run_load
from benchmarks.table import Grid, Report, Target, note_on_others


@attrs.frozen
class Way:
    """A client, a server, and what it asks for."""

    title: str
    server: str
    client: str
    op: str = ""


ONE_WAY = Way("sockserv, one way", "sockserv", "benchmarks.clients.library", "discard")
RAW = Way("transport.write, one way", "discard", "benchmarks.clients.push")

WAYS = (
    ONE_WAY,
    Way(
        "sockserv, one way, client a bare socket",
        "sockserv",
        "benchmarks.clients.wire_stream",
        "discard",
    ),
    RAW,
    Way("sockserv, there and back", "sockserv", "benchmarks.clients.library", "echo"),
    Way(
        "sockserv, there and back, client a bare socket",
        "sockserv",
        "benchmarks.clients.wire_stream",
        "echo",
    ),
)

LEAST_OF_RAW = 0.85


def run(options: Options) -> Report:
    """Stream each way in turn, round after round."""
    total_bytes = (256 if options.quick else 1024) * MIB
    ways = [way for way in WAYS if options.wants(way.server)]
    results: dict[Way, list[Mapping[str, float]]] = {way: [] for way in ways}
    for number in range(options.rounds):
        with contextlib.ExitStack() as stack:
            servers = {
                name: stack.enter_context(peer(name)) for name in {way.server for way in ways}
            }
            for way in ways:
                options.say(f"stream: round {number + 1} of {options.rounds}, {way.title}")
                server = servers[way.server]
                plan = StreamPlan(
                    port=server.port,
                    secrets=server.secrets,
                    server_pid=server.pid,
                    total_bytes=total_bytes,
                    op=way.op,
                )
                results[way].append(run_load(way.client, attrs.asdict(plan)))
    rates = {
        way: Spread.of(each["bytes_per_second"] for each in rounds)
        for way, rounds in results.items()
    }
    targets = []
    if ONE_WAY in rates and RAW in rates:
        targets.append(
            Target(
                what=f"bytes/s, {ONE_WAY.title} / {RAW.title}",
                measured=rates[ONE_WAY].over(rates[RAW]),
                at_least=LEAST_OF_RAW,
            )
        )
    return Report(
        name="stream",
        grids=[_grid(total_bytes, rates, results)],
        targets=targets,
        notes=(
            f"pieces of {PIECE_BYTES // 1024} KiB, {options.rounds} rounds, median "
            "[lowest..highest]; there and back, every byte is counted once",
            note_on_others(run for runs in results.values() for run in runs),
        ),
        data={way.title: rounds for way, rounds in results.items()},
    )


def _grid(
    total_bytes: int,
    rates: Mapping[Way, Spread],
    results: Mapping[Way, list[Mapping[str, float]]],
) -> Grid:
    rows = []
    for way, rate in rates.items():
        cpu = (
            f"{Spread.of(each[key] for each in results[way]).median:.0%}"
            for key in ("server_cpu", "client_cpu", "other_cpu")
        )
        ratio = rate.over(rates[RAW]).text(digits=2) if RAW in rates else "-"
        rows.append([way.title, rate.text(1e-6), ratio, *cpu])
    return Grid(
        title=f"stream, {total_bytes // MIB} MiB",
        columns=["way", "MB/s", "/ transport.write", "server CPU", "client CPU", "others"],
        rows=rows,
    )
