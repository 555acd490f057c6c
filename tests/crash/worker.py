"""A client that stores, moves and removes files for as long as it lives, and keeps a journal of what it was told.

A line is written before each request (`?`) and after its answer (`!`): a process that is killed loses none of them.
"""

from __future__ import annotations

import json
import os
import random
import sys
from contextlib import suppress
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sockserv import Client, connect
from sockserv.errors import ConnectError, ConnectionEnded, SockservError
from sockserv.files.errors import Busy, FilesError, NotFound
from sockserv.state import StateDirectory
from tests.crash.content import content_of, digest_of

NAMES = 6
PIECE_BYTES = 64 * 1024


class Worker:
    """Does one thing after the other; each of its names is its own, and its versions only grow."""

    def __init__(self, state: str, journal: str, prefix: str, seed: int) -> None:
        self._state = StateDirectory(StateDirectory.locate(state).path)
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._prefix = prefix
        self._random = random.Random(seed)
        with open(journal, encoding="utf-8") as before:
            self._version = sum(1 for _ in before)
        self._unfinished: tuple[str, int] | None = None

    async def run(self) -> None:
        while True:
            try:
                client = await connect(
                    reactor,
                    self._state.running().listening[0],
                    token=self._state.owner_token(),
                )
                while True:
                    await self._do_something(client)
            except (ConnectError, ConnectionEnded, SockservError) as error:
                if isinstance(error, FilesError):
                    raise
                await deferLater(reactor, 0.02)

    async def _do_something(self, client: Client) -> None:
        name = f"{self._prefix}/{self._random.randrange(NAMES)}"
        what = self._random.random()
        if self._unfinished is not None:
            name, version = self._unfinished
            await self._put(client, name, version)
        elif what < 0.8:
            self._version += 1
            self._unfinished = name, self._version
            self._note("?", "put", name, self._version)
            await self._put(client, name, self._version)
        else:
            await self._remove(client, name)

    async def _put(self, client: Client, name: str, version: int) -> None:
        content = content_of(name, version)
        args = {"path": name, "size": len(content), "overwrite": "always", "parents": True}
        args["digest"] = digest_of(content)
        upload = f"v{version}"
        if len(content) <= PIECE_BYTES:
            result = (await client.call("files.put", args, body=content)).result
        else:
            try:
                offset = await self._kept(client, name, upload, content)
            except Busy:
                # The server has not noticed yet that our connection has ended.
                await deferLater(reactor, 0.05)
                return
            call = await client.open("files.put", {**args, "upload": upload, "offset": offset})
            for begin in range(offset, len(content), PIECE_BYTES):
                await call.send(content[begin : begin + PIECE_BYTES])
            call.end()
            result = await call.result()
        assert result["digest"] == args["digest"]
        self._note("!", "put", name, version)
        self._unfinished = None

    async def _kept(self, client: Client, name: str, upload: str, content: bytes) -> int:
        try:
            reply: Any = await client.call("files.partial", {"path": name, "upload": upload})
        except NotFound:
            return 0
        offset: int = reply.result["offset"]
        assert offset <= len(content)
        if digest_of(content[:offset]) != reply.result["digest"]:
            raise AssertionError(f"{name}: what was kept up to {offset} is not what was sent")
        return offset

    async def _remove(self, client: Client, name: str) -> None:
        self._note("?", "remove", name, self._version)
        with suppress(NotFound):
            await client.call("files.remove", {"path": name})
        self._note("!", "remove", name, self._version)

    def _note(self, *line: object) -> None:
        os.write(self._journal, json.dumps(line).encode() + b"\n")


def main() -> None:
    state, journal, prefix, seed = sys.argv[1:]
    worker = Worker(state, journal, prefix, int(seed))

    def failed(failure: Failure) -> None:
        os.write(2, failure.getTraceback().encode())
        os._exit(3)

    Deferred.fromCoroutine(worker.run()).addErrback(failed)
    reactor.run()


if __name__ == "__main__":
    main()
