"""The standard input of a kept job, for who is attached: one at a time, and each where the last one stopped."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from sockserv.execution.errors import StandardInputBusy
from sockserv.keeping.messages import (
    INPUT_WINDOW_BYTES,
    EndInput,
    Input,
    InputOpened,
    InputTaken,
    LeaveInput,
    Message,
    OpenInput,
)
from sockserv.services.execution.kept.bell import Bell

__all__ = ["StandardInput"]


class StandardInput:
    """What somebody writes to a job, on its way to the supervisor; `send` says something to that."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._is_busy = False
        self._is_open = False
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._taken = Bell()
        self._opening: Deferred[InputOpened | None] | None = None
        self._number = 0

    async def open(self, offset: int) -> None:
        """Be the one who writes, from the byte `offset` on, until `leave` is called.

        Raises `StandardInputBusy`, whose details have the `stdin_bytes` that the job was given, if that is why.
        Cancelling it leaves.
        """
        if self._is_busy:
            raise StandardInputBusy("somebody else is writing to the job")
        self._is_busy = True
        try:
            self._opening = Deferred()
            # Somebody who has left may still get an answer.
            self._number += 1
            self._send(OpenInput(offset, self._number))
            opened = await self._opening
            if opened is None:
                raise StandardInputBusy("the job cannot be reached now, or has just ended")
            if not opened.is_open:
                raise _why_not(offset, opened)
        except BaseException:
            self.leave()
            raise
        finally:
            self._opening = None
        self._is_open = True
        self._sent_bytes = offset

    async def write(self, data: bytes) -> bool:
        """Give the job these bytes; waits while it takes no more. False: it never will, and they are lost."""
        view = memoryview(data)
        while view:
            room = self._taken_bytes + INPUT_WINDOW_BYTES - self._sent_bytes
            if not self._is_open:
                return False
            if room <= 0:
                await self._taken.heard()
                continue
            self._send(Input(bytes(view[:room])))
            self._sent_bytes += min(room, len(view))
            view = view[room:]
        return True

    def end(self) -> None:
        """There is no more: the job sees an end."""
        if self._is_open:
            self._send(EndInput())

    def leave(self) -> None:
        """Let somebody else go on. To be called once after `open`."""
        self._is_busy = self._is_open = False
        self._send(LeaveInput())

    # For the job

    def on_opened(self, message: InputOpened) -> None:
        """The supervisor has answered whether somebody may write."""
        if message.number == self._number:
            self._answer(message)

    def on_taken(self, message: InputTaken) -> None:
        """The job has taken some."""
        self._taken_bytes = message.stdin_bytes
        self._is_open = self._is_open and message.is_open
        self._taken.ring()

    def on_lost(self) -> None:
        """The job has ended, or cannot be reached."""
        self._is_open = False
        self._taken.ring()
        self._answer(None)

    def _answer(self, message: InputOpened | None) -> None:
        if self._opening is not None and not self._opening.called:
            self._opening.callback(message)


def _why_not(offset: int, opened: InputOpened) -> StandardInputBusy:
    if opened.next_offset is None:
        return StandardInputBusy("the job reads no more, or was told that there is no more")
    return StandardInputBusy(
        f"the job was given {opened.next_offset} bytes on its standard input, not {offset}",
        details={"stdin_bytes": opened.next_offset},
    )
