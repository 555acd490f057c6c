"""Small echo: 64-byte bodies, few and many in flight, on one connection and on fifty."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import attrs

from benchmarks.clients.load import Plan
from benchmarks.measure import Spread
from benchmarks.options import Options
from benchmarks.processes import Peer, peer, run_load
from benchmarks.table import Grid, Report, Target, note_on_others

SUBJECT = "sockserv"

#: Who takes part, and the module that loads it.
PEERS: Mapping[str, str] = {
    SUBJECT: "benchmarks.clients.load",
    "int32": "benchmarks.clients.load",
    "asyncio_streams": "benchmarks.clients.load",
    "amp": "benchmarks.clients.load",
    "grpc_aio": "benchmarks.clients.grpc_aio",
}


@attrs.frozen
class Setting:
    """How many connections, and how many requests in flight on each."""

    connections: int
    in_flight: int

    def __str__(self) -> str:
        plural = "" if self.connections == 1 else "s"
        return f"{self.connections} connection{plural}, {self.in_flight} in flight"


SETTINGS = (Setting(1, 64), Setting(1, 1), Setting(50, 64), Setting(50, 1))

#: Run before all others and not shown: the heap of a process that never closed a connection makes
#: asyncio's large receive buffers twice as dear as they are ever after.
BREAK_IN = Setting(50, 1)

#: At least this multiple of the peer's requests a second.
RATE_TARGETS: Mapping[Setting, Mapping[str, float]] = {
    Setting(1, 64): {"int32": 0.7, "asyncio_streams": 1.0, "amp": 6.0, "grpc_aio": 30.0},
    Setting(50, 64): {"int32": 0.6, "amp": 8.0},
    Setting(1, 1): {"int32": 0.85},
}

#: At most this multiple of the peer's 99th percentile.
P99_TARGETS: Mapping[Setting, Mapping[str, float]] = {Setting(1, 1): {"int32": 1.3}}

Rounds = Sequence[Mapping[str, float]]


def run(options: Options) -> Report:
    """Measure every peer in every setting, one after the other, round after round."""
    names = [name for name in PEERS if options.wants(name)]
    results: dict[Setting, dict[str, list[dict[str, float]]]] = {
        setting: {name: [] for name in names} for setting in SETTINGS
    }
    for number in range(options.rounds):
        # Servers are new in every round: what a process does best or worst by chance is in the range.
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(peer(name)) for name in names]
            for each in peers:
                _measure(each, BREAK_IN, options)
            for setting in SETTINGS:
                options.say(f"echo: round {number + 1} of {options.rounds}, {setting}")
                for each in peers:
                    results[setting][each.name].append(_measure(each, setting, options))
    return Report(
        name="echo",
        grids=[_grid(setting, results[setting]) for setting in SETTINGS],
        targets=[target for setting in SETTINGS for target in _targets(setting, results[setting])],
        notes=(
            f"64-byte bodies, {options.rounds} rounds, median [lowest..highest]; the ratio is taken "
            "within each round",
            f"the client {options.waiting}s while it waits; 'busy' is its share of time with work to "
            "do, near 100 % it may be what limits",
            note_on_others(
                run
                for of_setting in results.values()
                for runs in of_setting.values()
                for run in runs
            ),
            "grpc_aio is loaded by grpc's own asyncio client, all others by one generator with "
            "requests encoded beforehand",
        ),
        data={str(setting): of_setting for setting, of_setting in results.items()},
    )


def _measure(server: Peer, setting: Setting, options: Options) -> dict[str, float]:
    plan = Plan(
        peer=server.name,
        port=server.port,
        secrets=server.secrets,
        server_pid=server.pid,
        connections=setting.connections,
        in_flight=setting.in_flight,
        warm_up_seconds=0.2 if options.quick else 0.4,
        seconds=0.4 if options.quick else 1.5,
        waiting=options.waiting,
    )
    return run_load(PEERS[server.name], attrs.asdict(plan))


def _spread(rounds: Rounds, key: str) -> Spread:
    return Spread.of(each[key] for each in rounds)


def _grid(setting: Setting, results: Mapping[str, Rounds]) -> Grid:
    columns = [
        "peer",
        "requests/s",
        "sockserv / peer",
        "server CPU",
        "client CPU",
        "busy",
        "others",
    ]
    shows_latency = setting.in_flight == 1
    if shows_latency:
        columns += ["p50 µs", "p99 µs"]
    rows = []
    for name, rounds in results.items():
        ratio = "-"
        if SUBJECT in results:
            subject = _spread(results[SUBJECT], "requests_per_second")
            ratio = subject.over(_spread(rounds, "requests_per_second")).text(digits=2)
        row = [
            name,
            _spread(rounds, "requests_per_second").text(),
            ratio,
            *(
                f"{_spread(rounds, key).median:.0%}"
                for key in ("server_cpu", "client_cpu", "client_busy", "other_cpu")
            ),
        ]
        if shows_latency:
            row += [
                _spread(rounds, "p50_seconds").text(1e6),
                _spread(rounds, "p99_seconds").text(1e6),
            ]
        rows.append(row)
    return Grid(title=f"echo, {setting}", columns=columns, rows=rows)


def _targets(setting: Setting, results: Mapping[str, Rounds]) -> list[Target]:
    if SUBJECT not in results:
        return []

    def ratio(name: str, key: str) -> Spread:
        return _spread(results[SUBJECT], key).over(_spread(results[name], key))

    rates = RATE_TARGETS.get(setting, {})
    tails = P99_TARGETS.get(setting, {})
    return [
        Target(
            what=f"requests/s, {setting}, sockserv / {name}",
            measured=ratio(name, "requests_per_second"),
            at_least=bound,
        )
        for name, bound in rates.items()
        if name in results
    ] + [
        Target(
            what=f"p99, {setting}, sockserv / {name}",
            measured=ratio(name, "p99_seconds"),
            at_most=bound,
        )
        for name, bound in tails.items()
        if name in results
    ]
