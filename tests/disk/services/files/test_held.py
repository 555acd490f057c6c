"""What uploads keep in memory counts for all that the server holds, until it is on the disk."""

from __future__ import annotations

from typing import Any

import pytest

from sockserv.net.held import held_bytes
from sockserv.testing import OWNER
from tests.disk.services.files.kit import FilesServer

PIECE = bytes(100_000)


@pytest.mark.parametrize(
    ("size", "pieces", "written"),
    [
        pytest.param(150_000, 1, 0, id="a small file that is not whole"),
        pytest.param(10_000_000, 3, 0, id="less than is written at once"),
        pytest.param(10_000_000, 13, 1024 * 1024, id="more than that"),
    ],
)
@pytest.mark.parametrize("op", ["put", "offer"])
def test_what_is_kept(files: FilesServer, op: str, size: int, pieces: int, written: int) -> None:
    args: dict[str, Any] = {"put": {"path": "a"}, "offer": {"to": OWNER.name, "name": "a"}}[op]

    async def send() -> None:
        call = await files.client().open(f"files.{op}", {**args, "size": size})
        for _ in range(pieces):
            await call.send(PIECE)

    files.memory.run(send())
    files.memory.flush()
    (peer,) = files.memory.server._peers
    (call,) = peer.connection.calls.incoming.values()
    kept = held_bytes(peer) - call.args_bytes  # type: ignore[attr-defined]
    most = pieces * len(PIECE) - written
    assert most - len(PIECE) < kept <= most
