"""What each peer's echo looks like on the wire, written by hand from its specification.

The load generator sends bytes that were encoded before the clock started, so that no client library
is part of what is measured. It counts answers by their length, hence the two invariants here:

- every request of a wire has one length, and so has every reply;
- request `i` and reply `i` depend on `i` alone, so that what came back can be checked.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

import attrs

BODY = bytes(range(0x30, 0x70))
"""The 64 bytes that are echoed."""

LENGTH = struct.Struct(">Q")
"""The length, and the answer, of the bare stream in `peers/discard.py`."""

GRPC_SERVICE = "benchmarks.Echo"
GRPC_METHOD = "Echo"

_PREFIX = struct.Struct(">I")


class WireError(Exception):
    """A peer answered with other bytes than its wire promises."""


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Read `size` bytes from a blocking socket.

    :raises WireError: the peer closed before.
    """
    received = bytearray()
    while len(received) < size:
        data = connection.recv(size - len(received))
        if not data:
            raise WireError(f"closed after {len(received)} of {size} bytes: {bytes(received)!r}")
        received += data
    return bytes(received)


@attrs.frozen
class Template:
    """A message of which only a number, of a fixed width, changes."""

    before: bytes
    after: bytes = b""
    number: Callable[[int], bytes] = lambda index: b""

    @classmethod
    def around(cls, number: Callable[[int], bytes], message: bytes) -> Template:
        """Cut `message`, which was made with `number(0)`, into what stands before and after it."""
        before, _, after = message.partition(number(0))
        return cls(before=before, after=after, number=number)

    def __call__(self, index: int) -> bytes:
        return self.before + self.number(index) + self.after


@attrs.frozen(kw_only=True)
class Wire:
    """One peer's echo, as bytes.

    :ivar request: makes the bytes of request `i`, `i >= 0`.
    :ivar reply: makes the bytes of its reply.
    :ivar greet: what a blocking socket goes through before the first request; takes the secrets
        that the peer announced.
    """

    request: Template
    reply: Template
    greet: Callable[[socket.socket, Mapping[str, str]], None] = lambda connection, secrets: None

    def requests(self, start: int, count: int) -> bytes:
        """The requests from `start` to `start + count - 1`, one behind the other."""
        blob = b"".join(map(self.request, range(start, start + count)))
        if len(blob) != count * len(self.request(0)):
            raise WireError(f"{count} requests differ in length: too many for one connection")
        return blob


# Int32StringReceiver, and asyncio streams with the same prefix

_PREFIXED = Template(_PREFIX.pack(len(BODY)) + BODY)

PREFIXED = Wire(request=_PREFIXED, reply=_PREFIXED)

# twisted.protocols.amp: pairs of length-prefixed key and value, ended by an empty key


def _amp_tag(index: int) -> bytes:
    return b"%x" % (0x1000000 + index)


def _amp_box(pairs: Mapping[bytes, bytes]) -> bytes:
    counted = (
        struct.pack(">H", len(part)) + part for pair in sorted(pairs.items()) for part in pair
    )
    return b"".join(counted) + b"\0\0"


AMP = Wire(
    request=Template.around(
        _amp_tag, _amp_box({b"_ask": _amp_tag(0), b"_command": b"echo", b"body": BODY})
    ),
    reply=Template.around(_amp_tag, _amp_box({b"_answer": _amp_tag(0), b"body": BODY})),
)

# sockserv, wire version 1

FIRST_CALL = 1_000_001
"""Calls of a client have odd numbers; seven digits last for 4.5 million calls of one length."""


def sockserv_frame(header: Mapping[str, object], body: bytes = b"") -> bytes:
    """One frame: the length of the header, the header, the body."""
    if body:
        header = {**header, "size": len(body)}
    text = json.dumps(header, separators=(",", ":")).encode()
    return _PREFIX.pack(len(text)) + text + body


def sockserv_hello(*, window_bytes: int) -> bytes:
    """A client's first frame.

    :param window_bytes: how much the server may send in a call before credit is returned.
    """
    limits = {
        "max_header_bytes": 65536,
        "max_body_bytes": 1048576,
        "window_bytes": window_bytes,
        "max_calls": 1024,
    }
    return sockserv_frame(
        {"type": "hello", "version": 1, "agent": "sockserv-benchmarks", "limits": limits}
    )


def receive_sockserv_frame(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    """Read one frame from a blocking socket: its header and its body."""
    (size,) = _PREFIX.unpack(receive_exactly(connection, _PREFIX.size))
    header: dict[str, Any] = json.loads(receive_exactly(connection, size))
    return header, receive_exactly(connection, header.get("size", 0))


def sockserv_login(
    connection: socket.socket, secrets: Mapping[str, str], *, window_bytes: int = 1 << 20
) -> dict[str, Any]:
    """Say hello and log in with the token; returns the server's hello."""
    connection.sendall(sockserv_hello(window_bytes=window_bytes))
    hello, _ = receive_sockserv_frame(connection)
    if hello["type"] != "hello":
        raise WireError(f"expected a hello, got {hello}")
    login = {"type": "open", "call": 1, "op": "auth.token", "args": {"token": secrets["token"]}}
    connection.sendall(sockserv_frame({**login, "end": True}))
    answer, _ = receive_sockserv_frame(connection)
    if answer["type"] != "reply":
        raise WireError(f"the login was answered with {answer}")
    return hello


def _sockserv_greet(connection: socket.socket, secrets: Mapping[str, str]) -> None:
    sockserv_login(connection, secrets)


def _sockserv_call(index: int) -> bytes:
    return b"%d" % (FIRST_CALL + 2 * index)


def sockserv_wire(op: str, *, answer: bytes = BODY) -> Wire:
    """Calls of an operation that sends `answer` back, all of it with the reply."""
    request = sockserv_frame({"type": "open", "call": FIRST_CALL, "op": op, "end": True}, BODY)
    reply = sockserv_frame({"type": "reply", "call": FIRST_CALL}, answer)
    return Wire(
        request=Template.around(_sockserv_call, request),
        reply=Template.around(_sockserv_call, reply),
        greet=_sockserv_greet,
    )


SOCKSERV = sockserv_wire("echo")
SOCKSERV_LOOK = sockserv_wire("look")
SOCKSERV_CHANGE = sockserv_wire("change", answer=b"")
