"""What AMP cannot do, on real sockets: an answer of any size, and one without end."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from twisted.internet import reactor

from sockserv import Anonymous, Identity, Server, connect
from sockserv.client import Client
from tests.services.streams import MIB, Streams

GUEST = Anonymous(Identity("guest", frozenset({"streams"})))


async def start(streams: Streams) -> tuple[Server, Client]:
    server = Server(reactor, [streams], authenticator=GUEST)
    port: Any = await server.listen("tcp:0:interface=127.0.0.1")
    return server, await connect(reactor, f"tcp://127.0.0.1:{port.getHost().port}")


@pytest_twisted.ensureDeferred
async def test_an_answer_of_10_mib() -> None:
    server, client = await start(Streams())
    reply = await client.call("streams.large", {"size": 10 * MIB})
    assert reply.body == Streams.large_answer(10 * MIB)
    await client.close()
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_an_answer_without_end_is_cancelled() -> None:
    streams = Streams()
    server, client = await start(streams)
    call = await client.open("streams.endless")
    received = 0
    async for piece in call.body:
        received += len(piece)
        if received >= 10 * MIB:
            break
    call.cancel()
    await client.ping()
    await streams.all_ended()
    assert received <= streams.sent_bytes <= received + 4 * MIB
    await client.close()
    await server.stop()


@pytest_twisted.ensureDeferred
async def test_an_answer_that_nobody_reads_pauses_its_source() -> None:
    streams = Streams()
    server, client = await start(streams)
    call = await client.open("streams.endless")
    for _ in range(100):
        await client.ping()
    assert 0 < streams.sent_bytes <= 3 * MIB
    call.cancel()
    await streams.all_ended()
    await client.close()
    await server.stop()
