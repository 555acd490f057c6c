"""Pings on a connection, alone or beside gets on the same one; answers with the latencies.

The plan's `gets` says how many run at once. With none, the pings go on until the job's local file is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorCore, IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from benchmarks.clients.files.jobs import Job, answer, read_job, read_plan
from sockserv.client import Client, connect

PAUSE_SECONDS = 0.005


async def ping(client: Client, goes_on: Callable[[], bool]) -> list[float]:
    """The seconds that each ping took."""
    latencies = []
    while goes_on():
        started = time.perf_counter()
        await client.ping()
        latencies.append(time.perf_counter() - started)
        await deferLater(cast(IReactorTime, reactor), PAUSE_SECONDS)
    return latencies


async def throw_away(piece: bytes) -> None:
    """It has been digested."""


async def work() -> None:
    """Connect, and do the one job."""
    plan = read_plan()
    client = await connect(reactor, plan["url"], token=plan["token"])
    answer(True)
    job: Job | None = await deferToThread(read_job)
    assert job is not None
    started = time.perf_counter()
    if plan["gets"]:
        ended: list[object] = []
        gets = [client.files.pour(job.served, throw_away) for _ in range(plan["gets"])]
        done = gatherResults(gets, consumeErrors=True)
        done.addCallbacks(ended.append, ended.append)
        latencies = await ping(client, lambda: not ended)
        if isinstance(ended[0], Failure):
            ended[0].raiseException()
    else:
        stop = job.local
        latencies = await ping(client, lambda: not stop.exists())
    ordered = sorted(latencies)
    answer(
        {
            "seconds": time.perf_counter() - started,
            "count": len(ordered),
            "p50_seconds": ordered[len(ordered) // 2],
            "p99_seconds": ordered[len(ordered) * 99 // 100],
            "most_seconds": ordered[-1],
        }
    )
    await client.close()


def _ended(result: object) -> None:
    if isinstance(result, Failure):
        result.printTraceback()
    cast(IReactorCore, reactor).stop()


if __name__ == "__main__":
    Deferred.fromCoroutine(work()).addBoth(_ended)
    cast(IReactorCore, reactor).run()
