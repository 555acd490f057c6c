"""The calls of a connection: their numbers, their credit, and who opened them."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct

from sockserv.errors import GoodbyeCode, ProtocolError
from sockserv.wire.messages import Data, Open, Reply

__all__ = ["CallState", "CallTable", "FileSpan", "Outgoing"]


class FileSpan(Struct, frozen=True):
    """Bytes that lie in an open file: they can be counted and cut. Who sends them knows what `file` is."""

    file: Any
    offset: int
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> FileSpan:
        start, stop, _ = part.indices(self.size)
        return FileSpan(self.file, self.offset + start, stop - start)


class Outgoing(Struct, gc=False):
    """A message with a body that waits for its call's turn and credit."""

    message: Data | Reply
    body: memoryview | FileSpan


class CallState(Struct, eq=False):
    """One open call.

    `send_credit` is how many body bytes may still be sent; `receive_credit` how many the peer may
    still send. A user of the connection may have its calls be of a subclass with state of its own.
    """

    number: int
    send_credit: int
    receive_credit: int
    is_receiving: bool = True
    """Whether the peer's body may go on."""
    request: Open = None  # type: ignore[assignment]  # calls of our own have none
    """What the peer asks for, in a call that it has opened."""
    first_body: bytes = b""
    """The body that came with the request, or the beginning of it."""
    whole_body: bytes | None = None
    """The same if that was all of it, else None."""
    is_ours: bool = False
    is_ended: bool = False
    """Whether the call has been taken out of its table."""
    is_cancelled: bool = False
    """Whether its caller has given it up."""
    is_cut: bool = False
    """Whether some of the answer was dropped for that."""
    consumed: int = 0
    """Consumed bytes that the peer has not been told of yet."""
    window_growth: int = 0
    """How much more than a window the peer may send ahead."""
    queue: deque[Outgoing] | None = None
    """What waits to be sent."""
    queued_bytes: int = 0
    is_ready: bool = False
    """Whether the call stands in the line of those that may send."""

    def __repr__(self) -> str:
        return f"<call {self.number}>"


class CallTable:
    """The open calls of both sides.

    A client's calls have odd numbers, a server's even ones, and each side's numbers only grow. So
    the last number is all that has to be remembered of the calls that have ended.
    """

    __slots__ = (
        "_incoming_class",
        "_last_incoming",
        "_last_outgoing",
        "_outgoing_class",
        "_window_bytes",
        "incoming",
        "outgoing",
    )

    def __init__(
        self,
        *,
        is_client: bool,
        window_bytes: int,
        incoming_class: type[CallState] = CallState,
        outgoing_class: type[CallState] = CallState,
    ) -> None:
        self._incoming_class = incoming_class
        self._outgoing_class = outgoing_class
        self.incoming: dict[int, CallState] = {}
        self.outgoing: dict[int, CallState] = {}
        self._window_bytes = window_bytes
        self._last_incoming = 0
        # Has the parity of our numbers from the start.
        self._last_outgoing = -1 if is_client else 0

    def is_ours(self, number: int) -> bool:
        """Whether calls of this number are opened by this side."""
        return (number + self._last_outgoing) % 2 == 0

    def new_incoming(
        self, request: Open, body: bytes, remaining: int, send_credit: int
    ) -> CallState:
        """The state of a call that the peer opens; not yet in the table.

        `body` came with the request, and `remaining` bytes of its frame are still to come.
        """
        number = request.call
        if number <= self._last_incoming or (number + self._last_outgoing) % 2 == 0:
            raise ProtocolError(
                GoodbyeCode.CALL_NUMBER,
                f"a call is opened with the number {number}: "
                + (
                    "a client's calls have odd numbers, a server's even ones"
                    if self.is_ours(number)
                    else f"it has to be greater than {self._last_incoming}"
                ),
            )
        self._last_incoming = number
        receive_credit = self._window_bytes - request.size
        if receive_credit < 0:
            raise self._window_exceeded(number)
        is_whole = request.end and not remaining
        return self._incoming_class(
            number,
            send_credit,
            receive_credit,
            not is_whole,
            request,
            body,
            body if is_whole else None,
        )

    def new_outgoing(self, send_credit: int) -> CallState:
        """A new call of this side, in the table."""
        self._last_outgoing = number = self._last_outgoing + 2
        call = self._outgoing_class(number, send_credit, self._window_bytes)
        call.is_ours = True
        self.outgoing[number] = call
        return call

    def find(self, number: int) -> CallState | None:
        """The open call of this number, or None if it has ended; raises if it never was."""
        if self.is_ours(number):
            last, table = self._last_outgoing, self.outgoing
        else:
            last, table = self._last_incoming, self.incoming
        if number > last:
            raise ProtocolError(
                GoodbyeCode.UNKNOWN_CALL,
                f"a message came for call {number}, which was never opened",
            )
        return table.get(number)

    def take_credit(self, call: CallState, size: int) -> None:
        """Account for `size` more bytes of the peer's body."""
        if not call.is_receiving:
            raise ProtocolError(
                GoodbyeCode.UNEXPECTED_MESSAGE,
                f"more of the body of call {call.number} came after its end",
            )
        call.receive_credit -= size
        if call.receive_credit < 0:
            raise self._window_exceeded(call.number)

    def remove(self, call: CallState) -> None:
        """The call has ended."""
        call.is_ended = True
        table = self.outgoing if call.is_ours else self.incoming
        del table[call.number]

    @staticmethod
    def _window_exceeded(number: int) -> ProtocolError:
        return ProtocolError(
            GoodbyeCode.FLOW_CONTROL,
            f"the body of call {number} exceeds the window that it was given",
        )
