"""How long a person waits: for the daemon to listen, and for one command to be done."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.measure import Spread
from benchmarks.options import Options
from benchmarks.processes import ROOT, BenchmarkError
from benchmarks.table import Grid, Report, Target

MOST_OF_HELP = 2.0
MOST_OF_IMPORT = 1.5

_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.0005

TWISTD = "twistd sockserv, until it listens"
HELP = "twistd --help"
PING = "sockserv ping"
IMPORT = "python -c 'from twisted.internet import reactor, endpoints'"


def run(options: Options) -> Report:
    """Run each in turn, round after round; the first round, with cold caches, does not count."""
    rounds = options.rounds if options.quick else 3 * options.rounds
    times: dict[str, list[float]] = {TWISTD: [], HELP: [], PING: [], IMPORT: []}
    with _daemon() as environment:
        measures: Mapping[str, Callable[[], float]] = {
            TWISTD: _seconds_to_listen,
            HELP: lambda: _seconds_of([_script("twistd"), "--help"], _environment()),
            PING: lambda: _seconds_of([*_sockserv(), "ping"], environment),
            IMPORT: lambda: _seconds_of(
                [sys.executable, "-c", "from twisted.internet import reactor, endpoints"],
                _environment(),
            ),
        }
        for number in range(rounds + 1):
            options.say(f"startup: round {number} of {rounds}")
            for what, measure in measures.items():
                seconds = measure()
                if number:
                    times[what].append(seconds)
    spreads = {what: Spread.of(values) for what, values in times.items()}
    return Report(
        name="startup",
        grids=[
            Grid(
                title="startup",
                columns=["what", "ms"],
                rows=[[what, spread.text(1000)] for what, spread in spreads.items()],
            )
        ],
        targets=[
            Target(
                what=f"{TWISTD} / {HELP}",
                measured=spreads[TWISTD].over(spreads[HELP]),
                at_most=MOST_OF_HELP,
            ),
            Target(
                what=f"{PING} / {IMPORT}",
                measured=spreads[PING].over(spreads[IMPORT]),
                at_most=MOST_OF_IMPORT,
            ),
        ],
        notes=(f"{rounds} rounds; whole processes, from start to end",),
        data=times,
    )


def _script(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise BenchmarkError(f"there is no {name} command beside {sys.executable}")
    return found


def _sockserv() -> list[str]:
    beside = Path(sys.executable).with_name("sockserv")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "sockserv"]


def _environment(**more: str) -> dict[str, str]:
    # The plugin is found in this checkout, installed or not.
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def _seconds_of(command: list[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    finished = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    elapsed = time.perf_counter() - start
    if finished.returncode:
        raise BenchmarkError(f"{' '.join(command)} failed: {finished.stdout.strip()}")
    return elapsed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.perf_counter() + _PATIENCE_SECONDS
    while time.perf_counter() < give_up_at and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_SECONDS)
    raise BenchmarkError(f"twistd sockserv does not listen on port {port}")


@contextlib.contextmanager
def _twistd(state: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [_script("twistd"), "--nodaemon", "--pidfile=", f"--logfile={state}.log"]
    command += ["sockserv", f"--listen=tcp:{port}:interface=127.0.0.1", f"--state={state}"]
    process = subprocess.Popen(command, cwd=ROOT, env=_environment())
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _seconds_to_listen() -> float:
    with tempfile.TemporaryDirectory() as directory:
        port = _free_port()
        start = time.perf_counter()
        with _twistd(f"{directory}/state", port) as process:
            _wait_until_listening(port, process)
            return time.perf_counter() - start


@contextlib.contextmanager
def _daemon() -> Iterator[Mapping[str, str]]:
    """A running daemon, as the environment in which commands find it."""
    with tempfile.TemporaryDirectory() as directory:
        port = _free_port()
        with _twistd(f"{directory}/state", port) as process:
            _wait_until_listening(port, process)
            yield _environment(SOCKSERV_STATE=f"{directory}/state")
