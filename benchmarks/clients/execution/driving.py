"""Running commands as one is told: first the plan, then a job a line, both JSON; each is answered with what was
measured.

A job's `task` is `jobs` (`count` times `true`, `at_once` at a time), `output` (`size` bytes of zeros) or `input` (as
many there and back through `cat`).
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from benchmarks.clients.files.jobs import answer

__all__ = [
    "CAT",
    "Blocking",
    "Gather",
    "InThread",
    "Runner",
    "do_jobs",
    "do_jobs_blocking",
    "head",
    "true",
]

PIECE_BYTES: Final = 256 * 1024

Gather = Callable[[list[Awaitable[None]]], Awaitable[Any]]
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


def _path(name: str) -> str:
    path = shutil.which(name)
    assert path is not None
    return path


CAT: Final = [_path("cat")]
_HEAD: Final = _path("head")


def true() -> list[str]:
    """The command that does nothing."""
    return [_path("true")]


def head(size: int) -> list[str]:
    """The command that writes so many zeros."""
    return [_HEAD, "-c", str(size), "/dev/zero"]


class Runner(Protocol):
    """A client with an event loop."""

    async def run(self, argv: list[str]) -> None:
        """Run a command to its end, which has to be a success."""

    async def drain(self, argv: list[str]) -> int:
        """Read all that a command writes; how much that was."""

    async def echo(self, data: bytes) -> int:
        """Give this to `cat`, and read what comes back; how much that was."""


class Blocking(Protocol):
    """A client without one."""

    def run(self, argv: list[str]) -> None:
        """Run a command to its end, which has to be a success."""

    def drain(self, argv: list[str]) -> int:
        """Read all that a command writes; how much that was."""

    def echo(self, data: bytes) -> int:
        """Give this to `cat`, and read what comes back; how much that was."""


def next_job() -> dict[str, Any] | None:
    """The next job, None at the end; waits."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def _summary(started: float, latencies: list[float], missing_bytes: int) -> dict[str, float]:
    seconds = time.perf_counter() - started
    ordered = sorted(latencies)
    return {
        "seconds": seconds,
        "missing_bytes": missing_bytes,
        "p50_seconds": ordered[len(ordered) // 2],
        "p99_seconds": ordered[len(ordered) * 99 // 100],
    }


async def do_jobs(runner: Runner, *, gather: Gather, in_thread: InThread) -> None:
    """Do all jobs, one after the other; `in_thread` waits for the next one."""
    answer(True)
    while (job := await in_thread(next_job)) is not None:
        latencies: list[float] = []
        missing = 0
        started = time.perf_counter()
        if job["task"] == "jobs":
            left = iter(range(job["count"]))

            async def work(left: Any = left, latencies: list[float] = latencies) -> None:
                for _ in left:
                    begun = time.perf_counter()
                    await runner.run(true())
                    latencies.append(time.perf_counter() - begun)

            await gather([work() for _ in range(job["at_once"])])
        elif job["task"] == "output":
            missing = job["size"] - await runner.drain(head(job["size"]))
        else:
            data = bytes(job["size"])
            started = time.perf_counter()
            missing = job["size"] - await runner.echo(data)
        answer(_summary(started, latencies or [0.0], missing))


def do_jobs_blocking(runner: Blocking) -> None:
    """The same in threads, as many as jobs run at once."""
    answer(True)
    while (job := next_job()) is not None:
        latencies: list[float] = []
        missing = 0
        started = time.perf_counter()
        if job["task"] == "jobs":

            def work(_: int, latencies: list[float] = latencies) -> None:
                begun = time.perf_counter()
                runner.run(true())
                latencies.append(time.perf_counter() - begun)

            if job["at_once"] == 1:
                for number in range(job["count"]):
                    work(number)
            else:
                with ThreadPoolExecutor(job["at_once"]) as threads:
                    list(threads.map(work, range(job["count"])))
        elif job["task"] == "output":
            missing = job["size"] - runner.drain(head(job["size"]))
        else:
            data = bytes(job["size"])
            started = time.perf_counter()
            missing = job["size"] - runner.echo(data)
        answer(_summary(started, latencies or [0.0], missing))
