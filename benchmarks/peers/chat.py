"""A hub whose messages are on the disk, over TCP and UDP; nobody is slowed down.

`PATH` of the messages is the argument.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore

from benchmarks.peers.announce import BACKLOG, announce
from sockserv.daemon.loading import load_late_parts
from sockserv.limits import ChatLimits, Limits
from sockserv.net.threads import OneThread
from sockserv.server import Server
from sockserv.server.chat_datagrams import ChatPort
from sockserv.services.chat import Chat
from sockserv.trust import EVERYTHING, Identity, TokenAuthenticator, hash_token


def main(path: Path) -> None:
    """Serve until the runner goes away."""
    # As a daemon does at its start: the code is not part of what somebody who is idle takes.
    load_late_parts()
    token = secrets.token_hex(32)
    port = ChatPort(reactor, 0, "127.0.0.1")
    port.listen()
    many = 100_000_000
    chat = Chat(
        cast(Any, reactor),
        path,
        in_thread=OneThread(cast(Any, reactor), name="chat"),
        in_reading_thread=OneThread(cast(Any, reactor), name="chat-reading"),
        limits=ChatLimits(
            max_devices_of_identity=many, messages_per_second=many, messages_at_once=many
        ),
        datagrams=port,
    )
    server = Server(
        reactor,
        [chat],
        authenticator=TokenAuthenticator(
            {hash_token(token): Identity("owner", frozenset({EVERYTHING}))}
        ),
        limits=Limits(keepalive_interval_seconds=3600),
    )

    def listening(port: Any) -> None:
        announce(port.getHost().port, token=token)

    server.listen(f"tcp:0:interface=127.0.0.1:backlog={BACKLOG}").addCallback(listening)
    cast(IReactorCore, reactor).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
