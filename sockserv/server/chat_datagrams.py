"""What joins the chat to a UDP port: sessions of datagrams for its devices."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort

from sockserv.chat.facts import DatagramSession
from sockserv.chat.ways import TwoWays
from sockserv.net.datagram import DatagramSessions, listen_datagrams
from sockserv.net.ways import RecordWay
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.sealing import SessionKeys

__all__ = ["ChatDatagrams", "ChatPort"]


class ChatDatagrams:
    """Opens sessions on a port. `port` gives its number, `host` is where it is; None: where the connection goes to."""

    def __init__(
        self, sessions: DatagramSessions, port: Callable[[], int], *, host: str | None = None
    ) -> None:
        self._sessions = sessions
        self._port = port
        self._host = host

    def open(self, listener: TwoWays) -> tuple[RecordWay, DatagramSession]:
        """A session with keys of its own, always sealed, and what a device is told of it. Raises `NoRoom`."""
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
        return RecordWay(self._sessions, Role.SERVER, keys, listener), offered


class ChatPort(ChatDatagrams):
    """A UDP port for the chat: `port` 0 lets the system choose one.

    `interface` is an IP address; devices are told so, unless it stands for all.
    """

    def __init__(self, reactor: Any, port: int, interface: str) -> None:
        self._reactor = reactor
        self._wanted = port
        self._interface = interface
        self._listening: IListeningPort | None = None
        host = None if ip_address(interface).is_unspecified else interface
        super().__init__(DatagramSessions(reactor), self._number, host=host)

    @property
    def url(self) -> str:
        """Where it listens: `udp://0.0.0.0:7700`."""
        host = f"[{self._interface}]" if ":" in self._interface else self._interface
        return f"udp://{host}:{self._number()}"

    def listen(self) -> None:
        """Open it. Raises `twisted.internet.error.CannotListenError`."""
        self._listening = listen_datagrams(
            self._reactor, self._sessions, port=self._wanted, interface=self._interface
        )

    def stop(self) -> Deferred[Any]:
        """Close it, which ends all sessions; fires when that is done."""
        listening, self._listening = self._listening, None
        return succeed(None) if listening is None else maybeDeferred(listening.stopListening)

    def _number(self) -> int:
        assert self._listening is not None, "it listens"
        where: Any = self._listening.getHost()
        number: int = where.port
        return number
