"""A bare Int32StringReceiver echo: what Twisted costs before there is a header, a call or credit."""

from __future__ import annotations

from twisted.protocols.basic import Int32StringReceiver

from benchmarks.peers.twisted_listener import serve


class Echo(Int32StringReceiver):
    """Sends every string back."""

    def stringReceived(self, string: bytes) -> None:
        self.sendString(string)  # type: ignore[no-untyped-call]  # untyped in Twisted


if __name__ == "__main__":
    serve(Echo)
