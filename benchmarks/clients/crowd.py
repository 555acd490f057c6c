"""Opens many connections, says so, and holds them: each logged in where the peer has a login.

On standard input and output, a line each way: a plan as JSON, `warm` back, any line to go on, and
`open` back. The connections are closed when standard input is.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping

import attrs

from benchmarks.clients.load import WIRES
from benchmarks.wires import Wire

FEW = 20
"""Connections that are opened and closed first, so that what is loaded at first use is loaded."""


@attrs.frozen(kw_only=True)
class CrowdPlan:
    """How many connections, and to whom."""

    peer: str
    port: int
    secrets: Mapping[str, str]
    connections: int


def _open(plan: CrowdPlan, count: int) -> list[socket.socket]:
    wire: Wire | None = WIRES.get(plan.peer)
    crowd = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", plan.port))
        if wire is not None:
            wire.greet(connection, plan.secrets)
        crowd.append(connection)
    return crowd


def main() -> None:
    """Follow the plan."""
    plan = CrowdPlan(**json.loads(sys.stdin.readline()))
    for connection in _open(plan, FEW):
        connection.close()
    print("warm", flush=True)
    sys.stdin.readline()
    crowd = _open(plan, plan.connections)
    print("open", flush=True)
    sys.stdin.read()
    for connection in crowd:
        connection.close()


if __name__ == "__main__":
    main()
