"""What a `Connection` tells about the bytes that it was given.

The `call` of an event is the `CallState`, of the class that the connection was given for its calls.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from sockserv.wire.messages import Error, Goodbye, Hello, Open, Reply

__all__ = [
    "BodyReceived",
    "CallCancelled",
    "CallFailed",
    "CallOpened",
    "CallReplied",
    "Event",
    "GoodbyeReceived",
    "HelloReceived",
    "PongReceived",
]


class HelloReceived(Struct, frozen=True, gc=False):
    """The peer has introduced itself; nothing else can come before this."""

    hello: Hello


class CallOpened(Struct, frozen=True, gc=False):
    """The peer opened a call. `body` has its first bytes; `end` says that they are all."""

    call: Any
    request: Open
    body: bytes
    end: bool


class BodyReceived(Struct, frozen=True, gc=False):
    """The next bytes of a call's body, of its stream number `stream`; `end`: the last ones."""

    call: Any
    stream: int
    body: bytes
    end: bool


class CallReplied(Struct, frozen=True, gc=False):
    """The peer ended one of our calls with success; `body` has the last bytes of its body."""

    call: Any
    reply: Reply
    body: bytes


class CallFailed(Struct, frozen=True, gc=False):
    """The peer ended one of our calls with an error."""

    call: Any
    error: Error


class CallCancelled(Struct, frozen=True, gc=False):
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
    | CallOpened
    | BodyReceived
    | CallReplied
    | CallFailed
    | CallCancelled
    | PongReceived
    | GoodbyeReceived
)
