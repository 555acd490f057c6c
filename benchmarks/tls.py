"""TLS: what a connection costs the server, and a gibibyte one way, beside Twisted's own TLS."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs

from benchmarks.clients.streams import PIECE_BYTES, StreamPlan
from benchmarks.clients.tls_connections import ConnectionsPlan
from benchmarks.measure import MIB, Spread
from benchmarks.options import Options
from benchmarks.processes import Peer, peer, run_load
from benchmarks.table import Grid, Report, Target, note_on_others
from sockserv.tls import own
from sockserv.tls.certificates import pin_of

SUBJECT = "sockserv"
ECHO = "tls_echo"
PUSH = "discard"

MOST_CPU = 1.5
LEAST_OF_PUSH = 0.95

Rounds = list[Mapping[str, float]]


def run(options: Options) -> Report:
    """Each peer in turn, round after round; new servers in every round, with one certificate."""
    connections: dict[str, Rounds] = {SUBJECT: [], ECHO: []}
    streams: dict[str, Rounds] = {SUBJECT: [], PUSH: []}
    total_bytes = (128 if options.quick else 1024) * MIB
    with tempfile.TemporaryDirectory() as folder:
        own.ensure(Path(folder), ["localhost"], now=datetime.now(UTC))
        pin = pin_of(own.load(Path(folder)).certificate)
        for number in range(options.rounds):
            options.say(f"tls: round {number + 1} of {options.rounds}")
            with contextlib.ExitStack() as stack:
                servers = {
                    name: stack.enter_context(peer(name, folder)) for name in (SUBJECT, ECHO, PUSH)
                }
                for name, rounds in connections.items():
                    rounds.append(_connect(servers[name], 200 if options.quick else 1500))
                for name, rounds in streams.items():
                    rounds.append(_stream(servers[name], total_bytes, pin))
    return _report(options, total_bytes, connections, streams)


def _connect(server: Peer, count: int) -> dict[str, float]:
    plan = ConnectionsPlan(
        peer=server.name,
        port=server.port,
        secrets=server.secrets,
        server_pid=server.pid,
        connections=count,
    )
    return run_load("benchmarks.clients.tls_connections", attrs.asdict(plan))


def _stream(server: Peer, total_bytes: int, pin: str) -> dict[str, float]:
    plan = StreamPlan(
        port=server.port,
        secrets=server.secrets,
        server_pid=server.pid,
        total_bytes=total_bytes,
        op="discard",
        pin=pin,
    )
    client = "library" if server.name == SUBJECT else "push"
    return run_load(f"benchmarks.clients.{client}", attrs.asdict(plan))


def _report(
    options: Options,
    total_bytes: int,
    connections: Mapping[str, Rounds],
    streams: Mapping[str, Rounds],
) -> Report:
    cpu = {name: _spread(rounds, "server_cpu_seconds") for name, rounds in connections.items()}
    rates = {name: _spread(rounds, "bytes_per_second") for name, rounds in streams.items()}
    return Report(
        name="tls",
        grids=[_connections_grid(connections, cpu), _streams_grid(total_bytes, streams, rates)],
        targets=[
            Target(
                what="server CPU for a connection, sockserv / bare Twisted TLS echo",
                measured=cpu[SUBJECT].over(cpu[ECHO]),
                at_most=MOST_CPU,
            ),
            Target(
                what="bytes/s over TLS, sockserv / transport.write",
                measured=rates[SUBJECT].over(rates[PUSH]),
                at_least=LEAST_OF_PUSH,
            ),
        ],
        notes=(
            "a connection is: TCP, the whole handshake of TLS 1.3, a login by token where there is "
            "one, one echo of 64 bytes, the end; one after the other, from one client",
            f"pieces of {PIECE_BYTES // 1024} KiB, {options.rounds} rounds, median "
            "[lowest..highest]; the ratio is taken within each round",
            note_on_others(
                run
                for results in (connections, streams)
                for rounds in results.values()
                for run in rounds
            ),
        ),
        data={"connections": connections, "streams": streams},
    )


def _spread(rounds: Sequence[Mapping[str, float]], key: str) -> Spread:
    return Spread.of(each[key] for each in rounds)


def _connections_grid(results: Mapping[str, Rounds], cpu: Mapping[str, Spread]) -> Grid:
    rows = [
        [
            name,
            _spread(rounds, "connections_per_second").text(),
            cpu[name].text(1e6),
            cpu[name].over(cpu[ECHO]).text(digits=2),
            *_shares(rounds),
        ]
        for name, rounds in results.items()
    ]
    return Grid(
        title="tls, connections",
        columns=[
            "peer",
            "connections/s",
            "server CPU µs each",
            "/ bare echo",
            "server CPU",
            "client CPU",
            "others",
        ],
        rows=rows,
    )


def _streams_grid(
    total_bytes: int, results: Mapping[str, Rounds], rates: Mapping[str, Spread]
) -> Grid:
    titles = {SUBJECT: "sockserv, one way", PUSH: "transport.write, one way"}
    rows = [
        [
            titles[name],
            rates[name].text(1e-6),
            rates[name].over(rates[PUSH]).text(digits=2),
            *_shares(rounds),
        ]
        for name, rounds in results.items()
    ]
    return Grid(
        title=f"tls, stream of {total_bytes // MIB} MiB",
        columns=["way", "MB/s", "/ transport.write", "server CPU", "client CPU", "others"],
        rows=rows,
    )


def _shares(rounds: Rounds) -> list[str]:
    return [
        f"{_spread(rounds, key).median:.0%}" for key in ("server_cpu", "client_cpu", "other_cpu")
    ]
