"""What a `Connection` tells about the bytes that it was given.

That the peer opened a call is told by the new `CallState` itself: its `request`, `first_body` and
`whole_body` say what came. The `call` of the other events is one of these, or what `Connection.open`
gave. They are of the classes that the connection was given for its calls. The collector has to see these
events: a traceback may hold one, and be held by its call.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from sockserv.wire.calls import CallState
from sockserv.wire.framing import Piece
from sockserv.wire.messages import Error, Goodbye, Hello, Reply

__all__ = [
    "BodyReceived",
    "CallCancelled",
    "CallFailed",
    "CallReplied",
    "Event",
    "GoodbyeReceived",
    "HelloReceived",
    "PongReceived",
]


class HelloReceived(Struct, frozen=True, gc=False):
    """The peer has introduced itself; nothing else can come before this."""

    hello: Hello


class BodyReceived(Struct, frozen=True):
    """The next bytes of a call's body, of its stream number `stream`; `end`: the last ones."""

    call: Any
    stream: int
    body: Piece
    end: bool


class CallReplied(Struct, frozen=True):
    """The peer ended one of our calls with success; `body` has the last bytes of its body."""

    call: Any
    reply: Reply
    body: Piece


class CallFailed(Struct, frozen=True):
    """The peer ended one of our calls with an error."""

    call: Any
    error: Error


class CallCancelled(Struct, frozen=True):
    """The peer gave up one of its calls; it still has to be ended with a reply or an error."""

    call: Any


class PongReceived(Struct, frozen=True, gc=False):
    """The peer answered a ping."""

    token: int


class GoodbyeReceived(Struct, frozen=True, gc=False):
    """The peer ends the connection."""

    goodbye: Goodbye


Event: TypeAlias = (
    HelloReceived
    | CallState
    | BodyReceived
    | CallReplied
    | CallFailed
    | CallCancelled
    | PongReceived
    | GoodbyeReceived
)
