"""sockserv's own client, as a program uses it: outcomes and the number of bytes are checked.

With the plan's `streams`, so many endless jobs run on a connection, and the latencies of pings on another one are
answered after `seconds`. With `stall`, one endless job is not read for `seconds`, and then it is, to its end.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from benchmarks.clients.execution.driving import CAT, PIECE_BYTES, do_jobs, next_job
from benchmarks.clients.files.jobs import answer, read_plan
from sockserv.client import Client, connect
from sockserv.client.execution.job import RemoteJob

PING_PAUSE_SECONDS = 0.005


class Sockserv:
    """See `benchmarks.clients.execution.driving.Runner`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(self, argv: list[str]) -> None:
        """Run a command to its end."""
        done = await self._client.exec.collect(argv)
        assert done.outcome.is_success, done.outcome

    async def drain(self, argv: list[str]) -> int:
        """Read all that a command writes."""
        job = await self._client.exec.run(argv, stdin=b"")
        count = await _count(job)
        outcome = await job.outcome()
        assert outcome.is_success, outcome
        return count

    async def echo(self, data: bytes) -> int:
        """Give this to `cat`, and read what comes back."""
        job = await self._client.exec.run(CAT)
        writing = Deferred.fromCoroutine(_write(job, data))
        count = await _count(job)
        await writing
        outcome = await job.outcome()
        assert outcome.is_success, outcome
        return count


async def _write(job: RemoteJob, data: bytes) -> None:
    view = memoryview(data)
    for start in range(0, len(view), PIECE_BYTES):
        await job.stdin.write(bytes(view[start : start + PIECE_BYTES]))
    job.stdin.close()


async def _count(job: RemoteJob) -> int:
    total = 0
    async for piece in job.stdout:
        total += len(piece)
    return total


async def ping_beside(client: Client, other: Client, streams: int, seconds: float) -> list[float]:
    """The seconds that pings take on a connection while endless jobs stream on another."""
    jobs = [await other.exec.run(["yes"], stdin=b"") for _ in range(streams)]
    reading = [Deferred.fromCoroutine(_count(job)) for job in jobs]
    latencies = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        await client.ping()
        latencies.append(time.perf_counter() - begun)
        await deferLater(cast(IReactorTime, reactor), PING_PAUSE_SECONDS)
    for job, done in zip(jobs, reading, strict=True):
        await job.kill(force=True)
        await done
    return sorted(latencies)


async def stall(client: Client, seconds: float) -> dict[str, float]:
    """Do not read what an endless job writes, then read it; how much was written meanwhile, and in all."""
    job = await client.exec.run(["yes"], stdin=b"")
    await deferLater(cast(IReactorTime, reactor), 1.0)
    (before,) = await client.exec.jobs()
    answer({"before": before.stdout_bytes})
    await deferLater(cast(IReactorTime, reactor), seconds)
    (after,) = await client.exec.jobs()
    reading = Deferred.fromCoroutine(_count(job))
    await deferLater(cast(IReactorTime, reactor), 0.2)
    await job.signal("TERM")
    count = await reading
    outcome = await job.outcome()
    lost = outcome.stdout_bytes - count
    return {"moved": after.stdout_bytes - before.stdout_bytes, "read": count, "lost": lost}


def _gather(jobs: list[Awaitable[None]]) -> Awaitable[Any]:
    return gatherResults([Deferred.fromCoroutine(job) for job in jobs])  # type: ignore[arg-type]


async def work() -> None:
    """Connect, and do what there is to do."""
    plan = read_plan()
    client = await connect(reactor, plan["url"], token=plan["token"])
    if "streams" in plan:
        answer(True)
        await deferToThread(next_job)
        other = await connect(reactor, plan["url"], token=plan["token"])
        latencies = await ping_beside(client, other, plan["streams"], plan["seconds"])
        answer(
            {
                "p50_seconds": latencies[len(latencies) // 2],
                "p99_seconds": latencies[len(latencies) * 99 // 100],
            }
        )
        await other.close()
    elif "stall" in plan:
        answer(True)
        await deferToThread(next_job)
        answer(await stall(client, plan["stall"]))
    else:
        await do_jobs(Sockserv(client), gather=_gather, in_thread=deferToThread)
    await client.close()


def _ended(result: object) -> None:
    if isinstance(result, Failure):
        result.printTraceback()
    cast(IReactorCore, reactor).stop()


if __name__ == "__main__":
    Deferred.fromCoroutine(work()).addBoth(_ended)
    cast(IReactorCore, reactor).run()
