"""Files from here to the server: small ones in one call each, large ones piece by piece."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sockserv.client.files.fetching import digest_there
from sockserv.client.files.local import Content, Source, digest_of_bytes, whole_digest
from sockserv.client.files.parallel import forget
from sockserv.client.files.plan import Step
from sockserv.client.files.progress import Progress, State, Transfer
from sockserv.errors import CallError
from sockserv.files.arguments import PartialArguments, PutArguments
from sockserv.files.digests import digest_of, new_hasher
from sockserv.files.errors import Busy, DigestMismatch, Exists
from sockserv.files.facts import Kept, Stored

if TYPE_CHECKING:
    from sockserv.client.client import Client, Reply
    from sockserv.net.calls import OutgoingCall
    from sockserv.net.threads import InThread

__all__ = ["SMALL_BYTES", "Sender"]

SMALL_BYTES: Final = 64 * 1024
"""Up to this size a file goes in one call, from memory."""

_FIRST_PART_BYTES: Final = 256 * 1024
_MAX_PART_BYTES: Final = 2 * 1024 * 1024
"""Two such parts of a file are in memory."""

_PART_SECONDS: Final = 0.1
"""So often progress is told of a large file, about."""

_BUSY_SECONDS: Final = 0.2
_BUSY_TRIES: Final = 25

_UPLOAD_DIGITS: Final = 32

_TRAILER: Final = 1
"""The stream of a request that says, after the content, what its digest is."""


@attrs.frozen(kw_only=True)
class Sender:
    """Sends files. `preserve` has the server keep their modes and times, `resume` go on with what broke off."""

    operation: ClassVar[str] = "files.put"
    result: ClassVar[type[Stored]] = Stored

    client: Client
    in_thread: InThread
    progress: Progress
    resume: bool
    preserve: bool

    async def send_small(self, step: Step, content: Content) -> Stored:
        """Send a file that is in memory. Raises what the call fails with."""
        try:
            return self.end_small(step, content, await self.begin_small(step, content))
        except Exists as error:
            return await self.find_same(step, content, error)

    def begin_small(self, step: Step, content: Content) -> Deferred[Reply[Stored]]:
        """Send a file that is in memory; what the Deferred fires with is for `end_small`."""
        arguments = self._arguments(
            step,
            content.mode,
            content.mtime_ns,
            size=len(content.data),
            digest=content.digest,
        )
        return self.client.call("files.put", arguments, result=Stored, body=content.data)

    def end_small(self, step: Step, content: Content, reply: Reply[Stored]) -> Stored:
        """The file is stored; raises `DigestMismatch` if it is another one."""
        stored = _checked(reply.result, content.digest, step)
        self.progress(Transfer(step, State.DONE, len(content.data)))
        return stored

    async def find_same(self, step: Step, content: Content, error: Exists) -> Stored:
        """The file that is there instead, if it is the very same; raises `error` if not."""
        size = len(content.data)
        return self._same(step, await self._same_there(step, size, content.digest, error))

    async def send(self, step: Step, source: Source) -> Stored:
        """Send the file of an open source. Raises what the call fails with, and `LocalFileError`."""
        size = source.status.st_size
        try:
            offset = await self._resumable(step, source)
            self.progress(Transfer(step, State.RUNNING, offset, offset))
            stored = await self._send_from(offset, step, source)
        except Exists as error:
            digest = await self.in_thread(whole_digest, source)
            return self._same(step, await self._same_there(step, size, digest, error))
        _checked(stored, source.digest, step)
        self.progress(Transfer(step, State.DONE, size, offset))
        return stored

    async def send_stream(self, step: Step, read: Callable[[], Awaitable[bytes]]) -> Stored:
        """Send what `read` gives until it gives nothing. Raises what the call fails with, and what `read` raises."""
        call = await self.client.open("files.put", self._arguments(step, 0, 0))
        hasher = new_hasher()
        done = 0
        try:
            while piece := await read():
                hasher.update(piece)
                await call.send(piece)
                done += len(piece)
                self.progress(Transfer(attrs.evolve(step, size=done), State.RUNNING, done))
            stored = await _end(call, digest_of(hasher), Stored)
        finally:
            call.cancel()
        self.progress(Transfer(attrs.evolve(step, size=done), State.DONE, done))
        return _checked(stored, digest_of(hasher), step)

    async def _resumable(self, step: Step, source: Source) -> int:
        """Where to go on: what the server has must be the beginning of what we have."""
        upload = self._upload(source)
        if not upload:
            return 0
        partial = await self._kept(step, upload)
        if not 0 < partial.offset <= source.status.st_size:
            return 0
        if await self.in_thread(source.skip, partial.offset) == partial.digest:
            return partial.offset
        source.rewind()
        return 0

    async def _kept(self, step: Step, upload: str) -> Kept:
        """What the server has of the upload, once it knows that the connection is gone on which that began."""
        for _ in range(_BUSY_TRIES):
            try:
                return await self._ask_what_is_kept(step, upload)
            except Busy:
                await deferLater(self.client.clock, _BUSY_SECONDS)
        return await self._ask_what_is_kept(step, upload)

    async def _ask_what_is_kept(self, step: Step, upload: str) -> Kept:
        arguments = PartialArguments(path=step.path, upload=upload)
        return (await self.client.call("files.partial", arguments, result=Kept)).result

    def _upload(self, source: Source) -> str:
        """What this file is called while it is sent: the same for the same command, later."""
        if not self.resume:
            return ""
        status = source.status
        what = f"{os.path.abspath(source.path)}\0{status.st_size}\0{status.st_mtime_ns}"
        return digest_of_bytes(os.fsencode(what)).partition(":")[2][:_UPLOAD_DIGITS]

    async def _send_from(self, offset: int, step: Step, source: Source) -> Stored:
        status = source.status
        arguments = self._arguments(
            step,
            status.st_mode,
            status.st_mtime_ns,
            size=status.st_size,
            upload=self._upload(source),
            offset=offset,
        )
        call = await self.client.open(self.operation, arguments)
        try:
            await self._send_content(call, offset, step, source)
            return await _end(call, source.digest, self.result)
        finally:
            call.cancel()

    async def _send_content(
        self, call: OutgoingCall, offset: int, step: Step, source: Source
    ) -> None:
        clock = self.client.clock
        done, left = offset, source.status.st_size - offset
        # What is sent is what was digested: no byte of the file is read twice.
        ready, other = (memoryview(bytearray(min(left, _MAX_PART_BYTES))) for _ in range(2))
        count = min(_FIRST_PART_BYTES, left)
        seconds = _PART_SECONDS
        reading: Deferred[None] = self.in_thread(source.read_into, ready[:count])
        try:
            while count:
                await reading
                left -= count
                # While one part travels the next one is read.
                following = min(_next_part(count, seconds), left)
                reading = self.in_thread(source.read_into, other[:following])
                start = clock.seconds()
                await call.send_memory(ready[:count])
                seconds = clock.seconds() - start
                done += count
                self.progress(Transfer(step, State.RUNNING, done, offset))
                ready, other, count = other, ready, following
            await self.in_thread(source.check)
        finally:
            forget(reading)

    def _arguments(self, step: Step, mode: int, mtime_ns: int, **others: Any) -> Any:
        return PutArguments(
            path=step.path,
            overwrite=step.overwrite,
            mode=mode & 0o777 if self.preserve else None,
            mtime_ns=mtime_ns if self.preserve else None,
            parents=True,
            **others,
        )

    async def _same_there(self, step: Step, size: int, digest: str, error: Exists) -> Stored:
        """What is there, if it is the very same file: it was sent before. Else raises `error`."""
        try:
            there = await digest_there(step, self.client)
        except CallError:
            # Whoever may only leave files cannot look at them.
            raise error from None
        if (there.size, there.digest) != (size, digest):
            raise error
        return Stored(size=size, etag=there.etag, digest=digest)

    def _same(self, step: Step, stored: Stored) -> Stored:
        self.progress(Transfer(step, State.SAME, stored.size, stored.size))
        return stored


def _next_part(count: int, seconds: float) -> int:
    """How much to send before progress is told again, after `count` bytes took so long."""
    if seconds < _PART_SECONDS / 2:
        return min(2 * count, _MAX_PART_BYTES)
    if seconds > _PART_SECONDS * 2:
        return max(count // 2, _FIRST_PART_BYTES)
    return count


async def _end(call: OutgoingCall, digest: str, kind: type[Stored]) -> Stored:
    """Say what the digest of all that was sent is, and wait until it is stored."""
    await call.send(msgspec.json.encode({"digest": digest}), stream=_TRAILER)
    call.end()
    stored: Stored = await call.result(kind)
    return stored


def _checked(stored: Stored, digest: str, step: Step) -> Stored:
    if stored.digest != digest:
        raise DigestMismatch(
            f"{step.path!r}: the server says that it has stored something else",
            details={"path": step.path},
        )
    return stored
