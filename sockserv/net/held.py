"""How much a server holds for all of its peers: windows bound that for each connection, and here is the bound for all.

A window is promised when a call opens, so that nothing can be refused when memory is short: what is left is to end
connections, those of whoever makes it hold the most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sockserv.errors import GoodbyeCode
from sockserv.net.peer import Peer

__all__ = ["held_bytes", "relieve"]


def held_bytes(peer: Peer) -> int:
    """How many bytes wait in memory for one connection: to be consumed by its calls, or to be sent."""
    # For thousands of peers every few seconds: of most of them nothing is held.
    calls = peer.connection.calls
    held = peer.connection.unsent_bytes
    call: Any
    for call in calls.incoming.values():
        held += call.held_bytes
    for call in calls.outgoing.values():
        held += call.held_bytes
    return held


def relieve(peers: Iterable[Peer], most_bytes: int) -> None:
    """Cut connections until no more than `most_bytes` are held.

    Of the identity for which the most is held, the connection goes first for which the most is held.
    """
    held = [(size, peer) for peer in peers if (size := held_bytes(peer))]
    total = sum(size for size, _ in held)
    if total <= most_bytes:
        return
    by_name: dict[Any, list[tuple[int, Peer]]] = defaultdict(list)
    for size, peer in sorted(held, key=lambda each: each[0]):
        by_name[getattr(peer.identity, "name", None)].append((size, peer))
    sums = {name: sum(size for size, _ in each) for name, each in by_name.items()}
    while total > most_bytes:
        name = max(sums, key=sums.__getitem__)
        size, peer = by_name[name].pop()
        sums[name] -= size
        total -= size
        peer.cut(GoodbyeCode.TOO_MUCH_HELD, f"{size} bytes wait here, more than there is room for")
