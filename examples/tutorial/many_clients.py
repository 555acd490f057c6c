"""Many clients at once in one thread: Twisted calls us when there is something to do.

python many_clients.py 9002
"""

import sys

from twisted.internet import endpoints, reactor
from twisted.internet.protocol import Factory, Protocol


class Capitals(Protocol):
    def dataReceived(self, data: bytes) -> None:
        """Called with what has come, whichever client it is from; nobody waits in `recv`."""
        assert self.transport is not None  # while data comes, there is a connection
        self.transport.write(data.upper())


if __name__ == "__main__":
    listening = endpoints.serverFromString(reactor, f"tcp:{sys.argv[1]}:interface=127.0.0.1")
    listening.listen(Factory.forProtocol(Capitals)).addCallback(
        lambda port: print("listening on port", port.getHost().port, flush=True)
    )
    reactor.run()
