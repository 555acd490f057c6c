"""Takes what `peers/files/tls_push.py` pushes, with Twisted's own TLS, and throws it away."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorCore
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from benchmarks.clients.files.jobs import Job, do_jobs_with, read_job, read_plan


class Take(Protocol):
    """Counts nothing, and keeps nothing."""

    def __init__(self, done: Deferred[None]) -> None:
        self._done = done

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"go")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._done.callback(None)


class TakeFactory(ClientFactory):
    """Makes the one connection."""

    noisy = False

    def __init__(self, done: Deferred[None]) -> None:
        self._done = done

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return Take(self._done)


async def work() -> None:
    """Do what there is to do; each job is a connection."""
    plan = read_plan()

    async def do(job: Job) -> None:
        done: Deferred[None] = Deferred()
        options = ssl.CertificateOptions()  # which verifies nobody
        cast(Any, reactor).connectSSL("127.0.0.1", plan["port"], TakeFactory(done), options)
        await done

    async def read() -> Job | None:
        return await deferToThread(read_job)

    await do_jobs_with(do, read)


def _ended(result: object) -> None:
    if isinstance(result, Failure):
        result.printTraceback()
    cast(IReactorCore, reactor).stop()


if __name__ == "__main__":
    Deferred.fromCoroutine(work()).addBoth(_ended)
    cast(IReactorCore, reactor).run()
