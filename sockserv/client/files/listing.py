"""What is in a directory at the server, entry by entry as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from sockserv.client.files.plan import Listed
from sockserv.errors import UnexpectedResult
from sockserv.files.errors import FilesError
from sockserv.files.facts import Entry
from sockserv.files.names import components

if TYPE_CHECKING:
    from sockserv.client.client import Client
    from sockserv.net.calls import OutgoingCall

__all__ = ["Listing", "list_all"]

_MAX_LINE_BYTES: Final = 64 * 1024


class Listing:
    """The entries of a directory: an asynchronous iterator of `Entry`, in the order of the disk.

    It holds what one window of the call does, however large the directory is. Iterating raises what the call fails
    with, and `UnexpectedResult`. Whoever does not go on to the end has to `close` it.
    """

    def __init__(self, client: Client, path: str, *, recursive: bool) -> None:
        self._client = client
        self._arguments = {"path": path, "recursive": recursive}
        self._call: OutgoingCall | None = None
        self._decode = msgspec.json.Decoder(Entry).decode
        self._rest = b""
        self._entries: Iterator[Entry] = iter(())

    def __aiter__(self) -> Listing:
        return self

    async def __anext__(self) -> Entry:
        if self._call is None:
            self._call = await self._client.open("files.list", self._arguments, end=True)
        while True:
            for entry in self._entries:
                return entry
            taken = await self._call.body.take()
            if taken is None:
                await self._call.raw_result()
                if self._rest:
                    raise UnexpectedResult("the list ends in the middle of a line")
                raise StopAsyncIteration
            self._entries = iter(self._lines(taken[1]))

    def close(self) -> None:
        """No more entries are wanted."""
        if self._call is not None:
            self._call.cancel()

    def _lines(self, piece: bytes) -> list[Entry]:
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest
        if len(rest) > _MAX_LINE_BYTES:
            raise UnexpectedResult("a line of the list is too long")
        try:
            return [self._decode(line) for line in lines]
        except msgspec.DecodeError as error:
            raise UnexpectedResult(f"the list is not what was expected: {error}") from None


async def list_all(client: Client, path: str) -> Listed:
    """All that is in a directory at the server and below, with names that may become those of files here.

    Raises what the call fails with, and `UnexpectedResult`.
    """
    entries: dict[str, Entry] = {}
    unreadable: list[tuple[str, str]] = []
    listing = Listing(client, path, recursive=True)
    try:
        async for entry in listing:
            below = entry.name if entry.path is None else entry.path
            reason = _refusal(entry, below)
            if reason is None:
                entries[below] = entry
            else:
                unreadable.append((below, reason))
    finally:
        listing.close()
    return Listed(entries, tuple(unreadable))


def _refusal(entry: Entry, path: str) -> str | None:
    if entry.unnameable:
        return "its name at the server is not UTF-8, so that it cannot be asked for"
    try:
        names = components(path)
    except FilesError as error:
        return f"no file here may be called so: {error}"
    return None if names else "a file without a name"
