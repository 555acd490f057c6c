"""A chat: messages a second through the hub over UDP and over the connection, what somebody costs who says nothing, and
a long history.

Beside it a bare Twisted echo and a fan-out of datagrams, which store nothing, and ngircd, which stores nothing and
acknowledges nothing, where it is installed.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from benchmarks.clients.chat import ChatPlan
from benchmarks.clients.datagrams import DatagramPlan
from benchmarks.clients.history import HistoryPlan
from benchmarks.lossy_hub import talk
from benchmarks.measure import Spread
from benchmarks.options import Options
from benchmarks.processes import Peer, peer, run_load, run_module
from benchmarks.table import Grid, Report, Target, note_on_others
from benchmarks.talks import as_data, grid_of, measure, targets_of
from sockserv.services.chat.messages import NewMessage
from sockserv.services.chat.store import ChatStore

UDP = "hub, over UDP"
CONNECTION = "hub, over the connection"
IRC = "ngircd"
BARE = "a bare fan-out of datagrams"
TALKS = ((1, 64), (1, 1), (100, 4))
"""How many listen, and how many messages are under way."""

LEAST_SHARE_OF_BARE = 0.25
LEAST_SHARE_OF_FANOUT = 0.4
MOST_KIB = 10.0
MOST_DATAGRAMS = 0.1
MOST_JOIN_SECONDS = 0.05
MOST_SEARCH_SECONDS = 0.3

Run = dict[str, float]


@contextlib.contextmanager
def _hub(messages: Path | None = None) -> Iterator[Peer]:
    with (
        tempfile.TemporaryDirectory() as folder,
        peer("chat", str(messages or Path(folder) / "messages")) as made,
    ):
        yield made


@contextlib.contextmanager
def _ircd(program: str) -> Iterator[Peer]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "ngircd.conf"
        config.write_text(
            f"[Global]\nName = irc.example.net\nInfo = measured\nListen = 127.0.0.1\nPorts = {port}\n"
            "[Limits]\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n[Options]\nPAM = no\nIdent = no\nDNS = no\n"
        )
        with subprocess.Popen(
            [program, "--nodaemon", "--config", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                _wait_for(port)
                yield Peer(name=IRC, pid=process.pid, port=port, secrets={})
            finally:
                process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _plan(server: Peer, listeners: int, in_flight: int, options: Options, way: str) -> ChatPlan:
    return ChatPlan(
        port=server.port,
        token=server.secrets.get("token", ""),
        server_pid=server.pid,
        listeners=listeners,
        in_flight=in_flight,
        by_datagrams=way == UDP,
        seconds=0.5 if options.quick else 3.0,
    )


def _talk(name: str, listeners: int, in_flight: int, options: Options) -> Run:
    if name == IRC:
        program = shutil.which("ngircd", path="/usr/sbin:/usr/bin:/usr/local/sbin") or ""
        with _ircd(program) as server:
            plan = _plan(server, listeners, in_flight, options, name)
            return run_load("benchmarks.clients.irc", attrs.asdict(plan))
    if name == BARE:
        with peer("datagram_fanout") as server:
            plan = _plan(server, listeners, in_flight, options, name)
            return run_load("benchmarks.clients.fanout", attrs.asdict(plan))
    with _hub() as server:
        plan = _plan(server, listeners, in_flight, options, name)
        return run_load("benchmarks.clients.chat", attrs.asdict(plan))


def _bare(in_flight: int, options: Options) -> Run:
    with peer("datagram_echo") as server:
        plan = DatagramPlan(
            port=server.port,
            secrets={},
            server_pid=server.pid,
            in_flight=in_flight,
            warm_up_seconds=0.3,
            seconds=0.5 if options.quick else 2.0,
        )
        return run_load("benchmarks.clients.datagrams", attrs.asdict(plan))


def _idle(options: Options) -> Run:
    with _hub() as server:
        plan = attrs.evolve(
            _plan(server, 100 if options.quick else 1000, 0, options, UDP),
            idle_seconds=5.0 if options.quick else 60.0,
        )
        idle: Run = run_module("benchmarks.clients.chat", attrs.asdict(plan))
        return idle


def _history(options: Options) -> Run:
    count = 10_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "messages"
        store = ChatStore(path)
        for first in range(0, count, 1000):
            store.add([_message(number) for number in range(first, first + 1000)])
        store.close()
        with _hub(path) as server:
            plan = HistoryPlan(port=server.port, token=server.secrets["token"])
            found: Run = run_module("benchmarks.clients.history", attrs.asdict(plan))
            return found


def _message(number: int) -> NewMessage:
    return NewMessage(
        conversation=f"#room{number % 10}",
        sender=f"member{number % 100}",
        device="phone",
        number=number + 1,
        text=f"message {number} of a long talk about the topic{number % 1000}, w{number:x}",
        at=time.time(),
    )


def run(options: Options) -> Report:
    """All of it."""
    names = [UDP, CONNECTION]
    if shutil.which("ngircd", path="/usr/sbin:/usr/bin:/usr/local/sbin"):
        names.append(IRC)
    talks: dict[tuple[str, int, int], list[Run]] = {}
    bare: dict[int, list[Run]] = {}
    for number in range(options.rounds):
        options.say(f"chat: round {number + 1} of {options.rounds}")
        for listeners, in_flight in TALKS:
            if listeners == 1:
                bare.setdefault(in_flight, []).append(_bare(in_flight, options))
            for name in names if listeners == 1 else [*names, BARE]:
                runs = talks.setdefault((name, listeners, in_flight), [])
                runs.append(_talk(name, listeners, in_flight, options))
    weather = measure(talk, "chat", options)
    options.say("chat: idle")
    idle = _idle(options)
    options.say("chat: history")
    history = _history(options)
    return Report(
        name="chat",
        grids=[_grid(talks, bare), grid_of(weather, "chat, ten people over a network that loses")],
        targets=[
            *_targets(talks, bare, idle, history),
            *targets_of(weather, "by the hub, "),
        ],
        notes=(
            "a message has 64 bytes, and is stored on the disk before anybody hears of it; a bare echo and ngircd store nothing",
            "deliveries/s: messages times those who hear each; both ends of the hub's talks are the library",
            "over a network that loses each message is direct, and goes two ways, each with 50 ms delay, 5 % repeated, 10 % reordered; "
            "its datagrams are also those that tell its sender that it is stored, and who has it",
            f"the first who joins takes {idle['bytes_of_first'] / 1024:.0f} KiB, most of it for the store",
            f"{IRC} is {'here' if IRC in names else 'not installed'}",
            note_on_others(run for runs in talks.values() for run in runs),
        ),
        data={
            "talks": [
                {"name": name, "listeners": listeners, "in_flight": in_flight, "runs": runs}
                for (name, listeners, in_flight), runs in talks.items()
            ],
            "bare": bare,
            "weather": as_data(weather),
            "idle": idle,
            "history": history,
        },
    )


def _rate(runs: list[Run], name: str = "requests_per_second") -> Spread:
    return Spread.of(run[name] for run in runs)


def _cpu_rate(runs: list[Run]) -> Spread:
    """Deliveries for a second of the server's CPU, which says more where the clients, or others, need the machine."""
    return Spread.of(run["requests_per_second"] / max(run["server_cpu"], 0.001) for run in runs)


def _grid(talks: dict[tuple[str, int, int], list[Run]], bare: dict[int, list[Run]]) -> Grid:
    rows = {
        f"{name}, 1 to {listeners}, {in_flight} under way": runs
        for (name, listeners, in_flight), runs in talks.items()
    } | {f"a bare echo, {in_flight} in flight": runs for in_flight, runs in bare.items()}
    return Grid(
        title="chat",
        columns=[
            "talk",
            "deliveries/s",
            "per CPU second",
            "p50 ms",
            "p99 ms",
            "server CPU",
            "others",
        ],
        rows=[
            [
                what,
                _rate(runs).text(),
                _cpu_rate(runs).text(),
                _rate(runs, "p50_seconds").text(1e3, 2),
                _rate(runs, "p99_seconds").text(1e3, 2),
                f"{_rate(runs, 'server_cpu').median:.0%}",
                f"{_rate(runs, 'other_cpu').median:.0%}",
            ]
            for what, runs in rows.items()
        ],
    )


def _targets(
    talks: dict[tuple[str, int, int], list[Run]],
    bare: dict[int, list[Run]],
    idle: Run,
    history: Run,
) -> list[Target]:
    targets = [
        Target(
            what=f"messages/s over UDP / a bare echo, {in_flight} in flight",
            measured=_rate(talks[UDP, 1, in_flight]).over(_rate(bare[in_flight])),
            at_least=LEAST_SHARE_OF_BARE,
        )
        for in_flight in bare
    ]
    crowd = [(listeners, in_flight) for listeners, in_flight in TALKS if listeners > 1]
    for key in crowd:
        share = _rate(talks[(UDP, *key)]).over(_rate(talks[(BARE, *key)]))
        targets.append(
            Target(
                what=f"deliveries/s to {key[0]} over UDP / a bare fan-out",
                measured=share,
                at_least=LEAST_SHARE_OF_FANOUT,
            )
        )
    for what, measured, at_most, unit in (
        (
            "memory of each who is idle, after the first",
            idle["bytes_each"] / 1024,
            MOST_KIB,
            " KiB",
        ),
        ("datagrams/s of somebody idle", idle["datagrams_per_second_each"], MOST_DATAGRAMS, ""),
        ("joining, and the last 50 messages", history["join_seconds"], MOST_JOIN_SECONDS, " s"),
        ("searching all messages", history["search_seconds"], MOST_SEARCH_SECONDS, " s"),
    ):
        targets.append(
            Target(what=what, measured=Spread((measured,)), at_most=at_most, unit=unit, digits=3)
        )
    return targets
