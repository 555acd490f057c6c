"""Sending a file's content, while a thread digests what is sent."""

from __future__ import annotations

from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from sockserv.errors import FileBroken
from sockserv.files.arguments import GetArguments
from sockserv.files.facts import HEAD_STREAM
from sockserv.files.jail import explained
from sockserv.services.api import Call
from sockserv.services.files.download import Download, changed_meanwhile
from sockserv.services.files.pace import Pace
from sockserv.services.files.steps import Steps

__all__ = ["Sent", "send"]

_SEGMENT_BYTES: Final = 32 * 1024 * 1024
"""Digesting is ahead of sending by no more than this: the disk is read once, and what is sent is still in memory."""

_MIN_SEGMENT_BYTES: Final = 4096


@attrs.frozen
class Sent:
    """The result of a get: how many bytes were sent of which content, and the digest of the whole file."""

    count: int
    etag: str
    digest: str | None


async def send(call: Call[GetArguments], download: Download, pace: Pace | None) -> Sent:
    """Send a file. Raises what `Download.steps` raises, and `Changed` when somebody writes to it meanwhile."""
    async with Steps(call.in_thread, download.steps()) as steps:
        await steps.next()
        await call.send(download.head, stream=HEAD_STREAM)
        if download.file is not None:
            await _send_large(call, download, download.file, steps, pace)
        else:
            content = download.content or b""
            if pace is not None:
                await pace.wait_for(len(content), call.clock)
            call.send_last(content)
    return Sent(download.count, download.etag, download.digest)


async def _send_large(
    call: Call[GetArguments],
    download: Download,
    file: int,
    steps: Steps[int, None, None],
    pace: Pace | None,
) -> None:
    """Send the content, segment by segment, each while it is digested."""
    path = download.args.path
    segment_bytes = _SEGMENT_BYTES
    if pace is not None:
        segment_bytes = min(segment_bytes, max(pace.bytes_per_second, _MIN_SEGMENT_BYTES))
    digested = 0 if download.needs_digest else download.size
    sent = 0
    while sent < download.count or digested < download.size:
        count = min(segment_bytes, download.count - sent)
        end = download.offset + sent + count
        sending: Deferred[int] = Deferred.fromCoroutine(
            call.send_file(file, offset=end - count, count=count)
        )
        try:
            while digested < end:
                digested = await steps.next() or 0
        except BaseException:
            _give_up(sending)
            raise
        try:
            with explained(path):
                sent_now = await sending
        except FileBroken as error:
            raise changed_meanwhile(path) from error
        if sent_now < count:
            raise changed_meanwhile(path)
        sent += count
        if pace is not None:
            await pace.wait_for(count, call.clock)
    download.check_unchanged(file)


def _give_up(sending: Deferred[Any]) -> None:
    sending.cancel()
    sending.addErrback(lambda _: None)
