"""A files service in memory, on a directory of the test's own, and what tests say to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from sockserv.client import Client, Reply
from sockserv.services.files import Files
from sockserv.testing import OWNER, Link, MemoryServer
from sockserv.trust import FilesAccess, FilesGrant, Identity

__all__ = ["BIG", "FilesServer", "digest", "somebody"]

BIG = bytes(range(256)) * 1200
"""More than what is handled at once."""


def digest(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


def somebody(access: FilesAccess, root: str = ".", name: str = "somebody") -> Identity:
    return Identity(name, frozenset({"files"}), files=FilesGrant(root, access))


class FilesServer:
    """A memory server with a files service on `root`, and a client of it; use it in a `with` block.

    `settings` are those of `Files`. `now_ns` is the time of day that the service goes by, in a list.
    """

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.now_ns = [2_000_000_000 * 10**9]
        self.service = Files(
            root,
            now_ns=lambda: self.now_ns[0],
            seconds=lambda: self.memory.clock.seconds(),
            **settings,
        )
        self.memory = MemoryServer([self.service])
        self._clients: dict[Identity, Client] = {}

    def __enter__(self) -> FilesServer:
        self.memory.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.memory.__exit__(*error)

    def client(self, who: Identity = OWNER, link: Link | None = None) -> Client:
        if link is not None:
            return self.memory.connect(who, link=link)
        if who not in self._clients:
            self._clients[who] = self.memory.connect(who)
        return self._clients[who]

    def call(
        self,
        op: str,
        args: Mapping[str, Any] | None = None,
        body: bytes = b"",
        *,
        who: Identity = OWNER,
        max_seconds: float = 0.0,
    ) -> Reply[Any]:
        """Ask for an operation; the `files.` of its name may be left out."""
        calling = self.client(who).call(f"files.{op}", args or {}, body=body, max_reply_bytes=2**30)
        return self.memory.run(calling, max_seconds=max_seconds)

    def put(self, path: str, content: bytes, *, who: Identity = OWNER, **args: Any) -> Any:
        """Store a file in one call; gives the result."""
        args = {"path": path, "size": len(content), "digest": digest(content), **args}
        return self.call("put", args, content, who=who).result

    def stream(
        self,
        path: str,
        content: bytes,
        *,
        who: Identity = OWNER,
        trailer: bytes | None = None,
        **args: Any,
    ) -> Any:
        """Store a file whose digest follows its content."""
        if trailer is None:
            trailer = json.dumps({"digest": digest(content)}).encode()
        offset = args.get("offset", 0)

        async def send() -> Any:
            call = await self.client(who).open(
                "files.put", {"path": path, "size": len(content), **args}
            )
            await call.send(content[offset:])
            await call.send(trailer, stream=1)
            call.end()
            return await call.result()

        return self.memory.run(send())

    def get(self, path: str, *, who: Identity = OWNER, **args: Any) -> tuple[Any, bytes, Any]:
        """Ask for a file; gives what was said first, its content, and the result."""

        async def take() -> tuple[Any, bytes, Any]:
            call = await self.client(who).open("files.get", {"path": path, **args}, end=True)
            streams = {0: b"", 1: b""}
            while (taken := await call.body.take()) is not None:
                stream, piece = taken
                assert not (stream and streams[0]), "the head comes first"
                streams[stream] += piece
            return json.loads(streams[1]), streams[0], await call.result()

        return self.memory.run(take())

    def entries(self, path: str = "", **args: Any) -> list[Any]:
        """The entries of a directory, by name."""
        reply = self.call("list", {"path": path, **args})
        entries = [json.loads(line) for line in reply.body.splitlines()]
        assert reply.result == {"count": len(entries)}
        return sorted(entries, key=lambda entry: entry["path"] or entry["name"])

    def names(self) -> list[str]:
        """All that is on the disk below the root, unfinished files too."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))
