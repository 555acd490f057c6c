"""sockserv's own client, as a program uses it: verified, and renamed into place."""

from __future__ import annotations

from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from benchmarks.clients.files.jobs import Job, do_jobs_with, read_job, read_plan
from sockserv.client import connect


async def work() -> None:
    """Connect, and do what there is to do."""
    plan = read_plan()
    client = await connect(reactor, plan["url"], token=plan["token"])
    files = client.files

    async def do(job: Job) -> None:
        if job.task == "discard":
            await files.pour(job.served, _throw_away)
        elif job.task in ("put", "put tree"):
            await files.put(job.local, job.served)
        else:
            await files.get(job.served, job.local)

    async def read() -> Job | None:
        return await deferToThread(read_job)

    await do_jobs_with(do, read)
    await client.close()


async def _throw_away(piece: bytes) -> None:
    """It has been digested."""


def _ended(result: object) -> None:
    if isinstance(result, Failure):
        result.printTraceback()
    cast(IReactorCore, reactor).stop()


if __name__ == "__main__":
    Deferred.fromCoroutine(work()).addBoth(_ended)
    cast(IReactorCore, reactor).run()
