"""How a client is told what to do: first its plan, then a job a line, both JSON; each is answered when it is done."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class Job:
    """`task` is one of `benchmarks.files.session.Task`, `served` a path at the server, `local` one here."""

    task: str
    served: str
    local: Path


def read_plan() -> dict[str, Any]:
    """What to connect to."""
    plan: dict[str, Any] = json.loads(sys.stdin.readline())
    return plan


def answer(value: object) -> None:
    """The job, or the plan, is done."""
    print(json.dumps(value), flush=True)


def read_job() -> Job | None:
    """The next job, None at the end; waits."""
    line = sys.stdin.readline()
    if not line:
        return None
    job = json.loads(line)
    return Job(job["task"], job["served"], Path(job["local"]))


def do_jobs(do: Callable[[Job], None]) -> None:
    """Do all jobs, one after the other."""
    answer(True)
    while (job := read_job()) is not None:
        started = time.perf_counter()
        do(job)
        answer(time.perf_counter() - started)


async def do_jobs_with(
    do: Callable[[Job], Awaitable[None]], read: Callable[[], Awaitable[Job | None]]
) -> None:
    """The same for a client with an event loop; `read` calls `read_job` in a thread."""
    answer(True)
    while (job := await read()) is not None:
        started = time.perf_counter()
        await do(job)
        answer(time.perf_counter() - started)
