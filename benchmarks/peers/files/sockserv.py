"""sockserv with its files service, on plain TCP and with TLS; what it has to remember is in the second argument."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore

from benchmarks.peers.announce import announce
from sockserv.daemon.listening import Listeners
from sockserv.endpoints import parse_endpoint
from sockserv.server import Server
from sockserv.services.files import Files
from sockserv.trust import EVERYTHING, Identity, TokenAuthenticator, hash_token


def main() -> None:
    """Serve until the runner goes away."""
    folder, state = Path(sys.argv[1]), Path(sys.argv[2])
    token = secrets.token_hex(32)
    owner = Identity("owner", frozenset({EVERYTHING}))
    server = Server(
        reactor, [Files(folder)], authenticator=TokenAuthenticator({hash_token(token): owner})
    )
    listeners = Listeners(reactor, server.listen, state)
    listeners.open(
        parse_endpoint(each, base=state)
        for each in ("tcp:0:interface=127.0.0.1", "tls:0:interface=127.0.0.1")
    )
    plain, secure = listeners.local_urls
    announce(0, token=token, plain=plain, secure=secure)
    cast(IReactorCore, reactor).run()


if __name__ == "__main__":
    main()
