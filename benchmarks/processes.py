"""Starting what is measured, and running loads against it, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from benchmarks.measure import QUIET_CPU

ROOT = Path(__file__).resolve().parent.parent


class BenchmarkError(Exception):
    """A measurement could not be made; the message says which and why."""


@attrs.frozen(kw_only=True)
class Peer:
    """A server process that is listening."""

    name: str
    pid: int
    port: int
    secrets: Mapping[str, str]


@contextlib.contextmanager
def peer(name: str, *arguments: str) -> Iterator[Peer]:
    """Run `benchmarks.peers.<name>` with these arguments for the length of a with statement."""
    command = [sys.executable, "-m", f"benchmarks.peers.{name}", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{name} did not start: {' '.join(command)} printed nothing")
        yield Peer(name=name, pid=process.pid, **json.loads(line))
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_module(module: str, plan: Mapping[str, Any]) -> Any:
    """Run `python -m module` with a plan on its standard input; returns what it printed, both JSON.

    :raises BenchmarkError: it failed; its traceback is on standard error.
    """
    finished = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        input=json.dumps(plan),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise BenchmarkError(f"{module} ended with status {finished.returncode} for {plan}")
    return json.loads(finished.stdout)


def run_load(module: str, plan: Mapping[str, Any]) -> dict[str, float]:
    """Run a load as `run_module` does, again if something else needed the processors meanwhile.

    Of three such runs the least disturbed one counts, whatever it measured.
    """
    runs: list[dict[str, float]] = []
    while len(runs) < 3:
        runs.append(run_module(module, plan))
        if runs[-1]["other_cpu"] <= QUIET_CPU:
            break
    return min(runs, key=lambda run: run["other_cpu"])
