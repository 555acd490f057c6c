"""Sending what a kept job has written, and what it goes on to write, to somebody who is attached to it.

It is read from the files, at the pace of each reader: none of them makes the job wait, or another reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import SockservError
from sockserv.execution.arguments import STANDARD_ERROR, STANDARD_OUTPUT, AttachArguments
from sockserv.execution.errors import OutputGone, StandardInputBusy
from sockserv.execution.outcome import Outcome
from sockserv.keeping.folder import JobFolder
from sockserv.keeping.spool import PIECE_BYTES, read_piece
from sockserv.services.api import Call
from sockserv.services.execution.kept.standard_input import StandardInput

__all__ = ["Attachable", "attach"]

_log: Final = Logger()


class Attachable(Protocol):
    """A job, as far as it concerns who is attached to it."""

    folder: JobFolder
    stdin: StandardInput
    ended: Outcome | None
    stdout_bytes: int
    stderr_bytes: int

    def note_sizes(self, stdout_bytes: int, stderr_bytes: int) -> None:
        """It was seen that the job has written so much, or more."""

    async def more(self) -> None:
        """Wait until it has written more than is known, or has ended. Raises `Unavailable` when the server goes."""


@attrs.define
class _Stream:
    """One of the streams, sent up to `position`."""

    number: int
    path: Path
    position: int

    async def send_piece(self, call: Call[AttachArguments], size: int) -> bool:
        """Send the next piece of what is there up to `size`; False when there is none."""
        count = min(PIECE_BYTES, size - self.position)
        if count <= 0:
            return False
        try:
            piece = await call.in_thread(_read, self.path, self.position, count)
        except OSError:
            piece = b""
        if not piece:
            raise OutputGone("the output of the job was removed while it was sent")
        self.position += len(piece)
        await call.send(piece, stream=self.number)
        return True


async def attach(job: Attachable, call: Call[AttachArguments]) -> Outcome:
    """Answer a call with the job's output from the offsets on, up to its end; gives the outcome.

    Raises `OutputGone`, `StandardInputBusy`, and `Unavailable` when the server goes before the job ends. Cancelling it
    concerns nobody else.
    """
    args = call.args
    job.note_sizes(*await call.in_thread(job.folder.spooled_bytes))
    stdout = _Stream(STANDARD_OUTPUT, job.folder.stdout, args.stdout_offset)
    stderr = _Stream(STANDARD_ERROR, job.folder.stderr, args.stderr_offset)
    if stdout.position > job.stdout_bytes or stderr.position > job.stderr_bytes:
        raise OutputGone(
            f"the job has written {job.stdout_bytes} and {job.stderr_bytes} bytes, less than the offsets",
            details={"stdout_bytes": job.stdout_bytes, "stderr_bytes": job.stderr_bytes},
        )
    feeding: Deferred[None] | None = None
    if args.stdin and await _may_write(job, args.stdin_offset):
        feeding = Deferred.fromCoroutine(_feed(call, job.stdin))
        feeding.addErrback(_log_failure)
    try:
        return await _send_all(job, call, stdout, stderr)
    finally:
        if feeding is not None:
            feeding.cancel()


async def _may_write(job: Attachable, offset: int) -> bool:
    """Be the one who writes to a job; False when that has ended. Raises `StandardInputBusy`."""
    try:
        if job.ended is None:
            await job.stdin.open(offset)
    except StandardInputBusy:
        if job.ended is None:
            raise
    return job.ended is None


async def _send_all(
    job: Attachable, call: Call[AttachArguments], stdout: _Stream, stderr: _Stream
) -> Outcome:
    while True:
        # Looked at before what is there: what there is at the end is all.
        ended = job.ended
        has_sent = await stdout.send_piece(call, job.stdout_bytes)
        has_sent |= await stderr.send_piece(call, job.stderr_bytes)
        if has_sent:
            continue
        if ended is not None:
            return ended
        if job.ended is None:
            await job.more()


async def _feed(call: Call[AttachArguments], stdin: StandardInput) -> None:
    """Give the job what the caller sends. A caller who goes before the end leaves the rest to the next one."""
    try:
        async for piece in call.body:
            if not await stdin.write(piece):
                return
        stdin.end()
    finally:
        stdin.leave()


def _read(path: Path, offset: int, count: int) -> bytes:
    return read_piece(path, offset=offset, max_bytes=count)


def _log_failure(failure: Failure) -> None:
    # The others are what the call fails with, too.
    if failure.check(CancelledError, SockservError) is None:
        _log.failure("the standard input of a kept job cannot be passed on", failure)
