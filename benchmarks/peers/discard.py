"""A bare Twisted protocol that counts what arrives and throws it away.

On the wire: an unsigned 64-bit big-endian length, that many bytes, and then the count comes back in the same form. With
the folder of a certificate as its argument it speaks TLS. While it waits it is also the smallest idle connection that
Twisted can have.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet.protocol import Protocol

from benchmarks.peers.twisted_listener import serve
from benchmarks.wires import LENGTH


class Discard(Protocol):
    """Counts down from the announced length."""

    def __init__(self) -> None:
        self._head = b""
        self._expected = 0
        self._received = 0

    def dataReceived(self, data: bytes) -> None:
        if not self._expected:
            self._head += data
            if len(self._head) < LENGTH.size:
                return
            (self._expected,) = LENGTH.unpack_from(self._head)
            data, self._head = self._head[LENGTH.size :], b""
        self._received += len(data)
        if self._received >= self._expected:
            assert self.transport is not None
            self.transport.write(LENGTH.pack(self._received))
            self._expected = self._received = 0


if __name__ == "__main__":
    serve(Discard, tls=Path(sys.argv[1]) if len(sys.argv) > 1 else None)
