"""A bare Twisted echo over Twisted's own TLS: what a connection costs before there is a login or a call.

Its argument is the folder of the certificate.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet.protocol import Protocol

from benchmarks.peers.twisted_listener import serve


class Echo(Protocol):
    """Sends everything back."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


if __name__ == "__main__":
    serve(Echo, tls=Path(sys.argv[1]))
