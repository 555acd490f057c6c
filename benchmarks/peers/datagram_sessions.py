"""Sessions over UDP: every message comes back in its stream, sealed and acknowledged.

In the stream `COUNT_STREAM` the answer is how many datagrams were dropped so far.
"""

from __future__ import annotations

import sys
from typing import Any, Final, cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorCore

from benchmarks.peers.announce import announce
from sockserv.net.datagram import DatagramSessions, listen_datagrams
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.events import MessageReceived
from sockserv.wire.datagrams.sealing import SessionKeys

COUNT_STREAM: Final = 1


def main(session_count: int) -> None:
    """Serve so many sessions until the runner goes away; the keys of all are its secrets."""
    sessions = DatagramSessions(cast(Any, reactor))
    made = [SessionKeys.make() for _ in range(session_count)]
    for keys in made:
        _open(sessions, keys)
    listening: Any = listen_datagrams(reactor, sessions, interface="127.0.0.1")
    secrets = {
        f"{name}_{number}": value.hex()
        for number, keys in enumerate(made)
        for name, value in (
            ("id", keys.session_id),
            ("client", keys.client_key or b""),
            ("server", keys.server_key or b""),
        )
    }
    announce(listening.getHost().port, **secrets)
    cast(IReactorCore, reactor).run()


def _open(sessions: DatagramSessions, keys: SessionKeys) -> None:
    def answer(events: list[Any]) -> None:
        for event in events:
            if type(event) is MessageReceived:
                body = event.body
                if event.stream == COUNT_STREAM:
                    body = b"%d" % sum(sessions.drops.values())
                carrier.send(event.stream, body)

    carrier = sessions.open(Role.SERVER, keys, answer)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
