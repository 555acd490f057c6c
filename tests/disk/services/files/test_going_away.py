"""Callers who go away at any moment leave nothing open, and nothing half done that shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.client import Client
from sockserv.errors import SockservError
from sockserv.files.names import is_reserved
from sockserv.testing import OWNER, Link
from tests.disk.services.files.kit import BIG, FilesServer, digest
from tests.disk.services.files.test_get import open_files

CONTENT = 2 * BIG

OPERATIONS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "put": ("put", {"path": "new", "size": 5, "digest": digest(b"hello")}, b"hello"),
    "put, large": (
        "put",
        {"path": "new", "size": len(CONTENT), "digest": digest(CONTENT), "upload": "x"},
        CONTENT,
    ),
    "partial": ("partial", {"path": "a", "upload": "x"}, b""),
    "get": ("get", {"path": "small"}, b""),
    "get, large": ("get", {"path": "a"}, b""),
    "get, large, without a digest": ("get", {"path": "a", "digest": False}, b""),
    "digest": ("digest", {"path": "a"}, b""),
    "stat": ("stat", {"path": "a"}, b""),
    "list": ("list", {"recursive": True}, b""),
    "mkdir": ("mkdir", {"path": "new/er", "parents": True}, b""),
    "move": ("move", {"source": "a", "target": "new"}, b""),
    "remove": ("remove", {"path": "many", "recursive": True}, b""),
    "usage": ("usage", {}, b""),
    "offer": (
        "offer",
        {"to": OWNER.name, "name": "new", "size": len(CONTENT), "digest": digest(CONTENT)},
        CONTENT,
    ),
    "offered": ("offered", {"to": OWNER.name, "name": "new", "upload": "x"}, b""),
}


def cancel(link: Link, call: Any) -> None:
    call.cancel()


def cut(link: Link, call: Any) -> None:
    link.cut()


def test_every_operation_is_here(files: FilesServer) -> None:
    assert {f"files.{op}" for op, _, _ in OPERATIONS.values()} == files.service.operations().keys()


@pytest.mark.parametrize("go_away", [cancel, cut])
@pytest.mark.parametrize("name", OPERATIONS)
def test_at_any_moment(files: FilesServer, name: str, go_away: Callable[[Link, Any], None]) -> None:
    op, args, body = OPERATIONS[name]
    (files.root / "many").mkdir(parents=True)
    for number in range(10):
        (files.root / "many" / str(number)).touch()
    (files.root / "small").write_bytes(b"hello")
    (files.root / "a").write_bytes(CONTENT)
    before = {*files.names()}
    for turns in (*range(20), 25, 30, 40, 60):
        link = Link()
        client = files.client(link=link)
        calling = Deferred.fromCoroutine(use(client, op, args, body))
        calling.addErrback(lambda failure: failure.trap(SockservError, CancelledError))
        for _ in range(turns):
            if not files.memory.network.step():
                break
        go_away(link, calling)
        files.memory.flush()
        assert not open_files(files), turns
        for path in {*files.names()} - before:
            file = files.root / path
            assert (
                is_reserved(file.name) or file.is_dir() or file.read_bytes() in (b"hello", CONTENT)
            )
    assert files.call("stat", {"path": "small"}).result["size"] == 5


async def use(client: Client, op: str, args: dict[str, Any], body: bytes) -> None:
    call = await client.open(f"files.{op}", args)
    try:
        if body:
            await call.send(body)
        call.end()
        async for _ in call.body:
            pass
        await call.result()
    finally:
        call.cancel()
