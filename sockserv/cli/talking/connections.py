"""The connections of a chat, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from sockserv.errors import ConnectionEnded

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.client import Client

__all__ = ["Connections"]


class Connections:
    """Makes them, and knows which is the one to call by now.

    The first is made before the chat begins, so that its failure ends the command.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._first: Client | None = None
        self._now: Client | None = None

    async def open(self) -> None:
        """Make the first. Raises what connecting raises."""
        self._first = self._now = await self._session.connect()

    def next(self) -> Deferred[Client]:
        """The first, then a new one each time."""
        first, self._first = self._first, None
        if first is not None:
            return succeed(first)
        return self._session.connect().addCallback(self._keep)

    def _keep(self, client: Client) -> Client:
        self._now = client
        return client

    def lose(self) -> None:
        """The last one has ended."""
        self._now = None

    @property
    def now(self) -> Client:
        """The one to call. Raises `ConnectionEnded` where there is none."""
        if self._now is None:
            raise ConnectionEnded("there is no connection now: try that again later")
        return self._now

    def close(self) -> None:
        """End the one there is."""
        client, self._now = self._now, None
        if client is not None:
            client.close().addErrback(lambda failure: None)
