"""What must hold of files that are sent, whatever way they take: each of `TRANSFERS` runs on a client and a service.

On a link in memory the bytes are read and written, on a socket the system sends them.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import gatherResults

from sockserv.client import Client
from sockserv.errors import CallEnded, CallError, FileBroken
from sockserv.services import Call, Service, operation
from sockserv.services.api import Audit
from sockserv.services.echo import Echo

KIB = 1024
MIB = 1024 * KIB
SIZES = (0, 1, 4 * KIB, 64 * KIB - 1, 64 * KIB, MIB, MIB + 1, 3 * MIB + 17)


class Broken(CallError):
    """The file broke while it was sent."""

    code = "lender.broken"


@attrs.frozen
class Part:
    path: str
    offset: int = 0
    count: int | None = None


class Lender(Service):
    """Sends files, and reads what is sent."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    @operation("lender.send", args=Part, permission="lender", audit=Audit.NEVER)
    async def send(self, call: Call[Part]) -> int:
        """A part of a file; the descriptor's number belongs to another file as soon as that is allowed."""
        file = os.open(call.args.path, os.O_RDONLY)
        try:
            return await call.send_file(file, offset=call.args.offset, count=call.args.count)
        except FileBroken as error:
            raise Broken(str(error)) from None
        finally:
            os.close(file)
            self.descriptors.append(os.open("/dev/zero", os.O_RDONLY))

    @operation("lender.receive", permission="lender", audit=Audit.NEVER)
    async def receive(self, call: Call[Any]) -> tuple[int, str]:
        """How many bytes came, and their digest."""
        digest = hashlib.sha256()
        count = 0
        while (pieces := await call.body.take_all()) is not None:
            for _, piece in pieces:
                digest.update(piece)
                count += len(piece)
        return count, digest.hexdigest()

    def close(self) -> None:
        """Close what was opened in the place of the files."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def services() -> list[Service]:
    return [Lender(), Echo()]


def make_file(folder: Path, size: int, name: str = "file") -> tuple[Path, bytes]:
    content = random.Random(f"{name} {size}").randbytes(size)
    path = folder / name
    path.write_bytes(content)
    return path, content


async def get(client: Client, path: Path, offset: int = 0, count: int | None = None) -> bytes:
    part = {"path": str(path), "offset": offset, "count": count}
    reply = await client.call("lender.send", part, result=int)
    assert reply.result == len(reply.body)
    return reply.body


async def put(client: Client, path: Path, offset: int = 0, count: int | None = None) -> Any:
    call = await client.open("lender.receive")
    with path.open("rb") as file:
        sent = await call.send_file(file.fileno(), offset=offset, count=count)
    call.end()
    received, digest = await call.result(tuple[int, str])
    assert received == sent
    return digest


async def check_alive(client: Client) -> None:
    """The connection is still good for other calls."""
    assert (await client.call("echo", body=b"still here")).body == b"still here"


async def every_size_to_the_caller(client: Client, folder: Path) -> None:
    for size in SIZES:
        path, content = make_file(folder, size)
        assert await get(client, path) == content


async def every_size_to_the_callee(client: Client, folder: Path) -> None:
    for size in SIZES:
        path, content = make_file(folder, size)
        assert await put(client, path) == hashlib.sha256(content).hexdigest()


async def parts(client: Client, folder: Path) -> None:
    path, content = make_file(folder, 2 * MIB)
    for offset, count in [
        (0, 0),
        (1, MIB),
        (MIB - 1, 100),
        (MIB, None),
        (5, 2 * MIB),
        (9 * MIB, 1),
    ]:
        part = content[offset:] if count is None else content[offset : offset + count]
        assert await get(client, path, offset, count) == part
        assert await put(client, path, offset, count) == hashlib.sha256(part).hexdigest()


async def many_at_once(client: Client, folder: Path) -> None:
    files = [make_file(folder, 2 * MIB + number, f"file {number}") for number in range(5)]
    gets = gatherResults([client.call("lender.send", {"path": str(path)}) for path, _ in files])
    await check_alive(client)
    replies = await gets
    assert [reply.body for reply in replies] == [content for _, content in files]


async def a_caller_gives_up(client: Client, folder: Path) -> None:
    path, content = make_file(folder, 8 * MIB)
    for pieces in (1, 5):
        call = await client.open("lender.send", {"path": str(path)})
        got = b"".join([await anext(call.body) for _ in range(pieces)])
        assert content.startswith(got)
        call.cancel()
        await check_alive(client)
    assert await get(client, path) == content


async def a_sender_gives_up(client: Client, folder: Path) -> None:
    path, content = make_file(folder, 8 * MIB)
    file = os.open(path, os.O_RDONLY)
    call = await client.open("lender.receive")
    sending = call.send_file(file)
    sending.send(None)  # it waits for the callee
    call.cancel()
    os.close(file)
    sending.close()
    await check_alive(client)
    assert await put(client, path) == hashlib.sha256(content).hexdigest()


async def a_file_is_cut_on_its_way_to_the_caller(client: Client, folder: Path) -> None:
    path, content = make_file(folder, 16 * MIB)
    call = await client.open("lender.send", {"path": str(path)})
    got = bytearray(await anext(call.body))
    os.truncate(path, 0)
    with suppress(Broken):
        async for piece in call.body:
            got += piece
    ended = len(got.rstrip(b"\0"))
    assert content.startswith(got[:ended])
    assert len(got) < 16 * MIB
    try:
        assert await call.result(int) == len(got), "what came was in memory already"
    except Broken:
        assert len(got) - ended <= 2 * MIB, "no more than a window"
    await check_alive(client)


async def a_file_is_cut_on_its_way_to_the_callee(client: Client, folder: Path) -> None:
    path, _ = make_file(folder, 16 * MIB)
    call = await client.open("lender.receive")
    file = os.open(path, os.O_RDONLY)
    sending = call.send_file(file, count=MIB)
    sent = await sending
    os.truncate(path, MIB)
    assert sent + await call.send_file(file, offset=MIB) == MIB
    os.close(file)
    call.end()
    assert (await call.result(tuple[int, str]))[0] == MIB
    await check_alive(client)


async def a_file_grows(client: Client, folder: Path) -> None:
    path, content = make_file(folder, MIB)
    with path.open("ab") as file:
        file.write(b"more")
    assert await get(client, path, count=MIB) == content
    assert await get(client, path) == content + b"more"


async def an_answered_call(client: Client, folder: Path) -> None:
    path, _ = make_file(folder, MIB)
    call = await client.open("lender.receive", end=True)
    await call.result()
    with path.open("rb") as file, pytest.raises(CallEnded):
        await call.send_file(file.fileno())


async def memory_that_is_used_again(client: Client, folder: Path) -> None:
    memory = memoryview(bytearray(3 * MIB))
    expected = hashlib.sha256()
    call = await client.open("lender.receive")
    for number, size in enumerate((1, 3 * MIB, 64 * KIB, 0, MIB + 1, 3 * MIB), start=1):
        memory[:size] = bytes([number]) * size
        expected.update(memory[:size])
        await call.send_memory(memory[:size])
        memory[:] = bytes(len(memory))
    call.end()
    assert await call.result(tuple[int, str]) == (7 * MIB + 64 * KIB + 2, expected.hexdigest())


async def memory_in_a_call_that_is_answered(client: Client, folder: Path) -> None:
    call = await client.open("lender.nothing")

    async def send_for_ever() -> None:
        while True:
            await call.send_memory(memoryview(bytes(MIB)))

    with pytest.raises(CallError):
        await send_for_ever()
    await check_alive(client)


TRANSFERS: tuple[Callable[[Client, Path], Awaitable[None]], ...] = (
    every_size_to_the_caller,
    every_size_to_the_callee,
    parts,
    many_at_once,
    a_caller_gives_up,
    a_sender_gives_up,
    a_file_is_cut_on_its_way_to_the_caller,
    a_file_is_cut_on_its_way_to_the_callee,
    a_file_grows,
    an_answered_call,
    memory_that_is_used_again,
    memory_in_a_call_that_is_answered,
)
