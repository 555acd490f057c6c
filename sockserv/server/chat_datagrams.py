"""What joins the chat to a UDP port: sessions of datagrams for its devices."""

from __future__ import annotations

from collections.abc import Callable

from sockserv.chat.facts import DatagramSession
from sockserv.chat.ways import TwoWays
from sockserv.net.datagram import DatagramSessions
from sockserv.net.ways import RecordWay
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.sealing import SessionKeys

__all__ = ["ChatDatagrams"]


class ChatDatagrams:
    """Opens sessions on a port. `port` gives its number, `host` is where it is; None: where the connection goes to."""

    def __init__(
        self, sessions: DatagramSessions, port: Callable[[], int], *, host: str | None = None
    ) -> None:
        self._sessions = sessions
        self._port = port
        self._host = host

    def open(self, listener: TwoWays) -> _OfferedWay:
        """A session with keys of its own, always sealed. Raises `NoRoom`."""
        keys = SessionKeys.make()
        assert keys.client_key is not None, "these are sealed"
        assert keys.server_key is not None, "these are sealed"
        offered = DatagramSession(
            host=self._host,
            port=self._port(),
            session=keys.session_id.hex(),
            to_hub_key=keys.client_key.hex(),
            to_device_key=keys.server_key.hex(),
        )
        return _OfferedWay(self._sessions, keys, listener, offered)


class _OfferedWay(RecordWay):
    """The hub's end of a session."""

    def __init__(
        self,
        sessions: DatagramSessions,
        keys: SessionKeys,
        listener: TwoWays,
        offered: DatagramSession,
    ) -> None:
        super().__init__(sessions, Role.SERVER, keys, listener)
        self.offered = offered
