"""Streams through an operation of sockserv with sockserv's own client library."""

from __future__ import annotations

import json
from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.python.failure import Failure

from benchmarks.clients.streams import PIECE_BYTES, Stopwatch, StreamPlan, read_plan
from sockserv.client import connect
from sockserv.net.calls import OutgoingCall


async def _send(call: OutgoingCall, total_bytes: int) -> None:
    piece = bytes(PIECE_BYTES)
    for _ in range(total_bytes // PIECE_BYTES):
        await call.send(piece)
    call.end()


async def _count(call: OutgoingCall) -> int:
    count = 0
    async for piece in call.body:
        count += len(piece)
    return count


async def stream(plan: StreamPlan) -> None:
    """Send everything, read whatever comes back meanwhile, check the count."""
    scheme = "sockserv" if plan.pin else "tcp"
    client = await connect(
        reactor,
        f"{scheme}://127.0.0.1:{plan.port}",
        token=plan.secrets["token"],
        pin=plan.pin or None,
    )
    stopwatch = Stopwatch(plan)
    call = await client.open(plan.op)
    sending = Deferred.fromCoroutine(_send(call, plan.total_bytes))
    counting = Deferred.fromCoroutine(_count(call))
    came_back = await counting
    await sending
    result = json.loads(bytes(await call.raw_result()) or b"null")
    stopwatch.report(came_back or result["bytes"])
    await client.close()


def _ended(result: object) -> None:
    if isinstance(result, Failure):
        result.printTraceback()
    cast(IReactorCore, reactor).stop()


if __name__ == "__main__":
    plan = read_plan()
    Deferred.fromCoroutine(stream(plan)).addBoth(_ended)
    cast(IReactorCore, reactor).run()
