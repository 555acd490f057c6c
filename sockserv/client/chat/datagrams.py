"""The client's end of the datagrams that a hub offers."""

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

__all__ = ["Datagrams"]


class Datagrams:
    """Begins the datagrams of sessions, each with a UDP port of its own. For `Session`, or `client.chat.session`.

    `listen` opens a port for sessions on any interface of a family that it is named, `0.0.0.0` or `::`; None has `reactor` do so.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        listen: Callable[[DatagramSessions, str], IListeningPort] | None = None,
    ) -> None:
        self._reactor = reactor
        self._listen = listen or self._listen_on_reactor

    def open(
        self, offered: DatagramSession, host: str | None, listener: TwoWays
    ) -> ClientWay | None:
        """Begin a session that a hub offers, which is at `host` unless it says otherwise; None where that cannot be.

        The keys are for this one session.
        """
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
        sessions = DatagramSessions(self._reactor)
        try:
            port = self._listen(sessions, "0.0.0.0" if address.version == 4 else "::")
        except CannotListenError:
            return None
        return ClientWay(sessions, port, keys, listener, address=(str(address), offered.port))

    def _listen_on_reactor(self, sessions: DatagramSessions, interface: str) -> IListeningPort:
        return listen_datagrams(self._reactor, sessions, interface=interface)


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
