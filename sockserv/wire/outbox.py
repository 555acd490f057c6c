"""What one side has still to send, and in which order it goes out.

Three rules make the order:

1. Control messages go first, and so does a small answer while little is waiting: most calls are
   done with one frame, which then needs no turn of its own.
2. Bodies take turns: of the calls that have bytes and credit each sends one frame, then the next.
3. Within a call nothing overtakes: its end comes after its body.

Invariants: no more than a call's credit is ever framed; a call's queue grows only by what its
sender hands in; when nothing is taken, only control messages can pile up without end, and
`unsent_bytes` tells their user when to stop.
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

from sockserv.wire.calls import CallState, FileSpan, Outgoing
from sockserv.wire.messages import (
    Data,
    Message,
    Open,
    Reply,
    encode_frame,
    encode_header,
    pack_length,
)

__all__ = ["TURN_BYTES", "Buffer", "Outbox"]

Buffer: TypeAlias = bytes | memoryview | FileSpan

_SMALL_BODY_BYTES = 4 * 1024
_LITTLE_WAITING_BYTES = 64 * 1024
_FRAMES_TO_A_SPAN = 16
"""How many times as large a frame of a file is: each costs some calls of the system."""
TURN_BYTES: Final = 256 * 1024
"""About how many bytes go out in one go, before others have their turn."""


class Outbox:
    """The outgoing side of a connection."""

    __slots__ = (
        "_frames",
        "_ready",
        "_small_body_bytes",
        "_span_bytes",
        "drained",
        "ended",
        "frame_body_bytes",
        "taken_bytes",
        "unsent_bytes",
    )

    def __init__(self, frame_body_bytes: int) -> None:
        self.limit_frames(frame_body_bytes, frame_body_bytes)
        self.unsent_bytes = 0
        self.taken_bytes = 0
        self._frames: list[Buffer] = []
        self._ready: deque[CallState] | None = None
        # Calls whose queue has shrunk, or whose last message has gone, since somebody looked.
        self.drained: list[CallState] = []
        self.ended: list[CallState] = []

    def limit_frames(self, frame_body_bytes: int, max_body_bytes: int) -> None:
        """Put no more than this into the body of one frame from now on; the peer accepts `max_body_bytes`."""
        self.frame_body_bytes = min(frame_body_bytes, max_body_bytes)
        self._small_body_bytes = min(self.frame_body_bytes, _SMALL_BODY_BYTES)
        self._span_bytes = min(frame_body_bytes * _FRAMES_TO_A_SPAN, max_body_bytes)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could be sent now."""
        return not self._frames and not self._ready

    @property
    def has_little_waiting(self) -> bool:
        """Whether a small body may go ahead of those that wait for their turn."""
        return self.unsent_bytes < _LITTLE_WAITING_BYTES

    def put_control(self, message: Message) -> None:
        """Send a message as soon as anything can be sent."""
        frame = encode_frame(message)
        self._frames.append(frame)
        self.unsent_bytes += len(frame)

    def put_first(self, call: CallState, message: Open, body: Buffer) -> None:
        """Open a call; its body must be small, and within its credit."""
        call.send_credit -= len(body)
        self._frame(message, body, len(body))

    def put(self, call: CallState, message: Data | Reply, body: Buffer) -> bool:
        """Send a message with its body when the call's turn and its credit come.

        Returns whether that was now.
        """
        size = len(body)
        if (
            size <= self._small_body_bytes
            and self.unsent_bytes < _LITTLE_WAITING_BYTES
            and size <= call.send_credit
            and not call.queue
        ):
            message.size = size
            call.send_credit -= size
            header = encode_header(message)
            frame = pack_length(len(header)) + header + body  # type: ignore[operator]
            self._frames.append(frame)
            self.unsent_bytes += len(frame)
            return True
        if call.queue is None:
            call.queue = deque()
        kept = body if isinstance(body, FileSpan) else memoryview(body)
        call.queue.append(Outgoing(message, kept))
        call.queued_bytes += size
        self._make_ready(call)
        return False

    def add_credit(self, call: CallState, count: int) -> None:
        """The peer takes `count` more bytes of the call."""
        call.send_credit += count
        self._make_ready(call)

    def drop(self, call: CallState) -> None:
        """Forget what the call had still to send."""
        if call.queue:
            call.queue.clear()
            call.queued_bytes = 0
            self.drained.append(call)
        if call.is_ready and self._ready is not None:
            # Left in the line it would be held, and all that came with it, until it is its turn.
            call.is_ready = False
            self._ready.remove(call)

    def take(self) -> list[Buffer]:
        """The next bytes to send, about as many as should be handed to a transport at once."""
        frames = self._frames
        ready = self._ready
        while ready and self.unsent_bytes < TURN_BYTES:
            call = ready.popleft()
            call.is_ready = False
            self._send_one(call)
            self._make_ready(call)
        self._frames = []
        self.taken_bytes += self.unsent_bytes
        self.unsent_bytes = 0
        return frames

    def _frame(self, message: Open | Data | Reply, body: Buffer, size: int) -> None:
        if size:
            message.size = size
        header = encode_header(message)
        self._frames.append(pack_length(len(header)) + header)
        if size:
            self._frames.append(body)
        self.unsent_bytes += 4 + len(header) + size

    def _make_ready(self, call: CallState) -> None:
        """Put the call at the end of the line, if it has something that may go."""
        if call.is_ready or not call.queue:
            return
        if call.send_credit > 0 or not len(call.queue[0].body):
            call.is_ready = True
            if self._ready is None:
                self._ready = deque()
            self._ready.append(call)

    def _send_one(self, call: CallState) -> None:
        """Frame what one turn of the call gives."""
        queue = call.queue
        if not queue:
            return
        first = queue[0]
        body = first.body
        is_span = body.__class__ is FileSpan
        limit = self._span_bytes if is_span else self.frame_body_bytes
        size = min(len(body), call.send_credit, limit)
        call.send_credit -= size
        call.queued_bytes -= size
        if size < len(body):
            stream = first.message.stream if isinstance(first.message, Data) else 0
            self._frame(Data(call.number, stream), body[:size], size)
            first.body = body[size:]
        else:
            queue.popleft()
            self._frame(first.message, body, size)
            if not isinstance(first.message, Data):
                self.ended.append(call)
        self.drained.append(call)
