"""What an idle connection costs the server in memory of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import IO

import attrs
import psutil

from benchmarks.clients.crowd import CrowdPlan
from benchmarks.measure import Spread, own_memory_bytes
from benchmarks.options import Options
from benchmarks.processes import ROOT, BenchmarkError, Peer, peer
from benchmarks.table import Grid, Report, Target

PEERS = ("sockserv", "discard", "amp", "asyncio_streams")
TITLES = {"discard": "bare Twisted protocol"}

CONNECTIONS = 10_000
MOST_KIB = 6.0

#: Descriptors that a server or client needs besides its connections, generously.
_SPARE_DESCRIPTORS = 100

#: Time for the server to be done with what the last connection gave it to do.
_SETTLING_SECONDS = 0.5


def run(options: Options) -> Report:
    """Fill each server in turn with connections, and see what it grew by."""
    wanted = 1_000 if options.quick else CONNECTIONS
    connections = min(wanted, _descriptor_limit() - _SPARE_DESCRIPTORS)
    names = [name for name in PEERS if options.wants(name)]
    rounds = 1 if options.quick else min(options.rounds, 3)
    growth: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            options.say(f"idle: round {number + 1} of {rounds}, {name}")
            with peer(name) as server:
                growth[name].append(_growth_bytes(server, connections) / connections / 1024)
    spreads = {name: Spread.of(values) for name, values in growth.items()}
    notes = ["memory of the server's process that no other shares (USS), after less before"]
    if connections < wanted:
        notes.append(f"the descriptor limit of this machine allows {connections}, not {wanted}")
    return Report(
        name="idle",
        grids=[
            Grid(
                title=f"idle, {connections:,} connections",
                columns=["peer", "KiB each"],
                rows=[
                    [TITLES.get(name, name), spread.text(digits=2)]
                    for name, spread in spreads.items()
                ],
            )
        ],
        targets=[
            Target(
                what="memory of an idle connection that is logged in",
                measured=spreads["sockserv"],
                at_most=MOST_KIB,
                unit=" KiB",
            )
        ]
        if "sockserv" in spreads
        else [],
        notes=notes,
        data={"connections": connections, "kib_each": growth},
    )


def _descriptor_limit() -> int:
    """As many descriptors as a process may have; those started from here inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def _growth_bytes(server: Peer, connections: int) -> int:
    plan = CrowdPlan(
        peer=server.name, port=server.port, secrets=server.secrets, connections=connections
    )
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.clients.crowd"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as crowd:
        assert crowd.stdin is not None
        assert crowd.stdout is not None
        _tell(crowd.stdin, json.dumps(attrs.asdict(plan)))
        _expect(crowd.stdout, "warm")
        time.sleep(_SETTLING_SECONDS)
        before = own_memory_bytes(server.pid)
        descriptors = psutil.Process(server.pid).num_fds()
        _tell(crowd.stdin, "go on")
        _expect(crowd.stdout, "open")
        time.sleep(_SETTLING_SECONDS)
        after = own_memory_bytes(server.pid)
        held = psutil.Process(server.pid).num_fds() - descriptors
        crowd.stdin.close()
    if held != connections:
        raise BenchmarkError(f"{server.name} holds {held} of {connections} connections")
    return after - before


def _tell(stream: IO[str], line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


def _expect(stream: IO[str], word: str) -> None:
    line = stream.readline().strip()
    if line != word:
        raise BenchmarkError(f"the crowd of clients said {line!r} and not {word!r}")
