"""Having a session go by the datagrams that a hub offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockserv.chat.facts import DatagramSession
from sockserv.chat.ways import TwoWays

if TYPE_CHECKING:
    from sockserv.client.chat.way import ClientWay, Listen

__all__ = ["Datagrams"]


class Datagrams:
    """Begins the datagrams of sessions, each with a UDP port of its own. For `Session`.

    `listen` opens a port for sessions on any interface of a family that it is named, `0.0.0.0` or `::`; None has
    `reactor` do so.
    """

    def __init__(self, reactor: Any, *, listen: Listen | None = None) -> None:
        self._reactor = reactor
        self._listen = listen

    def open(
        self, offered: DatagramSession, host: str | None, listener: TwoWays
    ) -> ClientWay | None:
        """Begin a session that a hub offers, which is at `host` unless it says otherwise; None where that cannot be.

        The keys are for this one session.
        """
        # Imported late, with the cryptography: most hubs offer none.
        from sockserv.client.chat.way import open_way

        return open_way(self._reactor, offered, host, listener, listen=self._listen)
