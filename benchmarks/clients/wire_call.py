"""One streaming call of sockserv by hand, on a socket: without the client library, and with control
over how fast what comes back is read."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from benchmarks.clients.streams import PIECE_BYTES
from benchmarks.wires import WireError, sockserv_frame, sockserv_login

CALL = 1_000_001
_PREFIX = struct.Struct(">I")
_RECEIVE_BYTES = 256 * 1024


@attrs.frozen
class Pace:
    """How fast to read.

    :ivar bytes_per_second: at most this, while the time lasts; afterwards as fast as possible.
    """

    bytes_per_second: float = 0.0
    seconds: float = 0.0

    def allows(self, elapsed: float, read: int) -> int:
        """How many bytes may be read now."""
        if elapsed >= self.seconds:
            return _RECEIVE_BYTES
        return min(_RECEIVE_BYTES, int(elapsed * self.bytes_per_second) - read)


class WireCall:
    """Sends a body of zeros as fast as credit comes, and reads the answer at a given pace.

    Credit is returned for what was read, a quarter of the window at a time.
    """

    def __init__(
        self, port: int, secrets: Mapping[str, str], op: str, total_bytes: int, window_bytes: int
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = sockserv_login(self._socket, secrets, window_bytes=window_bytes)
        self._socket.setblocking(False)
        self._credit = int(hello["limits"]["window_bytes"])
        self._window_bytes = window_bytes
        self._to_send = total_bytes
        self._piece = sockserv_frame({"type": "data", "call": CALL}, bytes(PIECE_BYTES))
        self._control = [sockserv_frame({"type": "open", "call": CALL, "op": op})]
        self._outgoing = memoryview(b"")
        self._is_ended = False
        self._arrived = bytearray()
        self._body_left = 0
        self._uncredited = 0
        self.body_bytes = 0
        self.reply: dict[str, Any] | None = None

    def run(self, pace: Pace, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Stream until the reply is there; calls `meanwhile` now and then."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLOUT)
        start = time.perf_counter()
        while self.reply is None:
            allowed = pace.allows(time.perf_counter() - start, self.body_bytes)
            events = (select.POLLIN if allowed > 0 else 0) | (
                select.POLLOUT if self._has_something_to_send() else 0
            )
            poll.modify(self._socket, events)
            for _, happened in poll.poll(10):
                if happened & select.POLLOUT:
                    self._send()
                if happened & ~select.POLLOUT:
                    self._receive(allowed)
            meanwhile()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _has_something_to_send(self) -> bool:
        if self._outgoing:
            return True
        if self._control:
            self._outgoing = memoryview(b"".join(self._control))
            self._control.clear()
        elif self._to_send and self._credit >= PIECE_BYTES:
            self._to_send -= PIECE_BYTES
            self._credit -= PIECE_BYTES
            self._outgoing = memoryview(self._piece)
        elif not self._to_send and not self._is_ended:
            self._is_ended = True
            self._outgoing = memoryview(sockserv_frame({"type": "data", "call": CALL, "end": True}))
        return bool(self._outgoing)

    def _send(self) -> None:
        try:
            while self._has_something_to_send():
                self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
        except BlockingIOError:
            pass

    def _receive(self, allowed: int) -> None:
        data = self._socket.recv(max(1, allowed))
        if not data:
            raise WireError("the server closed the connection")
        if self._body_left >= len(data):
            self._take_body(len(data))
            return
        self._arrived += data
        while self._arrived:
            if self._body_left:
                part = min(self._body_left, len(self._arrived))
                self._take_body(part)
                del self._arrived[:part]
                continue
            if len(self._arrived) < _PREFIX.size:
                return
            end = _PREFIX.size + _PREFIX.unpack_from(self._arrived)[0]
            if len(self._arrived) < end:
                return
            header = json.loads(self._arrived[_PREFIX.size : end])
            del self._arrived[:end]
            self._take_header(header)

    def _take_body(self, count: int) -> None:
        self._body_left -= count
        self.body_bytes += count
        self._uncredited += count
        if self._uncredited >= self._window_bytes // 4:
            credit = {"type": "window", "call": CALL, "bytes": self._uncredited}
            self._control.append(sockserv_frame(credit))
            self._uncredited = 0

    def _take_header(self, header: dict[str, Any]) -> None:
        self._body_left = header.get("size", 0)
        if header["type"] == "window":
            self._credit += header["bytes"]
        elif header["type"] == "reply":
            self.reply = header
        elif header["type"] == "ping":
            self._control.append(sockserv_frame({"type": "pong", "token": header["token"]}))
        elif header["type"] != "data":
            raise WireError(f"the stream was answered with {header}")
