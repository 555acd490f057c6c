"""One side of a connection, with its events and frames in a form that can be compared."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any, cast

import attrs
import msgspec
from msgspec import Raw

from sockserv.errors import GoodbyeCode, ProtocolError, error_from_wire
from sockserv.limits import Limits
from sockserv.wire import events
from sockserv.wire.calls import CallState
from sockserv.wire.connection import Connection, Role
from sockserv.wire.messages import NOTHING, encode_value
from sockserv.wire.outbox import Buffer


@attrs.frozen
class Frame:
    """A frame: its header as plain JSON, and its body."""

    header: dict[str, Any]
    body: bytes = b""


def in_one_piece(buffers: Iterable[Buffer]) -> bytes:
    """Buffers that all lie in memory, in one piece."""
    return b"".join(cast("Iterable[bytes]", buffers))


def frame_bytes(header: str | dict[str, Any], body: bytes = b"") -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack(">I", len(text)) + text + body


def frame(kind: str, body: bytes = b"", /, **fields: Any) -> bytes:
    """A frame with a header that says `fields`, and the size of the body if there is one."""
    header = {"type": kind, **fields}
    return frame_bytes(header | {"size": len(body)} if body else header, body)


def split_frames(stream: bytes) -> list[Frame]:
    """Read a stream of whole frames, by other code than what is tested."""
    found = []
    while stream:
        (length,) = struct.unpack_from(">I", stream)
        header = json.loads(stream[4 : 4 + length])
        stop = 4 + length + header.get("size", 0)
        assert stop <= len(stream)
        found.append(Frame(header, stream[4 + length : stop]))
        stream = stream[stop:]
    return found


HELLO = frame(
    "hello",
    version=1,
    limits={
        "max_header_bytes": 65536,
        "max_body_bytes": 1000,
        "window_bytes": 1000,
        "max_calls": 4,
    },
)


class Side:
    """A connection that is told what happens, and tells it as plain data.

    With `is_open` hellos have been exchanged; `auth` asks clients to log in.
    """

    def __init__(
        self,
        role: Role = Role.SERVER,
        limits: Limits | None = None,
        *,
        auth: Iterable[str] = (),
        hello: bytes | None = HELLO,
    ) -> None:
        self.connection = Connection(role, limits or Limits(), auth=tuple(auth))
        self.calls: dict[int, CallState] = {}
        if hello is not None:
            self.connection.start("test")
            self.receive(hello)
            self.sent()

    def receive(self, *deliveries: bytes) -> list[dict[str, Any]]:
        """The events that come of it, bodies joined; raises `ProtocolError`."""
        return joined(event for delivery in deliveries for event in self.receive_some(delivery))

    def receive_some(self, delivery: bytes) -> Iterator[dict[str, Any]]:
        """The events that come of it, as they come."""
        for event in self.connection.receive(delivery):
            yield from self._describe(event)

    def refuses(self, *deliveries: bytes) -> GoodbyeCode:
        """The code that the side ends the connection with, in place of any event."""
        code = None
        for delivery in deliveries:
            try:
                seen = self.receive(delivery)
            except ProtocolError as error:
                code = error.code
            else:
                assert not seen
        assert code is not None, "the bytes are accepted"
        return code

    def sent(self) -> list[Frame]:
        """All that the side sends when its transport takes everything."""
        stream = bytearray()
        while buffers := self.connection.data_to_send():
            stream += in_one_piece(buffers)
        self.connection.take_drained()
        return split_frames(bytes(stream))

    def do(self, action: str, **given: Any) -> None:
        """What the user of the connection can do, by the names of docs/vectors."""
        connection = self.connection
        call = self.calls[given.pop("call")] if "call" in given else None
        for key in ("args", "result"):
            if key in given:
                given[key] = encode_value(given[key])
        match action:
            case "start":
                connection.start("test")
            case "log in":
                connection.accept_login()
            case "open":
                opened = connection.open(
                    given["op"],
                    given.get("args", NOTHING),
                    timeout_seconds=given.get("timeout"),
                    body=given.get("body", b""),
                    end=given.get("end", False),
                )
                self.calls[opened.number] = opened
            case "ping":
                connection.ping(given["token"])
            case "goodbye":
                connection.goodbye(GoodbyeCode(given["code"]), "test")
            case _:
                assert call is not None
                self._do_in(call, action, given)

    def _do_in(self, call: CallState, action: str, given: dict[str, Any]) -> None:
        connection = self.connection
        match action:
            case "send":
                body = given.pop("body", b"")
                connection.send(call, body, **given)
            case "consume":
                connection.consume(call, given["bytes"])
            case "reply":
                connection.reply(call, given.get("result", NOTHING), given.get("body", b""))
            case "fail":
                connection.fail(
                    call, error_from_wire(given["code"], "test", given.get("details", {}))
                )
            case "cancel":
                connection.cancel(call)
            case _:
                raise AssertionError(action)

    def _describe(self, event: Any) -> list[dict[str, Any]]:
        """An event as the vectors write it; those with a body are two."""
        match event:
            case events.HelloReceived():
                return [{"event": "hello", "version": event.hello.version}]
            case CallState():
                return self._describe_opened(event)
            case events.BodyReceived():
                return [_body(event.call, event.body, event.stream, end=event.end)]
            case events.CallReplied():
                replied = {"event": "replied", "call": event.call.number}
                return [_body(event.call, event.body), replied | plain(result=event.reply.result)]
            case events.CallFailed():
                error = msgspec.structs.asdict(event.error) | {"call": event.call.number}
                return [{"event": "failed", **error}]
            case events.CallCancelled():
                return [{"event": "cancelled", "call": event.call.number}]
            case events.PongReceived():
                return [{"event": "pong", "token": event.token}]
            case events.GoodbyeReceived():
                return [{"event": "goodbye", **msgspec.structs.asdict(event.goodbye)}]
        raise AssertionError(f"an unknown event: {event!r}")

    def _describe_opened(self, call: CallState) -> list[dict[str, Any]]:
        self.calls[call.number] = call
        request = call.request
        opened = {"event": "opened", "call": call.number, "op": request.op}
        if request.timeout is not None:
            opened["timeout"] = request.timeout
        return [
            opened | plain(args=request.args),
            _body(call, call.first_body, end=call.whole_body is not None),
        ]


def plain(**raws: Raw) -> dict[str, Any]:
    """JSON values by name, without those that are not there."""
    return {name: json.loads(bytes(raw)) for name, raw in raws.items() if bytes(raw)}


def _body(
    call: CallState, data: bytes | memoryview, stream: int = 0, *, end: bool = False
) -> dict[str, Any]:
    return {
        "event": "body",
        "call": call.number,
        "stream": stream,
        "bytes": bytes(data),
        "end": end,
    }


def joined(described: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events in which the pieces of a body that follow each other are one, and empty ones none."""
    result: list[dict[str, Any]] = []
    for event in described:
        if event["event"] == "body":
            last = result[-1] if result else {}
            of = ("event", "call", "stream")
            if not last.get("end") and all(last.get(key) == event[key] for key in of):
                result[-1] = last | {"bytes": last["bytes"] + event["bytes"], "end": event["end"]}
                continue
            if not (event["bytes"] or event["end"]):
                continue
        result.append(event)
    return result
