"""The calls of a connection: their numbers, their credit, and who opened them."""

from __future__ import annotations

from collections import deque
from typing import Any

from msgspec import Struct

from sockserv.errors import GoodbyeCode, ProtocolError
from sockserv.wire.messages import Data, Reply

__all__ = ["CallState", "CallTable", "Outgoing"]


class Outgoing(Struct, gc=False):
    """A message with a body that waits for its call's turn and credit."""

    message: Data | Reply
    body: memoryview


class CallState:
    """One open call.

    `send_credit` is how many body bytes may still be sent; `receive_credit` how many the peer may
    still send. `owner` belongs to the user of the connection, who keeps there what the call means
    to it.
    """

    __slots__ = (
        "consumed",
        "is_ended",
        "is_ours",
        "is_ready",
        "is_receiving",
        "number",
        "owner",
        "queue",
        "queued_bytes",
        "receive_credit",
        "send_credit",
    )

    def __init__(
        self, number: int, send_credit: int, receive_credit: int, *, is_ours: bool
    ) -> None:
        self.number = number
        self.is_ours = is_ours
        self.send_credit = send_credit
        self.receive_credit = receive_credit
        # Whether the peer's body may go on, and whether the call has been taken out of the table.
        self.is_receiving = True
        self.is_ended = False
        # Consumed bytes that the peer has not been told of yet.
        self.consumed = 0
        # What waits to be sent, and whether the call stands in the line of those that may send.
        self.queue: deque[Outgoing] | None = None
        self.queued_bytes = 0
        self.is_ready = False
        self.owner: Any = None

    def __repr__(self) -> str:
        return f"<call {self.number}>"


class CallTable:
    """The open calls of both sides.

    A client's calls have odd numbers, a server's even ones, and each side's numbers only grow. So
    the last number is all that has to be remembered of the calls that have ended.
    """

    __slots__ = ("_last_incoming", "_last_outgoing", "_window_bytes", "incoming", "outgoing")

    def __init__(self, *, is_client: bool, window_bytes: int) -> None:
        self.incoming: dict[int, CallState] = {}
        self.outgoing: dict[int, CallState] = {}
        self._window_bytes = window_bytes
        self._last_incoming = 0
        # Has the parity of our numbers from the start.
        self._last_outgoing = -1 if is_client else 0

    def is_ours(self, number: int) -> bool:
        """Whether calls of this number are opened by this side."""
        return (number + self._last_outgoing) % 2 == 0

    def new_incoming(self, number: int, first_bytes: int, send_credit: int) -> CallState:
        """The state of a call that the peer opens with `first_bytes` of body; not yet in the table."""
        if number <= self._last_incoming or self.is_ours(number):
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
        receive_credit = self._window_bytes - first_bytes
        if receive_credit < 0:
            raise self._window_exceeded(number)
        return CallState(number, send_credit, receive_credit, is_ours=False)

    def new_outgoing(self, send_credit: int) -> CallState:
        """A new call of this side, in the table."""
        self._last_outgoing = number = self._last_outgoing + 2
        call = CallState(number, send_credit, self._window_bytes, is_ours=True)
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
        (self.outgoing if call.is_ours else self.incoming).pop(call.number, None)

    @staticmethod
    def _window_exceeded(number: int) -> ProtocolError:
        return ProtocolError(
            GoodbyeCode.FLOW_CONTROL,
            f"the body of call {number} exceeds the window that it was given",
        )
