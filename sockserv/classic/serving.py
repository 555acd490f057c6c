"""Accepting connections that speak a dialect."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from sockserv.classic.conversation import Conversation
from sockserv.classic.inside import Connect
from sockserv.client import Client

__all__ = ["MAX_CONNECTIONS", "ClassicFactory", "Conduct"]

Conduct: TypeAlias = Callable[[Conversation, Connect], Coroutine[Any, Any, None]]
"""Holds a conversation; what it is given besides makes a client for who is at the other end."""

MAX_CONNECTIONS: Final = 100
"""So many may speak one dialect at the same time."""


class ClassicFactory(Factory):
    """Has a dialect spoken on each connection, as `conduct` knows how to.

    `connect` makes a client, logged in as the one for whom the dialect speaks, and known to be behind the connection
    of a conversation.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        conduct: Conduct,
        connect: Callable[[Conversation], Deferred[Client]],
        *,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._clock = clock
        self._conduct = conduct
        self._connect = connect
        self._max_connections = max_connections
        self._open: set[Conversation] = set()
        self._refused = 0

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """A conversation; none, which closes the connection, where there are too many."""
        if len(self._open) >= self._max_connections:
            self._refused += 1
            # A flood of connections must not flood the log as well.
            if self._refused & (self._refused - 1) == 0:
                self._log.warn(
                    "refused {address}, {count} in a row: {most} classic connections are open, which is the limit",
                    address=addr,
                    count=self._refused,
                    most=self._max_connections,
                )
            return None
        self._refused = 0
        return Conversation(self._clock, self._hold)

    def close(self) -> None:
        """Cut all connections."""
        for conversation in tuple(self._open):
            conversation.abort()

    async def _hold(self, conversation: Conversation) -> None:
        self._open.add(conversation)
        try:
            await self._conduct(conversation, partial(self._connect, conversation))
        finally:
            self._open.discard(conversation)
