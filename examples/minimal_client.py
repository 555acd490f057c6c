"""A sockserv client of the standard library alone, written from docs/protocol.md.

    python examples/minimal_client.py tcp://127.0.0.1:7700 TOKENFILE < in > out

It has its input echoed, of any size. Without TOKENFILE the token is the one in the directory that
SOCKSERV_STATE names. Of errors it says one line; its exit status is 1 then.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

WINDOW_BYTES = 256 * 1024
LIMITS = {
    "max_header_bytes": 4096,
    "max_body_bytes": 65536,
    "window_bytes": WINDOW_BYTES,
    "max_calls": 1,
}


class Refused(Exception):
    """The server answered with an error, or ended the connection."""


class MinimalClient:
    """A connection to the server at `url`, logged in with `token`."""

    def __init__(self, url: str, token: str) -> None:
        where = urlsplit(url)
        if where.scheme == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(unquote(where.path))
        else:
            self._socket = socket.create_connection((where.hostname, where.port or 7700))
        self._incoming = self._socket.makefile("rb")
        self._last_call = -1
        self._send({"type": "hello", "version": 1, "agent": "minimal", "limits": LIMITS})
        self._limits = self._receive()[0].get("limits", {})
        call = self._open("auth.token", {"token": token}, end=True)
        self.identity = self._receive(call)[0]["result"]["identity"]

    def echo(self, source: BinaryIO, sink: BinaryIO) -> None:
        """Copy `source` to `sink`, by way of the server."""
        credit = self._limits.get("window_bytes", 65536)
        frame_bytes = min(65536, self._limits.get("max_body_bytes", 65536))
        consumed = 0
        has_ended = False
        call = self._open("echo", {})
        while True:
            while credit and not has_ended:
                piece = source.read(min(credit, frame_bytes))
                has_ended = not piece
                credit -= len(piece)
                self._send({"type": "data", "call": call, "end": has_ended}, piece)
            header, body = self._receive(call)
            sink.write(body)
            if header["type"] == "window":
                credit += header["bytes"]
            elif header["type"] == "reply":
                return
            consumed += len(body)
            if consumed * 2 >= WINDOW_BYTES:
                self._send({"type": "window", "call": call, "bytes": consumed})
                consumed = 0

    def close(self) -> None:
        """Say goodbye."""
        self._send({"type": "goodbye", "code": "done"})
        self._socket.close()

    def _open(self, op: str, args: dict[str, Any], *, end: bool = False) -> int:
        self._last_call += 2
        self._send({"type": "open", "call": self._last_call, "op": op, "args": args, "end": end})
        return self._last_call

    def _send(self, header: dict[str, Any], body: bytes = b"") -> None:
        text = json.dumps(header | {"size": len(body)} if body else header).encode()
        self._socket.sendall(struct.pack(">I", len(text)) + text + body)

    def _receive(self, call: int | None = None) -> tuple[dict[str, Any], bytes]:
        """The next message that concerns the call, or else the first one at all."""
        while True:
            (length,) = struct.unpack(">I", self._read(4))
            header = json.loads(self._read(length))
            body = self._read(header.get("size", 0))
            if header["type"] == "ping":
                self._send({"type": "pong", "token": header["token"]})
            elif header["type"] == "open":
                self._send({"type": "error", "call": header["call"], "code": "unknown-operation"})
            elif header["type"] == "error" or (
                header["type"] == "goodbye" and header["code"] not in ("done", "shutting-down")
            ):
                raise Refused(f"{header['code']}: {header.get('message', '')}")
            elif call is None or header.get("call") == call:
                return header, body

    def _read(self, size: int) -> bytes:
        data = self._incoming.read(size)
        if len(data) < size:
            raise Refused("the server closed the connection")
        return data


if __name__ == "__main__":
    server, *rest = sys.argv[1:] or sys.exit(__doc__)
    token_file = Path(*rest[:1] or (os.environ.get("SOCKSERV_STATE", ""), "owner-token"))
    try:
        client = MinimalClient(server, token_file.read_text().strip())
        client.echo(sys.stdin.buffer, sys.stdout.buffer)
        client.close()
    except (OSError, Refused) as error:
        sys.exit(str(error))
