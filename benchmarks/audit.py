"""What an audit log costs: calls that it is not told of, that it is told of, and that wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory

import attrs

from benchmarks.clients.load import Plan
from benchmarks.measure import Spread
from benchmarks.options import Options
from benchmarks.processes import Peer, peer, run_load
from benchmarks.table import Grid, Report, Target, note_on_others

WITHOUT = "sockserv"
WITH = "sockserv_audited"

IN_FLIGHT = 64

#: The wires, and what the log is told of their calls.
KINDS: Mapping[str, str] = {
    "sockserv": "echo, of which it is told nothing",
    "sockserv_look": "the same as a read: one record, nobody waits",
    "sockserv_change": "a change: two records, each on the disk before it goes on",
}

#: The rate with a log, as a multiple of that without: permission check and all.
LEAST_SHARE = 0.8

Rounds = Sequence[Mapping[str, float]]


def run(options: Options) -> Report:
    """Measure each kind of call at a server without a log and at one with it, round after round."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {
        wire: {WITHOUT: [], WITH: []} for wire in KINDS
    }
    for number in range(options.rounds):
        options.say(f"audit: round {number + 1} of {options.rounds}")
        with contextlib.ExitStack() as stack:
            # In the usual folder for temporary files there may be no disk to wait for.
            folder = stack.enter_context(TemporaryDirectory(dir="/var/tmp"))
            servers = [
                stack.enter_context(peer(WITHOUT)),
                stack.enter_context(peer(WITH, f"{folder}/audit")),
            ]
            for wire, of_wire in results.items():
                for server in servers:
                    of_wire[server.name].append(_measure(server, wire, options))
    echo = _rate(results["sockserv"][WITH]).over(_rate(results["sockserv"][WITHOUT]))
    return Report(
        name="audit",
        grids=[_grid(results)],
        targets=[
            Target(
                what="requests/s of an echo, with a log / without",
                measured=echo,
                at_least=LEAST_SHARE,
            )
        ],
        notes=(
            f"64-byte bodies, 1 connection, {IN_FLIGHT} in flight, {options.rounds} rounds; the log is in "
            "/var/tmp, and how fast a change is, is a matter of that disk's fsync",
            note_on_others(
                run for of_wire in results.values() for runs in of_wire.values() for run in runs
            ),
        ),
        data=results,
    )


def _measure(server: Peer, wire: str, options: Options) -> dict[str, float]:
    plan = Plan(
        peer=wire,
        port=server.port,
        secrets=server.secrets,
        server_pid=server.pid,
        connections=1,
        in_flight=IN_FLIGHT,
        warm_up_seconds=0.2 if options.quick else 0.4,
        seconds=0.4 if options.quick else 1.5,
        waiting=options.waiting,
    )
    return run_load("benchmarks.clients.load", attrs.asdict(plan))


def _rate(rounds: Rounds) -> Spread:
    return Spread.of(each["requests_per_second"] for each in rounds)


def _grid(results: Mapping[str, Mapping[str, Rounds]]) -> Grid:
    rows = []
    for wire, of_wire in results.items():
        without, with_log = _rate(of_wire[WITHOUT]), _rate(of_wire[WITH])
        cpu = Spread.of(each["server_cpu"] for each in of_wire[WITH])
        rows.append(
            [
                KINDS[wire],
                without.text(),
                with_log.text(),
                with_log.over(without).text(digits=2),
                f"{cpu.median:.0%}",
            ]
        )
    return Grid(
        title="audit, requests/s",
        columns=["call", "without a log", "with a log", "with / without", "server CPU with"],
        rows=rows,
    )
