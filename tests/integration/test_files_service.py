"""The files service on real sockets and in real threads."""

from __future__ import annotations

import gc
import json
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from blake3 import blake3
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from sockserv import Anonymous, Client, Identity, Server, connect
from sockserv.errors import SockservError
from sockserv.services.files import Files
from sockserv.state import StateDirectory
from sockserv.trust import EVERYTHING
from tests.integration.conftest import ANY_PORT, Twistd

OWNER = Anonymous(Identity("owner", frozenset({EVERYTHING})))
CONTENT = bytes(range(256)) * 40_000


def digest(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


@asynccontextmanager
async def served(root: Path) -> AsyncIterator[Client]:
    server = Server(reactor, [Files(root)], authenticator=OWNER)
    port: Any = await server.listen("tcp:0:interface=127.0.0.1")
    client = await connect(reactor, f"tcp://127.0.0.1:{port.getHost().port}")
    try:
        yield client
    finally:
        await client.close()
        await server.stop()


async def put(client: Client, path: str, content: bytes, **args: Any) -> Any:
    call = await client.open("files.put", {"path": path, "size": len(content), **args})
    await call.send(content)
    await call.send(json.dumps({"digest": digest(content)}).encode(), stream=1)
    call.end()
    return await call.result()


async def get(client: Client, path: str) -> tuple[bytes, Any]:
    call = await client.open("files.get", {"path": path}, end=True)
    body = bytearray()
    while (taken := await call.body.take()) is not None:
        if not taken[0]:
            body += taken[1]
    return bytes(body), await call.result()


def open_below(root: Path) -> list[str]:
    targets = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # a thread has closed it meanwhile
            targets.append(os.readlink(f"/proc/self/fd/{number}"))
    return [target for target in targets if target.startswith(str(root))]


@pytest_twisted.ensureDeferred
async def test_there_and_back(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        for size in (0, 1, 300_000, len(CONTENT)):
            content = CONTENT[:size]
            stored = await put(client, f"a/{size}", content, parents=True)
            body, result = await get(client, f"a/{size}")
            assert body == content
            assert result["digest"] == stored["digest"] == digest(content)
            assert result["etag"] == stored["etag"]
    assert open_below(tmp_path) == []


@pytest_twisted.ensureDeferred
async def test_many_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        putting = [
            Deferred.fromCoroutine(put(client, str(number), CONTENT[number:]))
            for number in range(20)
        ]
        await gatherResults(putting)
        getting = [Deferred.fromCoroutine(get(client, str(number))) for number in range(20)]
        for number, (body, result) in enumerate(await gatherResults(getting)):
            assert body == CONTENT[number:]
            assert result["digest"] == digest(body)


@pytest.mark.parametrize("wait_seconds", [0.0, 0.02, 0.1])
@pytest_twisted.ensureDeferred
async def test_who_goes_away_leaves_nothing_open(tmp_path: Path, wait_seconds: float) -> None:
    """At once: a collector of garbage may come late."""
    (tmp_path / "a").write_bytes(CONTENT)
    gc.collect()
    gc.disable()
    try:
        async with served(tmp_path) as client:
            calls = [
                await client.open("files.get", {"path": "a", "digest": number % 2 == 0}, end=True)
                for number in range(50)
            ]
            for number in range(20):
                args = {"path": str(number), "size": len(CONTENT), "upload": "x"}
                call = await client.open("files.put", args)
                Deferred.fromCoroutine(call.send(CONTENT)).addErrback(
                    lambda failure: failure.trap(SockservError)
                )
                calls.append(call)
            await deferLater(reactor, wait_seconds)
            for call in calls:
                call.cancel()
            await (
                client.ping()
            )  # all of them have come to the server by now, though not to its threads
            quiet_turns = 0
            for _ in range(200):
                await deferLater(reactor, 0.02)
                quiet_turns = 0 if open_below(tmp_path) else quiet_turns + 1
                if quiet_turns == 5:
                    break
            assert quiet_turns == 5, open_below(tmp_path)
    finally:
        gc.enable()


@pytest.mark.parametrize("option", [True, False])
@pytest_twisted.ensureDeferred
async def test_the_daemon_serves_its_root(
    twistd: Callable[..., Twistd], state: Path, tmp_path: Path, option: bool
) -> None:
    root = tmp_path / "elsewhere" if option else state / "files"
    more = [f"--root={root}"] if option else []
    daemon = twistd(f"--state={state}", f"--listen={ANY_PORT}", *more)
    url = daemon.wait_until_listening(state).listening[0]
    client = await connect(reactor, url, token=StateDirectory(state).owner_token())
    await put(client, "a/b", CONTENT, parents=True, mtime_ns=5)
    body, _ = await get(client, "a/b")
    assert body == (root / "a" / "b").read_bytes() == CONTENT
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    await client.close()
    assert daemon.stop() in (0, -signal.SIGTERM)
    log = (state / "audit" / "00000001.jsonl").read_text()
    assert '"files.put"' in log
