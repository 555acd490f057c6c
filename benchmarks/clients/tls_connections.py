"""Connects with TLS, logs in where there is a login, echoes once, closes; over and over, one at a time."""

from __future__ import annotations

import json
import socket
import ssl
import sys
from collections.abc import Mapping

import attrs

from benchmarks.clients.load import WIRES
from benchmarks.measure import ProcessorClock
from benchmarks.wires import BODY, WireError, receive_exactly

WARM_UP = 50
"""Connections that are made first, so that what is loaded at first use is loaded."""


@attrs.frozen(kw_only=True)
class ConnectionsPlan:
    """How many connections, and to whom.

    :ivar server_pid: the server's process, whose CPU time is read around them.
    """

    peer: str
    port: int
    secrets: Mapping[str, str]
    server_pid: int
    connections: int


def main() -> None:
    """Follow the plan."""
    plan = ConnectionsPlan(**json.load(sys.stdin))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whoever the server is: what it costs this side is not measured.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for _ in range(WARM_UP):
        _connect(plan, context)
    clock = ProcessorClock(plan.server_pid)
    for _ in range(plan.connections):
        _connect(plan, context)
    seconds, shares = clock.seconds(), clock.shares()
    result = {
        "connections_per_second": plan.connections / seconds,
        "server_cpu_seconds": shares["server_cpu"] * seconds / plan.connections,
        **shares,
    }
    json.dump(result, sys.stdout)


def _connect(plan: ConnectionsPlan, context: ssl.SSLContext) -> None:
    plain = socket.create_connection(("127.0.0.1", plan.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with context.wrap_socket(plain) as connection:
        wire = WIRES.get(plan.peer)
        if wire is None:
            request = reply = BODY
        else:
            wire.greet(connection, plan.secrets)
            request, reply = wire.request(0), wire.reply(0)
        connection.sendall(request)
        if receive_exactly(connection, len(reply)) != reply:
            raise WireError("the echo differs from the request")


if __name__ == "__main__":
    main()
