"""The client of asyncssh, on one connection, to whatever speaks SSH; the plan's `key` is a file, if one is needed."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable
from typing import Any

import asyncssh

from benchmarks.clients.execution.driving import CAT, PIECE_BYTES, do_jobs
from benchmarks.clients.files.jobs import read_plan


class AsyncSsh:
    """See `benchmarks.clients.execution.driving.Runner`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, argv: list[str]) -> None:
        """Run a command to its end."""
        done = await self._connection.run(shlex.join(argv), input="")
        assert done.exit_status == 0, done

    async def drain(self, argv: list[str]) -> int:
        """Read all that a command writes."""
        process = await self._connection.create_process(shlex.join(argv), encoding=None)
        process.stdin.write_eof()
        count = await _count(process)
        await process.wait()
        assert process.exit_status == 0
        return count

    async def echo(self, data: bytes) -> int:
        """Give this to `cat`, and read what comes back."""
        process = await self._connection.create_process(shlex.join(CAT), encoding=None)

        async def write() -> None:
            for start in range(0, len(data), PIECE_BYTES):
                process.stdin.write(data[start : start + PIECE_BYTES])
                await process.stdin.drain()
            process.stdin.write_eof()

        writing = asyncio.ensure_future(write())
        count = await _count(process)
        await writing
        return count


async def _count(process: Any) -> int:
    total = 0
    while data := await process.stdout.read(PIECE_BYTES):
        total += len(data)
    return total


def _gather(jobs: list[Awaitable[None]]) -> Awaitable[Any]:
    return asyncio.gather(*jobs)


async def work() -> None:
    """Connect, and do what there is to do."""
    plan = read_plan()
    async with asyncssh.connect(
        "127.0.0.1",
        plan["port"],
        known_hosts=None,
        username=plan.get("user", "anybody"),
        client_keys=[plan["key"]] if "key" in plan else None,
        password=plan.get("password"),
        config=None,
    ) as connection:
        await do_jobs(AsyncSsh(connection), gather=_gather, in_thread=asyncio.to_thread)


if __name__ == "__main__":
    asyncio.run(work())
