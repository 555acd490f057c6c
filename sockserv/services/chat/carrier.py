"""What takes a session's lines between the hub and a device, and the one that does so over the connection.

A carrier keeps the order of what it is given. What waits in it is bounded by the hub, which counts the messages that
are not acknowledged and the notices that have not gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from sockserv.errors import InvalidArgument
from sockserv.services.api import Call

__all__ = ["MAX_LINE_BYTES", "CallCarrier", "Carrier"]

MAX_LINE_BYTES: Final = 512 * 1024
"""The longest command: the longest text, each of its bytes written as an escape of JSON, and what stands around it."""


class Carrier(Protocol):
    """The way to a device and back."""

    @property
    def waiting(self) -> int:
        """How many lines have not gone yet."""

    def send(self, line: bytes) -> None:
        """Send an event; never waits."""

    def listen(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when `next_line` has something new: a command, the end, or an error."""

    def next_line(self) -> bytes | None:
        """The next command; None if none has come.

        Raises `InvalidArgument` for what cannot be one, and what sending and receiving fail with.
        """

    @property
    def is_complete(self) -> bool:
        """Whether the device has no more to say, and all of it was taken."""

    def close(self) -> None:
        """The session has ended: nothing more is sent, or told."""


class CallCarrier:
    """A session over the call that it was asked for with: lines in both of its bodies."""

    __slots__ = (
        "_begun",
        "_body",
        "_call",
        "_failure",
        "_is_writing",
        "_lines",
        "_on_news",
        "_received",
        "_writing",
        "waiting_bytes",
    )

    def __init__(self, call: Call[Any]) -> None:
        self._call = call
        self._body = call.body
        self._on_news: Callable[[], None] | None = None
        self._received: list[bytes] = []
        """The last one comes first."""
        self._begun = b""
        self._lines: list[bytes] = []
        self.waiting_bytes = 0
        """How many bytes the lines have that have not gone yet."""
        self._is_writing = False
        self._writing: IDelayedCall | Deferred[None] | None = None
        """What will write the lines, or does."""
        self._failure: Exception | None = None

    @property
    def waiting(self) -> int:
        """How many lines have not gone yet."""
        return len(self._lines)

    # What goes out

    def send(self, line: bytes) -> None:
        """Send an event; never waits."""
        self._lines.append(line)
        self.waiting_bytes += len(line)
        if not self._is_writing:
            self._is_writing = True
            # Not at once: what is sent in one turn goes together, and who sends may be ended when that fails.
            self._writing = self._call.clock.callLater(0, self._start_writing)

    def _start_writing(self) -> None:
        self._writing = None
        writing = Deferred.fromCoroutine(self._write())
        if self._is_writing:
            self._writing = writing

    async def _write(self) -> None:
        """Send what there is to send, as fast as the device takes it."""
        try:
            while self._lines:
                lines, self._lines = self._lines, []
                self.waiting_bytes = 0
                lines.append(b"")
                await self._call.send(b"\n".join(lines))
        except Exception as error:
            self._failure = error
            if self._on_news is not None:
                self._on_news()
        self._is_writing = False
        self._writing = None

    # What comes in

    def listen(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when `next_line` has something new."""
        self._on_news = on_news
        self._body.listen(on_news)

    def next_line(self) -> bytes | None:
        """The next command; None if none has come. Raises `InvalidArgument`, and what sending and the body raise."""
        while not self._received:
            if self._failure is not None:
                raise self._failure
            piece = self._body.next_piece()
            if piece is None:
                if self._begun and self._body.is_at_end:
                    raise InvalidArgument("a command has no end: each is a line")
                return None
            *whole, rest = piece.split(b"\n")
            if whole:
                whole[0] = self._begun + whole[0]
                self._begun = b""
                self._received = [line for line in reversed(whole) if line]
            self._begun += rest
            if any(len(line) > MAX_LINE_BYTES for line in (self._begun, *whole)):
                raise InvalidArgument(f"a command has at most {MAX_LINE_BYTES} bytes")
        return self._received.pop()

    @property
    def is_complete(self) -> bool:
        """Whether the device has no more to say, and all of it was taken."""
        return not self._received and self._body.is_at_end

    def close(self) -> None:
        """The session has ended: nothing more is sent, or told."""
        self._on_news = None
        self._lines.clear()
        if self._writing is not None:
            self._writing.cancel()
        # Nothing begins any more.
        self._is_writing = True
