"""The tutorial's upload server: a header in JSON with a length before it, and then the file.

And the other way round, `get`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
import msgspec
from twisted.logger import Logger

from sockserv.classic.conversation import Conversation, Hangup
from sockserv.classic.headers import INT, framed
from sockserv.classic.inside import Connect
from sockserv.client import Client
from sockserv.errors import CallError, GoodbyeCode, ProtocolError, SockservError
from sockserv.files.errors import RefusedName
from sockserv.wire.framing import FramePart, FrameReader

__all__ = ["MAX_HEADER_BYTES", "Uploads"]

MAX_HEADER_BYTES: Final = 64 * 1024
_MAX_FILE_BYTES: Final = 2**53 - 1
_SILENCE_SECONDS: Final = 60.0
"""So long may pass in the middle of a header, or of a file."""


class _Request(msgspec.Struct):
    """A header, with what we need of it; clients have put more into it, each of its own."""

    cmd: str
    filename: str = ""
    filesize: int = 0

    @property
    def size(self) -> int:
        """How many bytes follow."""
        return self.filesize if self.cmd == "put" else 0


@attrs.frozen(kw_only=True)
class Uploads:
    """Stores files for as long as the other side sends some, and sends those that it asks for.

    With `overwrite`, as in the tutorial, a file replaces one of the same name.
    """

    overwrite: bool = True

    _log = Logger()

    async def __call__(self, conversation: Conversation, connect: Connect) -> None:
        """Answer until the other side sends no more. Raises `Hangup` for what is no request."""
        client = await connect()
        try:
            await self._serve(_Requests(conversation), conversation, client)
        except ProtocolError as error:
            # Where the next header begins, nobody knows any more.
            await conversation.send(_refusal(str(error)))
        finally:
            await client.close()

    async def _serve(self, requests: _Requests, conversation: Conversation, client: Client) -> None:
        while (part := await requests.next()) is not None:
            request = part.header
            assert request is not None
            try:
                match request.cmd:
                    case "put":
                        await self._put(request, part, requests, client)
                    case "get":
                        await _get(request, conversation, client)
                    case _:
                        await conversation.send(_refusal("cmd is put or get"))
            except CallError as error:
                if request.cmd != "put":
                    await conversation.send(_refusal(error.message))
                else:
                    # An upload has no answer, in which it could be said.
                    self._log.warn(
                        "{who}: an upload was refused: {why}", who=conversation, why=error
                    )
                    await requests.skip()

    async def _put(
        self, request: _Request, part: FramePart[_Request], requests: _Requests, client: Client
    ) -> None:
        path = _bare(request.filename)
        parts = [part]

        async def read() -> bytes:
            # Parts without content come where a piece ends with a header.
            while parts or requests.left:
                piece = parts.pop() if parts else await requests.more()
                if piece.body:
                    return piece.body
            return b""

        await client.files.put_stream(read, path, overwrite=self.overwrite)


async def _get(request: _Request, conversation: Conversation, client: Client) -> None:
    path = _bare(request.filename)
    known = await client.call("files.digest", {"path": path, "algorithm": "md5"})
    call = await client.open("files.get", {"path": path, "etag": known.result["etag"]}, end=True)
    header = {
        "filename": request.filename,
        "filesize": known.result["size"],
        "md5": known.result["digest"].removeprefix("md5:"),
    }
    begun = False
    try:
        while (taken := await call.body.take()) is not None:
            stream, piece = taken
            if not begun:
                begun = True
                await conversation.send(framed(header))
            if not stream:
                await conversation.send(piece)
        await call.result()
    except SockservError as error:
        if not begun:
            raise
        # The rest of what was promised cannot come.
        raise Hangup(f"{request.filename!r} was not sent: {error}") from error
    finally:
        call.cancel()


def _bare(name: str) -> str:
    """A name without a way to it. Raises `RefusedName`."""
    if not name or "/" in name or "\\" in name:
        raise RefusedName(f"{name!r} is not the bare name of a file")
    return name


def _refusal(why: str) -> bytes:
    return framed({"error": why, "filesize": 0})


def _decode(header: bytes) -> _Request:
    try:
        return msgspec.json.decode(header, type=_Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(GoodbyeCode.BAD_FRAME, f"the header is no request: {error}") from None


class _Requests:
    """The requests of a conversation, as they come, in parts."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._reader = FrameReader(
            _decode,
            max_header_bytes=MAX_HEADER_BYTES,
            max_body_bytes=_MAX_FILE_BYTES,
            prefix=INT,
        )
        self._parts: Iterator[FramePart[_Request]] = iter(())
        self.left = 0
        """How much of the request that was begun is still to come, in bytes."""

    async def next(self) -> FramePart[_Request] | None:
        """The first part of the next request; None when there are no more. Raises `ProtocolError`, and `Hangup`."""
        return await self._next(timeout_seconds=None)

    async def more(self) -> FramePart[_Request]:
        """The next part of a request that is not whole. Raises `Hangup` when it will never be."""
        part = await self._next(timeout_seconds=_SILENCE_SECONDS)
        if part is None:
            raise Hangup(f"the connection ended {self.left} bytes before the end of a file")
        return part

    async def skip(self) -> None:
        """Take the rest of a request that is not wanted."""
        while self.left:
            await self.more()

    async def _next(self, *, timeout_seconds: float | None) -> FramePart[_Request] | None:
        while True:
            for part in self._parts:
                self.left = part.remaining
                return part
            if not self._reader.is_between_frames:
                timeout_seconds = _SILENCE_SECONDS
            data = await self._conversation.receive(timeout_seconds=timeout_seconds)
            if not data:
                if self._reader.is_inside_header:
                    raise Hangup("the connection ended in a header")
                return None
            self._parts = self._reader.feed(data)
