"""What the connections of one server, or of one client, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.interfaces import IReactorTime

from sockserv.limits import Limits
from sockserv.net.threads import InThread
from sockserv.wire.connection import Role

if TYPE_CHECKING:
    from sockserv.net.calls import IncomingCall
    from sockserv.net.peer import Peer

__all__ = ["PeerSettings"]


@attrs.frozen(kw_only=True, eq=False)
class PeerSettings:
    """What all connections of one server, or one client, have in common.

    `handle` is given each call that a peer opens; what it returns, or its coroutine, or its Deferred, is the result.
    `in_thread` calls a blocking function in a thread; a side that never has blocking work needs none. `auth` names the
    login methods that a server offers. `on_made`, `on_hello` and `on_end` are told of connections that were made, of
    those whose hello has come, and of those that are of no more use, and why. `place_of` gives for a peer's address
    what all addresses of the same somebody have in common, `is_here` says whether one is of this machine.
    """

    clock: IReactorTime
    role: Role
    agent: str
    limits: Limits
    handle: Callable[[IncomingCall], Any]
    in_thread: InThread | None = None
    auth: tuple[str, ...] = ()
    on_made: Callable[[Peer], None] = lambda peer: None
    on_hello: Callable[[Peer], None] = lambda peer: None
    on_end: Callable[[Peer, Exception], None] = lambda peer, why: None
    place_of: Callable[[Any], str] = lambda address: ""
    is_here: Callable[[Any], bool] = lambda address: True
