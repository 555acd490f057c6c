"""What may arrive on a connection and when, and what it means.

Invariants:

1. The first message is a hello. Before the login a server accepts nothing but `open` of an operation
   whose name begins with `auth.`.
2. A peer never sends more body bytes than it was given credit for; whoever does is cut off.
3. A message takes effect with the last byte of its body.
4. After a `ProtocolError` or a goodbye that is not graceful nothing more is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from sockserv.errors import CallCancelled as Cancelled
from sockserv.errors import CallError, GoodbyeCode, ProtocolError, TooManyCalls, Unavailable
from sockserv.limits import Limits
from sockserv.wire.calls import CallState, CallTable
from sockserv.wire.events import (
    BodyReceived,
    CallCancelled,
    CallFailed,
    CallReplied,
    Event,
    GoodbyeReceived,
    HelloReceived,
    PongReceived,
)
from sockserv.wire.framing import FrameReader, Piece
from sockserv.wire.messages import (
    LOGIN_PREFIX,
    MAX_INTEGER,
    PROTOCOL_VERSION,
    Cancel,
    Data,
    Error,
    Goodbye,
    Hello,
    Message,
    Open,
    PeerLimits,
    Ping,
    Pong,
    Reply,
    Window,
    decode_header,
    encode_header,
    encode_value,
    name_of,
)
from sockserv.wire.outbox import Outbox

__all__ = ["MAX_MESSAGE_CHARACTERS", "Phase", "Receiver", "Role"]

MAX_MESSAGE_CHARACTERS = 500


class Role(Enum):
    """Which side of the connection this is: who connected is the client."""

    CLIENT = "client"
    SERVER = "server"


class Phase(Enum):
    """How far the connection has come; phases only follow each other in this order."""

    AWAITING_HELLO = "awaiting hello"
    AWAITING_LOGIN = "awaiting login"
    OPEN = "open"
    CLOSED = "closed"


# Looking a member up on its class takes longer than all else that `_accept` does of its own.
_OPEN: Final = Phase.OPEN


@lru_cache(maxsize=64)
def _shared(hello: Hello) -> Hello:
    """One of those that are equal: thousands who are connected introduce themselves in the same words."""
    return hello


class Receiver:
    """The receiving half of a connection, and the state that both halves share."""

    __slots__ = (
        "_auth",
        "_current",
        "_current_message",
        "_is_draining",
        "_limits",
        "_outbox",
        "_reader",
        "calls",
        "peer_limits",
        "phase",
    )

    def __init__(
        self,
        role: Role,
        limits: Limits,
        *,
        auth: tuple[str, ...] = (),
        incoming_class: type[CallState] = CallState,
        outgoing_class: type[CallState] = CallState,
    ) -> None:
        self._limits = limits
        self._auth = auth
        self.phase = Phase.AWAITING_HELLO
        self.peer_limits = PeerLimits()
        self.calls = CallTable(
            is_client=role is Role.CLIENT,
            window_bytes=limits.window_bytes,
            incoming_class=incoming_class,
            outgoing_class=outgoing_class,
        )
        self._is_draining = False
        # The call and the message that the rest of an unfinished body belongs to.
        self._current: CallState | None = None
        self._current_message: Open | Data | Reply | None = None
        self._outbox = Outbox(limits.frame_body_bytes)
        self._reader: FrameReader[Message] = FrameReader(
            decode_header,
            max_header_bytes=limits.max_login_header_bytes,
            max_body_bytes=limits.max_body_bytes,
        )

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take what arrived; yields what it means.

        The events come one by one so that each can be acted on before the next byte is read.
        Raises `ProtocolError` in place of the first event that cannot be.
        """
        if self.phase is Phase.CLOSED:
            return
        try:
            events: Iterator[Event] = self._reader.feed_to(self._accept, data)
            yield from events
        except ProtocolError:
            # What comes after the end means nothing, right or wrong.
            if self._close():
                raise

    def _close(self) -> bool:
        """Read nothing more; whether that is news."""
        was_closed = self.phase is Phase.CLOSED
        self.phase = Phase.CLOSED
        return not was_closed

    def _accept(self, message: Message | None, body: Piece, remaining: int) -> Event | None:
        """What a part of a frame means: the event, if it makes one."""
        if message is None:
            return self._more_body(body, remaining)
        if self.phase is not _OPEN:
            if self.phase is Phase.CLOSED:
                return None
            self._check_early(message)
        if message.__class__ is not Open:
            return _RECEIVERS[message.__class__](self, message, body, remaining)
        if not isinstance(body, bytes):
            body = bytes(body)
        calls = self.calls
        call = calls.new_incoming(message, body, remaining, self.peer_limits.window_bytes)
        if remaining:
            self._current = call
            self._current_message = message
        incoming = calls.incoming
        if len(incoming) >= self._limits.max_calls or self._is_draining:
            self._refuse(call)
            return None
        incoming[call.number] = call
        return call

    @property
    def is_inside_header(self) -> bool:
        """Whether the last byte received belongs to a header that is not complete."""
        return self._reader.is_inside_header

    @property
    def is_between_frames(self) -> bool:
        """Whether the peer could end the stream here without cutting a frame."""
        return self._reader.is_between_frames

    def _check_early(self, message: Message) -> None:
        """The first message has to be a hello, and what follows a login."""
        if isinstance(message, Goodbye):
            pass
        elif self.phase is Phase.AWAITING_HELLO:
            if not isinstance(message, Hello):
                raise ProtocolError(
                    GoodbyeCode.UNEXPECTED_MESSAGE,
                    f"the first message is {name_of(message)}: it has to be hello",
                )
        elif not isinstance(message, Open):
            raise ProtocolError(
                GoodbyeCode.LOGIN_REQUIRED, f"the message {name_of(message)} came before the login"
            )
        elif not message.op.startswith(LOGIN_PREFIX):
            raise ProtocolError(
                GoodbyeCode.LOGIN_REQUIRED,
                f"the operation {message.op[:80]!r} was asked for before the login",
            )
        elif message.size or not message.end:
            raise ProtocolError(GoodbyeCode.LOGIN_REQUIRED, "a login came with a body")

    def _receive_hello(self, hello: Hello, body: Piece, remaining: int) -> Event:
        if self.phase is not Phase.AWAITING_HELLO:
            raise ProtocolError(GoodbyeCode.UNEXPECTED_MESSAGE, "a second hello came")
        if hello.version != PROTOCOL_VERSION:
            raise ProtocolError(
                GoodbyeCode.UNSUPPORTED_VERSION,
                f"the peer speaks version {hello.version} of the protocol, "
                f"this side speaks version {PROTOCOL_VERSION}",
            )
        hello = _shared(hello)
        self.peer_limits = hello.limits
        self._outbox.limit_frames(self._limits.frame_body_bytes, hello.limits.max_body_bytes)
        if self._auth:
            self.phase = Phase.AWAITING_LOGIN
        else:
            self.accept_login()
        return HelloReceived(hello)

    def _refuse(self, call: CallState) -> None:
        error: CallError
        if self._is_draining:
            error = Unavailable("the connection is closing and takes no new calls")
        else:
            limit = self._limits.max_calls
            error = TooManyCalls(
                f"{limit} calls are open on this connection, which is its limit: "
                "wait for one to end",
                details={"max_calls": limit},
            )
        call.is_ended = True
        self._outbox.put_control(self._error_message(call, error))

    def _receive_data(self, data: Data, body: Piece, remaining: int) -> Event | None:
        return self._begin_body(self.calls.find(data.call), data, body, remaining)

    def _receive_reply(self, reply: Reply, body: Piece, remaining: int) -> Event | None:
        return self._begin_body(self._find_answered(reply), reply, body, remaining)

    def _begin_body(
        self, call: CallState | None, message: Data | Reply, body: Piece, remaining: int
    ) -> Event | None:
        if remaining:
            self._current = call
            self._current_message = message
        if call is None:
            return None
        if message.size or message.__class__ is Data:
            self.calls.take_credit(call, message.size)
        return self._body_event(call, message, body, remaining)

    def _more_body(self, body: Piece, remaining: int) -> Event | None:
        call = self._current
        message = self._current_message
        if not remaining:
            self._current = self._current_message = None
        if call is None or message is None or call.is_ended:
            return None
        return self._body_event(call, message, body, remaining)

    def _body_event(
        self, call: CallState, message: Open | Data | Reply, body: Piece, remaining: int
    ) -> Event | None:
        """The event for a piece of a body: what the message says takes effect with its last byte."""
        stream = message.stream if isinstance(message, Data) else 0
        if remaining:
            return BodyReceived(call, stream, body, False) if body else None
        if isinstance(message, Reply):
            self._end(call)
            return CallReplied(call, message, body)
        if message.end:
            call.is_receiving = False
        return BodyReceived(call, stream, body, message.end)

    def _receive_error(self, error: Error, body: Piece, remaining: int) -> Event | None:
        call = self._find_answered(error)
        if call is None:
            return None
        self._end(call)
        return CallFailed(call, error)

    def _receive_cancel(self, cancel: Cancel, body: Piece, remaining: int) -> Event | None:
        if self.calls.is_ours(cancel.call):
            raise ProtocolError(
                GoodbyeCode.UNEXPECTED_MESSAGE,
                f"a cancel came for call {cancel.call}, which its sender cannot have opened",
            )
        call = self.calls.find(cancel.call)
        if call is None or call.is_cancelled:
            return None
        call.is_cancelled = True
        queue = call.queue
        if queue:
            # The caller need not give the credit that this waits for.
            call.is_cut = True
            is_answered = isinstance(queue[-1].message, Reply)
            self._outbox.drop(call)
            if is_answered:
                self._end(call)
                error = Cancelled("the call was cancelled before all of the answer was sent")
                self._outbox.put_control(self._error_message(call, error))
                return None
        return CallCancelled(call)

    def _receive_window(self, window: Window, body: Piece, remaining: int) -> Event | None:
        call = self.calls.find(window.call)
        if call is not None:
            if call.send_credit + window.bytes > MAX_INTEGER:
                raise ProtocolError(
                    GoodbyeCode.FLOW_CONTROL, f"the credit of call {window.call} overflows"
                )
            self._outbox.add_credit(call, window.bytes)
        return None

    def _receive_ping(self, ping: Ping, body: Piece, remaining: int) -> Event | None:
        self._outbox.put_control(Pong(ping.token))
        return None

    def _receive_pong(self, pong: Pong, body: Piece, remaining: int) -> Event:
        return PongReceived(pong.token)

    def _receive_goodbye(self, goodbye: Goodbye, body: Piece, remaining: int) -> Event:
        if not goodbye.is_graceful:
            self.phase = Phase.CLOSED
        # Who says goodbye opens no more calls.
        self._is_draining = True
        return GoodbyeReceived(goodbye)

    def _find_answered(self, answer: Reply | Error) -> CallState | None:
        if not self.calls.is_ours(answer.call):
            raise ProtocolError(
                GoodbyeCode.UNEXPECTED_MESSAGE,
                f"an answer came to call {answer.call}, which its sender opened itself",
            )
        return self.calls.find(answer.call)

    def _end(self, call: CallState) -> None:
        self.calls.remove(call)
        self._outbox.drop(call)

    def accept_login(self) -> None:
        """The peer has logged in, or needs not to: from now on it may call everything."""
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.OPEN
        self._reader.max_header_bytes = self._limits.max_header_bytes

    def _error_message(self, call: CallState, error: CallError) -> Error:
        # An error must reach the caller whatever it says, or the call would never end.
        text = error.message[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()
        message = Error(call.number, error.wire_code, text)
        if error.details:
            details = dict(error.details)
            try:
                encode_value(details)
                message.details = details
                if len(encode_header(message)) > self.peer_limits.max_header_bytes:
                    message.details = {}
            except (TypeError, ValueError, OverflowError, RecursionError):
                pass
        return message


_RECEIVERS: Mapping[type, Callable[[Receiver, Any, Piece, int], Event | None]] = {
    Hello: Receiver._receive_hello,
    Data: Receiver._receive_data,
    Reply: Receiver._receive_reply,
    Error: Receiver._receive_error,
    Cancel: Receiver._receive_cancel,
    Window: Receiver._receive_window,
    Ping: Receiver._receive_ping,
    Pong: Receiver._receive_pong,
    Goodbye: Receiver._receive_goodbye,
}
