"""The same echo as a `twisted.protocols.amp` command."""

from __future__ import annotations

from typing import ClassVar

from twisted.protocols import amp

from benchmarks.peers.twisted_listener import serve


class EchoCommand(amp.Command):
    """One argument, which is the answer."""

    commandName = b"echo"
    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"body", amp.String())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"body", amp.String())]


class Echo(amp.AMP):
    """Answers the command."""

    @EchoCommand.responder
    def echo(self, body: bytes) -> dict[str, bytes]:
        return {"body": body}


if __name__ == "__main__":
    serve(Echo)
