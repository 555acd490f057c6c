"""The client's end of the datagrams of a session, with a UDP port of its own."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from sockserv.chat.facts import DatagramSession
from sockserv.chat.ways import TwoWays
from sockserv.net.datagram import DatagramSessions, listen_datagrams
from sockserv.net.ways import RecordWay
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.sealing import SessionKeys

__all__ = ["ClientWay", "Listen", "open_way"]

Listen = Callable[[DatagramSessions, str], IListeningPort]


def open_way(
    reactor: Any,
    offered: DatagramSession,
    host: str | None,
    listener: TwoWays,
    *,
    listen: Listen | None,
) -> ClientWay | None:
    """Begin a session that a hub offers; see `Datagrams`. None where that cannot be."""
    try:
        # What is no address, or no keys, is none of ours to use; nor is a place that only its sender knows.
        address = ip_address(offered.host or host or "")
        keys = SessionKeys(
            session_id=bytes.fromhex(offered.session),
            client_key=bytes.fromhex(offered.to_hub_key),
            server_key=bytes.fromhex(offered.to_device_key),
        )
    except ValueError:
        return None
    if not 0 < offered.port < 65_536:
        return None
    sessions = DatagramSessions(reactor)
    interface = "0.0.0.0" if address.version == 4 else "::"
    try:
        if listen is None:
            port = listen_datagrams(reactor, sessions, interface=interface)
        else:
            port = listen(sessions, interface)
    except CannotListenError:
        return None
    return ClientWay(sessions, port, keys, listener, address=(str(address), offered.port))


class ClientWay(RecordWay):
    """A session on a port that is its own, and is closed with it."""

    _log = Logger()

    def __init__(
        self,
        sessions: DatagramSessions,
        port: IListeningPort,
        keys: SessionKeys,
        listener: TwoWays,
        *,
        address: tuple[str, int],
    ) -> None:
        super().__init__(sessions, Role.CLIENT, keys, listener, address=address)
        self._port = port

    def close(self) -> None:
        """End the session."""
        super().close()
        stopping: Any = self._port.stopListening()
        if stopping is not None:
            stopping.addErrback(lambda failure: self._log.failure("a port stays open", failure))
