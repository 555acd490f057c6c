"""Files on real sockets, where the system sends them: the same that holds on a link in memory, and what does not happen
there.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from sockserv import Anonymous, Identity, Server, connect
from sockserv.client import Client
from sockserv.errors import CallCancelled
from sockserv.net.bulk import is_at_hand
from sockserv.trust import EVERYTHING
from tests.integration.waiting import until_so
from tests.net.transfers import MIB, TRANSFERS, Lender, check_alive, get, make_file, services

GUEST = Anonymous(Identity("guest", frozenset({EVERYTHING})))


@asynccontextmanager
async def served(endpoint: str, url: Callable[[Any], str]) -> AsyncIterator[Client]:
    both = services()
    server = Server(reactor, both, authenticator=GUEST)
    port: Any = await server.listen(endpoint)
    client = await connect(reactor, url(port))
    try:
        yield client
    finally:
        await client.close()
        await server.stop()
        cast(Lender, both[0]).close()


def over_tcp(folder: Path) -> Any:
    return served(
        "tcp:0:interface=127.0.0.1", lambda port: f"tcp://127.0.0.1:{port.getHost().port}"
    )


def over_unix(folder: Path) -> Any:
    return served(f"unix:{folder}/socket", lambda port: f"unix://{folder}/socket")


@pytest.mark.parametrize("transfer", TRANSFERS, ids=lambda transfer: transfer.__name__)
@pytest.mark.parametrize("served_over", [over_tcp, over_unix])
@pytest_twisted.ensureDeferred
async def test_a_transfer(served_over: Any, transfer: Any, tmp_path: Path) -> None:
    async with served_over(tmp_path) as client:
        await transfer(client, tmp_path)


@pytest_twisted.ensureDeferred
async def test_bytes_that_lie_on_the_disk(tmp_path: Path) -> None:
    path, content = make_file(tmp_path, 12 * MIB)
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    # Where files lie in memory, or stay there, this is as any other transfer.
    was_at_hand = is_at_hand(file, 0, MIB)
    os.close(file)
    async with over_tcp(tmp_path) as client:
        assert await get(client, path) == content, f"was it at hand? {was_at_hand}"


def open_ones(path: Path) -> int:
    """How many descriptors of this process are of this file."""
    links = (Path(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd"))
    return sum(1 for link in links if link.is_symlink() and os.readlink(link) == str(path))


@pytest_twisted.ensureDeferred
async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    path, _ = make_file(tmp_path, 8 * MIB)

    async with over_tcp(tmp_path) as client:
        for _ in range(5):
            call = await client.open("lender.send", {"path": str(path)})
            await anext(call.body)
            call.cancel()
        await client.ping()
        # A client that breaks off, in the middle of a frame.
        rude = await client.open("lender.send", {"path": str(path)})
        await anext(rude.body)
        cast(Any, client)._peer.abort()
        await until_so(lambda: not open_ones(path))


@pytest_twisted.ensureDeferred
async def test_no_descriptor_is_left_where_an_error_is_kept(tmp_path: Path) -> None:
    path, _ = make_file(tmp_path, 8 * MIB)
    gc.disable()
    try:
        async with over_tcp(tmp_path) as client:
            call = await client.open("lender.receive")
            with path.open("rb") as file:
                sending = Deferred.fromCoroutine(call.send_file(file.fileno()))
                call.cancel()
                with pytest.raises(CallCancelled) as kept:
                    await sending
            await check_alive(client)
            assert open_ones(path) == 0, kept
    finally:
        gc.enable()


@pytest_twisted.ensureDeferred
async def test_the_reply_waits_for_the_socket(tmp_path: Path) -> None:
    path, content = make_file(tmp_path, 3 * MIB)
    async with over_tcp(tmp_path) as client:
        transport = cast(Any, client)._peer.transport
        transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        transport.bufferSize = 8 * 1024
        assert await get(client, path) == content
