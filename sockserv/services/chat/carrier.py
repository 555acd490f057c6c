"""What takes a session's lines between the hub and a device, and the one that does so over the connection.

A carrier keeps the order of what it is given. What waits in it is bounded by the hub, which counts the messages that
are not acknowledged and the notices that have not gone.
"""

from __future__ import annotations

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

    async def receive(self) -> bytes | None:
        """The next command; None when the device has no more. Raises `InvalidArgument` for what cannot be one."""

    async def run(self) -> None:
        """Move what is sent, until it is cancelled or the call ends. Raises what sending raises."""

    def close(self) -> None:
        """The session has ended."""


class CallCarrier:
    """A session over the call that it was asked for with: lines in both of its bodies.

    `run` moves what is sent, until it is cancelled or the call ends.
    """

    def __init__(self, call: Call[Any]) -> None:
        self._call = call
        self._body = aiter(call.body)
        self._received: list[bytes] = []
        """The last one comes first."""
        self._begun = b""
        self._lines: list[bytes] = []
        self.waiting_bytes = 0
        """How many bytes the lines have that have not gone yet."""
        self._waiting: Deferred[None] | None = None
        self._waking: IDelayedCall | None = None

    @property
    def waiting(self) -> int:
        """How many lines have not gone yet."""
        return len(self._lines)

    def send(self, line: bytes) -> None:
        """Send an event; never waits."""
        self._lines.append(line)
        self.waiting_bytes += len(line)
        # Not at once: what is sent in one turn goes together, and who sends may be ended when that fails.
        if self._waiting is not None and self._waking is None:
            self._waking = self._call.clock.callLater(0, self._wake)

    async def run(self) -> None:
        """Send what there is to send, as fast as the device takes it. Raises what sending raises."""
        while True:
            while self._lines:
                lines, self._lines = self._lines, []
                self.waiting_bytes = 0
                lines.append(b"")
                await self._call.send(b"\n".join(lines))
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
                if self._waking is not None:
                    self._waking.cancel()
                    self._waking = None

    def close(self) -> None:
        """The session has ended."""

    def _wake(self) -> None:
        self._waking = None
        if self._waiting is not None:
            self._waiting.callback(None)

    async def receive(self) -> bytes | None:
        """The next command; None when the device has no more. Raises `InvalidArgument`, and what the body raises."""
        while not self._received:
            piece = await anext(self._body, None)
            if piece is None:
                if self._begun:
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
