"""Messages over UDP: how many a second, what a flood does to them, and what gets through a network that loses.

Beside them a bare Twisted echo of datagrams, and for what is sent in excess the same talk without losses.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

import attrs

from benchmarks.clients.datagrams import DatagramPlan
from benchmarks.lossy import talk
from benchmarks.measure import QUIET_CPU, Spread
from benchmarks.options import Options
from benchmarks.processes import ROOT, Peer, peer, run_module
from benchmarks.table import Grid, Report, Target, note_on_others
from benchmarks.talks import as_data, grid_of, measure, targets_of
from sockserv.net.datagram import DatagramSessions
from sockserv.testing import MemoryNetwork
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.sealing import SessionKeys

IN_FLIGHT = (64, 1)
BARE = "datagram_echo"
SESSIONS = "datagram_sessions"
FLOODED = "datagram_sessions, flooded"
FLOOD_PER_SECOND = 60_000.0

LEAST_SHARE_OF_BARE = 0.25
LEAST_DROPPED_PER_SECOND = 50_000
MOST_KIB = 10.0

Rounds = dict[str, dict[int, list[dict[str, float]]]]


@contextlib.contextmanager
def _flood(server: Peer) -> Iterator[None]:
    arguments = [str(server.port), str(FLOOD_PER_SECOND), server.secrets["id_0"]]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.clients.garbage", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
    ) as flood:
        try:
            yield
        finally:
            assert flood.stdin is not None
            flood.stdin.close()


def _measure(name: str, in_flight: int, options: Options) -> dict[str, float]:
    """Run a load as `run_load` does, but each on a fresh server: nobody may begin a session anew."""
    runs: list[dict[str, float]] = []
    while len(runs) < 3:
        runs.append(_measure_once(name, in_flight, options))
        if runs[-1]["other_cpu"] <= QUIET_CPU:
            break
    return min(runs, key=lambda run: run["other_cpu"])


def _measure_once(name: str, in_flight: int, options: Options) -> dict[str, float]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(peer(SESSIONS if name == FLOODED else name))
        if name == FLOODED:
            stack.enter_context(_flood(server))
        plan = DatagramPlan(
            port=server.port,
            secrets=server.secrets,
            server_pid=server.pid,
            in_flight=in_flight,
            warm_up_seconds=0.3,
            seconds=0.5 if options.quick else 2.0,
        )
        measured: dict[str, float] = run_module("benchmarks.clients.datagrams", attrs.asdict(plan))
        return measured


def _idle_kib(count: int) -> float:
    """What one session of a server takes that has nothing to do."""
    clock = MemoryNetwork().clock
    sessions = DatagramSessions(clock)
    made = [SessionKeys.make() for _ in range(count)]
    tracemalloc.start()
    for keys in made:
        sessions.open(Role.SERVER, keys, print)
    clock.advance(0)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / count / 1024


def run(options: Options) -> Report:
    """The talks once, for they always give the same; the rates in rounds."""
    talks = measure(talk, "datagrams", options)
    rounds: Rounds = {
        name: {in_flight: [] for in_flight in IN_FLIGHT} for name in (BARE, SESSIONS, FLOODED)
    }
    for number in range(options.rounds):
        options.say(f"datagrams: round {number + 1} of {options.rounds}")
        for in_flight in IN_FLIGHT:
            for name, of_name in rounds.items():
                of_name[in_flight].append(_measure(name, in_flight, options))
    return Report(
        name="datagrams",
        grids=[_grid_of_rates(rounds), grid_of(talks, "datagrams, ten people and a hub")],
        targets=[*_targets_of_rates(rounds), *targets_of(talks)],
        notes=(
            "a message has 64 bytes, is sealed and acknowledged, and comes back as one; a bare echo has one in each datagram, "
            "a session as many as fit",
            f"flooded: with {FLOOD_PER_SECOND:,.0f} datagrams a second that are forged or belong to nobody",
            "a talk goes by a hub, so that each message is lost on either of two ways, each with 50 ms delay, 5 % "
            "repeated, 10 % reordered; extra: datagrams per message more than without loss",
            note_on_others(run for of in rounds.values() for runs in of.values() for run in runs),
        ),
        data={
            "rates": rounds,
            "talks": as_data(talks),
        },
    )


def _rate(runs: list[dict[str, float]], name: str = "requests_per_second") -> Spread:
    return Spread.of(run[name] for run in runs)


def _cpu_rate(runs: list[dict[str, float]]) -> Spread:
    """Messages for a second of the server's CPU, which says more where others need the machine."""
    return Spread.of(run["requests_per_second"] / max(run["server_cpu"], 0.001) for run in runs)


def _grid_of_rates(rounds: Rounds) -> Grid:
    rows = [
        [
            f"{name}, {in_flight} in flight",
            _rate(runs).text(),
            _cpu_rate(runs).text(),
            _rate(runs, "p99_seconds").text(1e6),
            _rate(runs, "dropped_per_second").text(),
            f"{_rate(runs, 'server_cpu').median:.0%}",
            f"{_rate(runs, 'other_cpu').median:.0%}",
        ]
        for name, of_name in rounds.items()
        for in_flight, runs in of_name.items()
    ]
    columns = [
        "echo",
        "messages/s",
        "per CPU second",
        "p99 us",
        "dropped/s",
        "server CPU",
        "others",
    ]
    return Grid(title="datagrams, echoes of 64 bytes", columns=columns, rows=rows)


def _targets_of_rates(rounds: Rounds) -> list[Target]:
    bare, sessions, flooded = (rounds[name] for name in (BARE, SESSIONS, FLOODED))
    targets = [
        Target(
            what=f"messages/s over sessions / a bare echo, {in_flight} in flight",
            measured=_rate(sessions[in_flight]).over(_rate(bare[in_flight])),
            at_least=LEAST_SHARE_OF_BARE,
        )
        for in_flight in IN_FLIGHT
    ]
    dropped = Spread.of(
        run["dropped_per_second"] / max(run["server_cpu"], 0.001) for run in flooded[1]
    )
    return [
        *targets,
        Target(
            what="forged and foreign datagrams dropped for a second of CPU, beside messages",
            measured=dropped,
            at_least=LEAST_DROPPED_PER_SECOND,
            digits=0,
        ),
        Target(
            what="memory of an idle session of a server",
            measured=Spread((_idle_kib(1000),)),
            at_most=MOST_KIB,
            unit=" KiB",
        ),
    ]
