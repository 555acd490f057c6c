"""Sending a file's content, while a thread digests what is sent."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from sockserv.errors import FileBroken
from sockserv.files.arguments import GetArguments
from sockserv.files.digests import Hasher, digest_of, new_hasher
from sockserv.files.jail import explained
from sockserv.services.api import Call
from sockserv.services.files.cache import DigestCache
from sockserv.services.files.download import Opened, changed_meanwhile, digesting
from sockserv.services.files.pace import Pace
from sockserv.services.files.steps import Steps

__all__ = ["Sent", "send_opened"]

_HEAD_STREAM: Final = 1
_SEGMENT_BYTES: Final = 32 * 1024 * 1024
"""Digesting is ahead of sending by no more than this: the disk is read once, and what is sent is still in memory."""

_MIN_SEGMENT_BYTES: Final = 4096


@attrs.frozen
class Sent:
    """The result of a get: how many bytes were sent of which content, and the digest of the whole file."""

    count: int
    etag: str
    digest: str | None


async def send_opened(
    call: Call[GetArguments], opened: Opened, digests: DigestCache, pace: Pace | None
) -> Sent:
    """Send what was opened, and close it. Raises `Changed` when somebody writes to it meanwhile."""
    try:
        await call.send(opened.head, stream=_HEAD_STREAM)
        if opened.file is None:
            content = opened.content or b""
            if pace is not None:
                await pace.wait_for(len(content), call.clock)
            call.send_last(content)
        elif opened.wants_digest and opened.digest is None:
            hasher = new_hasher()
            async with Steps(call.in_thread, _digest_own(opened, hasher)) as steps:
                await _send(call, opened, _Digesting(steps), pace)
                opened.check_unchanged()
            opened.digest = digest_of(hasher)
            digests.learn_read(opened.status, opened.digest)
        else:
            await _send(call, opened, None, pace)
            opened.check_unchanged()
    finally:
        if opened.file is not None:
            os.close(opened.file)
    return Sent(opened.count, opened.etag, opened.digest)


def _digest_own(opened: Opened, hasher: Hasher) -> Generator[int, None, None]:
    """Digest the file by a descriptor of its own, which stays open for as long as a step runs."""
    assert opened.file is not None
    file = os.dup(opened.file)
    try:
        with explained(opened.path):
            yield from digesting(file, opened.status.st_size, hasher, opened.path)
    finally:
        os.close(file)


class _Digesting:
    """How far a file has been digested."""

    def __init__(self, steps: Steps[int, None, None]) -> None:
        self._steps = steps
        self._position = 0
        self._is_done = False

    async def reach(self, position: int | None) -> None:
        """Go on up to a position, or a bit further; None: to the end."""
        while not self._is_done and (position is None or self._position < position):
            progress = await self._steps.next()
            self._is_done = progress is None
            self._position = progress or self._position


async def _send(
    call: Call[GetArguments],
    opened: Opened,
    digesting: _Digesting | None,
    pace: Pace | None,
) -> None:
    """Send the content, segment by segment, each while it is digested."""
    file = opened.file
    assert file is not None
    segment_bytes = _SEGMENT_BYTES
    if pace is not None:
        segment_bytes = min(segment_bytes, max(pace.bytes_per_second, _MIN_SEGMENT_BYTES))
    sent = 0
    while sent < opened.count:
        count = min(segment_bytes, opened.count - sent)
        sending: Deferred[int] = Deferred.fromCoroutine(
            call.send_file(file, offset=opened.offset + sent, count=count)
        )
        if digesting is not None:
            try:
                await digesting.reach(opened.offset + sent + count)
            except BaseException:
                _give_up(sending)
                raise
        try:
            with explained(opened.path):
                sent_now = await sending
        except FileBroken as error:
            raise changed_meanwhile(opened.path) from error
        if sent_now < count:
            raise changed_meanwhile(opened.path)
        sent += count
        if pace is not None:
            await pace.wait_for(count, call.clock)
    if digesting is not None:
        await digesting.reach(None)


def _give_up(sending: Deferred[Any]) -> None:
    sending.cancel()
    sending.addErrback(lambda _: None)
