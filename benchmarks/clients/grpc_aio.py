"""The load on the grpc.aio peer: grpc's own asyncio client, one coroutine a request in flight.

HTTP/2 frames cannot be encoded in advance (their headers depend on the connection's compression
state), so this is the one peer whose client is a library.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import attrs
import grpc

from benchmarks.clients.load import Plan
from benchmarks.measure import Outcome, ProcessorClock
from benchmarks.wires import BODY, GRPC_METHOD, GRPC_SERVICE, WireError


async def run(plan: Plan) -> dict[str, float]:
    """Connect, prove, warm up, measure."""
    # Without a pool of its own, every channel to one address would share one connection.
    channels = [
        grpc.aio.insecure_channel(
            f"127.0.0.1:{plan.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        for _ in range(plan.connections)
    ]
    calls = [channel.unary_unary(f"/{GRPC_SERVICE}/{GRPC_METHOD}") for channel in channels]
    for call in calls:
        if await call(BODY) != BODY:
            raise WireError("the echo differs from the request")
    await _drive(calls, plan.in_flight, plan.warm_up_seconds)
    clock = ProcessorClock(plan.server_pid)
    outcome = await _drive(calls, plan.in_flight, plan.seconds)
    shares = clock.shares()
    for channel in channels:
        await channel.close()
    # It sleeps when it waits, so what CPU it takes is what it had to do.
    return attrs.evolve(outcome, client_busy=shares["client_cpu"]).summary(shares)


async def _drive(
    calls: list[grpc.aio.UnaryUnaryMultiCallable], in_flight: int, seconds: float
) -> Outcome:
    latencies: list[float] = []
    now = time.perf_counter
    start = now()
    deadline = start + seconds

    async def repeat(call: grpc.aio.UnaryUnaryMultiCallable) -> None:
        sent_at = now()
        while sent_at < deadline:
            await call(BODY)
            moment = now()
            latencies.append(moment - sent_at)
            sent_at = moment

    await asyncio.gather(*(repeat(call) for call in calls for _ in range(in_flight)))
    return Outcome(requests=len(latencies), seconds=now() - start, latencies=latencies)


if __name__ == "__main__":
    json.dump(asyncio.run(run(Plan(**json.load(sys.stdin)))), sys.stdout)
