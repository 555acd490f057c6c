"""A whole daemon, whose state directory is the first argument; it holds as many bytes as the second one says."""

from __future__ import annotations

import sys
from typing import cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore

from benchmarks.peers.announce import announce
from sockserv.daemon import Daemon
from sockserv.settings import load


def main() -> None:
    """Serve until the runner goes away."""
    state, held_bytes = sys.argv[1], int(sys.argv[2])
    ballast = bytearray(b"x") * held_bytes  # written to, so that it is really there
    settings = load(
        listen=["tcp:0:interface=127.0.0.1", "tls:0:interface=127.0.0.1"], state=state, environ={}
    )
    daemon = Daemon(reactor, settings)
    daemon.startService()
    plain, secure = settings.state.running().listening
    announce(
        0,
        token=settings.state.owner_token(),
        plain=plain,
        secure=secure,
        ballast=str(len(ballast)),
    )
    cast(IReactorCore, reactor).run()


if __name__ == "__main__":
    main()
