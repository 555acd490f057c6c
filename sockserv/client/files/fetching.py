"""Files from the server: small ones in one call each, large ones piece by piece."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred

from sockserv.client.files.errors import TargetExists
from sockserv.client.files.local import Source, whole_digest
from sockserv.client.files.parallel import forget
from sockserv.client.files.plan import Step
from sockserv.client.files.progress import Progress, State, Transfer
from sockserv.client.files.target import Target
from sockserv.errors import UnexpectedResult
from sockserv.files.arguments import NEVER, DigestArguments, GetArguments
from sockserv.files.digests import digest_of, new_hasher
from sockserv.files.errors import Changed, DigestMismatch
from sockserv.files.facts import HEAD_STREAM, Digest, FileType, Head

if TYPE_CHECKING:
    from sockserv.client.client import Client
    from sockserv.net.calls import OutgoingCall
    from sockserv.net.threads import InThread

__all__ = ["Fetched", "Fetcher", "mismatch"]

_MAX_HEAD_BYTES: Final = 4096
_BATCH_BYTES: Final = 1024 * 1024


@attrs.frozen
class Fetched:
    """A small file in memory, and the digest that it should have."""

    step: Step
    head: Head
    content: bytes
    digest: str


@attrs.frozen
class _Result:
    count: int
    etag: str
    digest: str | None


@attrs.frozen(kw_only=True)
class Fetcher:
    """Fetches files. `preserve` keeps their modes and times, `resume` goes on with what broke off."""

    client: Client
    in_thread: InThread
    progress: Progress
    resume: bool
    preserve: bool

    async def fetch_small(self, step: Step, *, max_bytes: int) -> Fetched:
        """Fetch a file into memory; its digest is still to be compared.

        Raises what the call fails with, `DigestMismatch` if it is not complete, and `ReplyTooLarge`.
        """
        reply = await self.client.call(
            "files.get",
            GetArguments(path=step.path, etag=step.etag),
            result=_Result,
            max_reply_bytes=max_bytes + _MAX_HEAD_BYTES,
        )
        # The head is a stream of its own that comes first, and here they are one after the other.
        start = len(reply.body) - reply.result.count
        head = _decode_head(reply.body[: max(0, start)], step)
        content = reply.body[start:]
        if len(content) != head.size or reply.result.digest is None:
            raise mismatch(step)
        return Fetched(step, head, content, reply.result.digest)

    async def pour(self, step: Step, write: Callable[[bytes], Awaitable[None]]) -> int:
        """Fetch a file, and give each piece to `write` as it comes; gives its size.

        Raises `DigestMismatch` at the end if what was written is not the file.
        """
        hasher = new_hasher()
        call = await self.client.open(
            "files.get", GetArguments(path=step.path, etag=step.etag), end=True
        )
        try:
            head, piece = await _take_head(call, step)
            done = 0
            while piece:
                # 0.1 ms at most, for what the network delivers at once.
                hasher.update(piece)
                await write(bytes(piece))
                done += len(piece)
                if done > head.size:
                    raise mismatch(step)
                self.progress(Transfer(attrs.evolve(step, size=head.size), State.RUNNING, done))
                piece = await _take_content(call, step)
            result: _Result = await call.result(_Result)
        finally:
            call.cancel()
        if result.digest != digest_of(hasher) or done != head.size:
            raise mismatch(step)
        self.progress(Transfer(attrs.evolve(step, size=head.size), State.DONE, done))
        return done

    async def fetch(self, step: Step) -> None:
        """Fetch a file to its place. `step.etag` says which content.

        Raises what the call fails with, `TargetExists`, `TargetBusy` and `LocalFileError`.
        """
        assert step.etag is not None
        target = Target(step.place, step.etag)
        if step.overwrite == NEVER and await self._is_there(target, step):
            self.progress(Transfer(step, State.SAME, step.size, step.size))
            return
        try:
            offset = await self.in_thread(self._open, target)
            if offset > step.size:
                await self.in_thread(target.clear)
                offset = 0
            self.progress(Transfer(step, State.RUNNING, offset, offset))
            head, digest = await self._receive(offset, step, target)
            if target.digest != digest:
                await self.in_thread(target.clear)
                raise mismatch(step)
            await self.in_thread(self._finish, target, step, head)
        finally:
            forget(self.in_thread(target.close))
        self.progress(Transfer(step, State.DONE, step.size, offset))

    def _open(self, target: Target) -> int:
        return target.open(resume=self.resume, is_private=self.preserve)

    def _finish(self, target: Target, step: Step, head: Head) -> None:
        target.finish(
            overwrite=step.overwrite,
            mode=head.mode if self.preserve else None,
            mtime_ns=head.mtime_ns if self.preserve else None,
        )
        target.remove_stale()

    async def _is_there(self, target: Target, step: Step) -> bool:
        """Whether the very same file is there already; raises `TargetExists` for another one."""
        existing = await self.in_thread(target.existing)
        if existing is None:
            return False
        if existing.type is FileType.FILE and existing.size == step.size:
            there = await digest_there(step, self.client)
            if there.digest == await digest_here(step, self.in_thread):
                return True
        raise TargetExists(f"{step.place.path} is there already, and is another one")

    async def _receive(self, offset: int, step: Step, target: Target) -> tuple[Head, str]:
        """Take the content from `offset` on; gives what file it is of, and the digest of all of that."""
        call = await self.client.open(
            "files.get", GetArguments(path=step.path, etag=step.etag, offset=offset), end=True
        )
        writer = _Writer(self.in_thread, target)
        try:
            head, piece = await _take_head(call, step)
            if (head.size, head.etag) != (step.size, step.etag):
                raise Changed(f"{step.path!r} has changed", details={"path": step.path})
            while piece:
                # Nobody is to fill the disk with more than was agreed on.
                if offset + writer.added_bytes + len(piece) > step.size:
                    raise mismatch(step)
                await writer.add(piece)
                self.progress(Transfer(step, State.RUNNING, offset + writer.added_bytes, offset))
                piece = await _take_content(call, step)
            result: _Result = await call.result(_Result)
            await writer.end()
        finally:
            writer.cancel()
            call.cancel()
        if result.digest is not None:
            return head, result.digest
        return head, (await digest_there(step, self.client)).digest


class _Writer:
    """Writes in a thread while more is coming: at most two batches are in memory."""

    def __init__(self, in_thread: InThread, target: Target) -> None:
        self.added_bytes = 0
        self._in_thread = in_thread
        self._target = target
        self._batch: list[bytes | memoryview] = []
        self._batch_bytes = 0
        self._writing: Deferred[Any] | None = None

    async def add(self, piece: bytes | memoryview) -> None:
        """Write a piece, some time; waits while too much is waiting. Raises what writing raises."""
        self._batch.append(piece)
        self._batch_bytes += len(piece)
        self.added_bytes += len(piece)
        if self._batch_bytes >= _BATCH_BYTES:
            await self._next_batch()

    async def end(self) -> None:
        """Wait until everything is written."""
        await self._next_batch()
        await self._next_batch()

    async def _next_batch(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch:
            self._writing = self._in_thread(self._target.write, batch)

    def cancel(self) -> None:
        """Write no more; what was begun may still be written."""
        self._batch = []
        if self._writing is not None:
            forget(self._writing)


async def digest_there(step: Step, client: Client) -> Digest:
    """The digest of the file at the server. Raises what the call fails with."""
    arguments = DigestArguments(path=step.path)
    return (await client.call("files.digest", arguments, result=Digest)).result


async def digest_here(step: Step, in_thread: InThread) -> str:
    """The digest of the file at a step's place. Raises `LocalFileError`."""
    source = Source(step.place.path, may_be_link=False)
    try:
        await in_thread(source.open)
        digest: str = await in_thread(whole_digest, source)
        return digest
    finally:
        forget(in_thread(source.close))


async def _take_head(call: OutgoingCall, step: Step) -> tuple[Head, bytes | memoryview]:
    """What file the answer is of, and the first piece of its content."""
    head = b""
    while (taken := await call.body.take()) is not None:
        stream, piece = taken
        if stream != HEAD_STREAM:
            return _decode_head(head, step), piece
        head += piece
        if len(head) > _MAX_HEAD_BYTES:
            break
    return _decode_head(head, step), b""


async def _take_content(call: OutgoingCall, step: Step) -> bytes | memoryview:
    taken = await call.body.take_view()
    if taken is None:
        return b""
    stream, piece = taken
    if stream == HEAD_STREAM:
        raise UnexpectedResult(f"{step.path!r}: the server says twice what file it is")
    return piece


def _decode_head(head: bytes, step: Step) -> Head:
    try:
        return msgspec.json.decode(head[: _MAX_HEAD_BYTES + 1], type=Head)
    except msgspec.DecodeError as error:
        raise UnexpectedResult(
            f"{step.path!r}: what the server says of the file is not what was expected: {error}"
        ) from None


def mismatch(step: Step) -> DigestMismatch:
    """The error for a content that is not what the server has."""
    return DigestMismatch(
        f"{step.path!r}: what has come is not what the server has; the next try begins anew",
        details={"path": step.path},
    )
