"""One side of a connection, for both roles: the protocol without its input and output.

The user of a `Connection` feeds it what arrived (`receive`), acts on the events, tells it what to
send, and moves the bytes of `data_to_send` to the peer.

Invariants:

1. Call numbers of one side only grow: a number at or below the last one belongs to a call that is
   open or has ended, one above it to no call at all.
2. A call stands in its table from its `open` until its reply or error has been framed (callee) or
   received (caller), cancelled or not: both sides count the same calls.
3. No more of a call's body is framed than its credit allows.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from sockserv.errors import (
    CallCancelled,
    CallError,
    GoodbyeCode,
    InternalError,
    MessageTooLarge,
)
from sockserv.wire.calls import CallState
from sockserv.wire.messages import (
    MAX_INTEGER,
    NOTHING,
    PROTOCOL_VERSION,
    Cancel,
    Data,
    Goodbye,
    Hello,
    Open,
    PeerLimits,
    Ping,
    Reply,
    Window,
    encode_header,
)
from sockserv.wire.outbox import Buffer
from sockserv.wire.receiver import MAX_MESSAGE_CHARACTERS, Phase, Receiver, Role

__all__ = ["Connection", "Phase", "Role"]

_MAX_FIRST_BODY_BYTES: Final = 16 * 1024

_MAX_GROWTH: Final = 4
"""How many times as large as at first the window of a call becomes at most."""

_SHORT_NAME_CHARACTERS: Final = 256
"""A name of an operation that is no longer makes no header too long for anybody."""


class Connection(Receiver):
    """One side of a connection.

    `auth` names the login methods that a server offers; with none, nobody needs to log in. The calls
    are objects of `incoming_class` and `outgoing_class`, which the user may extend.
    """

    __slots__ = ()

    def start(self, agent: str) -> None:
        """Send the hello; `agent` is this side's name and version, for people to read."""
        limits = self._limits
        self._outbox.put_control(
            Hello(
                PROTOCOL_VERSION,
                agent,
                PeerLimits(
                    limits.max_header_bytes,
                    limits.max_body_bytes,
                    limits.window_bytes,
                    limits.max_calls,
                ),
                self._auth,
            )
        )

    def can_open(self) -> bool:
        """Whether the peer takes one more call now, and what is waiting for it leaves room for one."""
        return (
            len(self.calls.outgoing) < self.peer_limits.max_calls
            and self._outbox.has_little_waiting
        )

    def open(
        self,
        op: str,
        args: Raw = NOTHING,
        *,
        timeout_seconds: float | None,
        body: Buffer,
        end: bool,
    ) -> CallState:
        """Open a call; `body` are the first bytes of its body, `end` says that they are all.

        Raises `MessageTooLarge` when the header exceeds what the peer accepts.
        """
        if args is not NOTHING or len(op) > _SHORT_NAME_CHARACTERS:
            self._check_header(Open(MAX_INTEGER, op, args, timeout_seconds, end, MAX_INTEGER))
        call = self.calls.new_outgoing(self.peer_limits.window_bytes)
        # An `open` goes out at once, so that only a small body may ride with it, and only while little
        # is waiting.
        fits = not body or (
            self._outbox.has_little_waiting
            and len(body)
            <= min(call.send_credit, self._outbox.frame_body_bytes, _MAX_FIRST_BODY_BYTES)
        )
        message = Open(call.number, op, args, timeout_seconds, end and fits)
        self._outbox.put_first(call, message, body if fits else b"")
        if not fits:
            self.send(call, body, end=end)
        return call

    def send(self, call: CallState, body: Buffer, *, end: bool = False, stream: int = 0) -> None:
        """Send the next bytes of a call's body when its turn and its credit come.

        Those of a call that has ended or was cancelled are dropped.
        """
        if call.is_cancelled:
            call.is_cut = True
        elif not call.is_ended:
            self._outbox.put(call, Data(call.number, stream, end), body)

    def reply(self, call: CallState, result: Raw = NOTHING, body: Buffer = b"") -> None:
        """End one of the peer's calls with success; `body` are the last bytes of the answer.

        A cancelled call whose answer would not be whole ends with the error instead. Raises
        `MessageTooLarge` when the result exceeds what the peer accepts in a header.
        """
        if call.is_ended:
            return
        message = Reply(call.number, result)
        if result is not NOTHING:
            self._check_header(Reply(call.number, result, len(body)))
        if call.is_cancelled and (body or call.is_cut):
            self.fail(
                call, CallCancelled("the call was cancelled before all of the answer was sent")
            )
        elif self._outbox.put(call, message, body):
            call.is_ended = True
            del self.calls.incoming[call.number]

    def fail(self, call: CallState, error: CallError) -> None:
        """End one of the peer's calls with an error, which overtakes what is still unsent of it."""
        if call.is_ended:
            return
        self._end(call)
        self._outbox.put_control(self._error_message(call, error))

    def cancel(self, call: CallState) -> None:
        """Give up one of our own calls; what is still unsent of it is not sent any more."""
        if not (call.is_ended or call.is_cancelled):
            call.is_cancelled = True
            self._outbox.drop(call)
            self._outbox.put_control(Cancel(call.number))

    def drop_unsent(self, call: CallState) -> None:
        """Forget what is still unsent of a call's body, of which there is no more: its sender is told.

        Where the answer is waiting behind that already, the call fails.
        """
        is_answered = call.queue and isinstance(call.queue[-1].message, Reply)
        self._outbox.drop(call)
        self.note_drained(call)
        if is_answered:
            self.fail(call, InternalError("some of the answer was lost before it was sent"))

    def note_drained(self, call: CallState) -> None:
        """Have a call told that bytes of it have gone, though it has none in the queue."""
        self._outbox.drained.append(call)

    def consume(self, call: CallState, count: int, *, keeps_up: bool = False) -> bool:
        """The user has consumed `count` bytes of the peer's body: let it send as many more.

        `keeps_up` says that nothing else is waiting for the user: then it is the window that may hold up the peer, and
        it grows. Returns whether the peer is told now, which it is by halves of the window.
        """
        call.consumed += count
        window = self._limits.window_bytes + call.window_growth
        if call.consumed * 2 < window or not call.is_receiving:
            return False
        credit = call.consumed
        call.consumed = 0
        if keeps_up and window < _MAX_GROWTH * self._limits.window_bytes:
            growth = min(window, self._growth_left())
            call.window_growth += growth
            credit += growth
        call.receive_credit += credit
        self._outbox.put_control(Window(call.number, credit))
        return True

    def _growth_left(self) -> int:
        """How much windows may still grow.

        It is counted anew each time, which is seldom: nobody has to give it back.
        """
        tables = (self.calls.incoming, self.calls.outgoing)
        grown = sum(call.window_growth for table in tables for call in table.values())
        return max(0, self._limits.window_growth_bytes - grown)

    def ping(self, token: int) -> None:
        """Ask the peer for a sign of life."""
        self._outbox.put_control(Ping(token))

    def goodbye(self, code: GoodbyeCode, message: str) -> None:
        """Tell the peer that the connection ends; after a graceful goodbye open calls may end."""
        self._outbox.put_control(Goodbye(code.value, message[:MAX_MESSAGE_CHARACTERS]))
        self._is_draining = True
        if not code.is_graceful:
            self.phase = Phase.CLOSED

    def end_calls(self) -> list[CallState]:
        """End all calls of both sides without a word, and forget what they had to send."""
        calls = [*self.calls.incoming.values(), *self.calls.outgoing.values()]
        for call in calls:
            self._end(call)
        # Nobody asks for these any more, and they would be held.
        self.take_drained()
        return calls

    def data_to_send(self) -> list[Buffer]:
        """The next bytes for the transport, in pieces; empty when nothing may be sent now."""
        buffers = self._outbox.take()
        ended = self._outbox.ended
        if ended:
            for call in ended:
                if not call.is_ended:
                    self.calls.remove(call)
            ended.clear()
        return buffers

    def take_drained(self) -> list[CallState]:
        """The calls whose queue of unsent bytes has shrunk since the last time."""
        drained = self._outbox.drained
        if drained:
            self._outbox.drained = []
        return drained

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would give anything."""
        return not self._outbox.is_empty

    @property
    def taken_bytes(self) -> int:
        """How many bytes `data_to_send` has given in all."""
        return self._outbox.taken_bytes

    @property
    def unsent_bytes(self) -> int:
        """How many bytes have been framed and not been taken."""
        return self._outbox.unsent_bytes

    def _check_header(self, message: Open | Reply) -> None:
        length = len(encode_header(message))
        limit = self.peer_limits.max_header_bytes
        if length > limit:
            what = "arguments" if isinstance(message, Open) else "result"
            raise MessageTooLarge(
                f"the {what} would make a header of {length} bytes, and the peer accepts {limit}: "
                "send large values as a body"
            )
