"""The daemon's classic endpoints: which dialect is spoken where, and on whose behalf."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from sockserv.classic.chat import Guests
from sockserv.classic.conversation import Conversation, Hangup
from sockserv.classic.echo import echo
from sockserv.classic.execute import Commands, json_heading, low_heading
from sockserv.classic.inside import connect_inside
from sockserv.classic.put import Uploads
from sockserv.classic.serving import ClassicFactory, Conduct
from sockserv.classic.settings import ClassicSettings, Dialect
from sockserv.client import Client
from sockserv.daemon.listening import Listeners, open_udp
from sockserv.endpoints import Endpoint, TcpEndpoint, UdpEndpoint
from sockserv.errors import ConfigError
from sockserv.net.threads import pool_of
from sockserv.server import Server
from sockserv.server.origins import origin_of
from sockserv.trust.identities import Identity, Login
from sockserv.trust.origin import Origin
from sockserv.trust.store import GUEST

__all__ = ["Dialects"]

_NOBODY = "classic"
"""What an echo is called on whose behalf nobody was named."""

_MAX_PACKET_BYTES = 65_536
"""Twisted cuts what is longer, and says nothing."""


class Dialects:
    """Speaks the dialects of `settings` for a server. Making one touches nothing.

    `directory` is the state directory. `identity_of` finds the identity of a name, for who speaks a dialect.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: ClassicSettings,
        server: Server,
        directory: Path,
        *,
        identity_of: Callable[[str, str], Identity | None],
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._server = server
        self._directory = directory
        self._identity_of = identity_of
        self._factories: list[ClassicFactory] = []
        self._ports: list[Any] = []
        self._guests: Guests | None = None

    def open(self) -> None:
        """Listen.

        Raises `ListenError`, and `ConfigError` when there is no such identity; what listens by then is for
        `stop_listening`.
        """
        for dialect, endpoint in self._settings.endpoints.items():
            if self._identity(dialect) is None:
                raise ConfigError(
                    f"there is no identity {self._settings.identity!r}, on whose behalf {dialect} would be spoken: "
                    "invite it while the daemon runs without the classic endpoints, or write it into identities.toml"
                )
            self._open(dialect, endpoint)
        if self._settings.chat is not None:
            self._open_chat(self._settings.chat)

    def _open_chat(self, endpoint: UdpEndpoint) -> None:
        room = self._settings.room

        def connect(name: str, address: tuple[str, int]) -> Deferred[Client]:
            login = Login(GUEST, Dialect.CHAT)
            identity = Identity(name, frozenset({"chat"}), chat=(room,), login=login)
            factory = self._server.factory_for(identity, Origin(*address))
            return connect_inside(self._reactor, factory)

        self._guests = Guests(self._reactor, room, connect)
        host = str(endpoint.interface)
        listen = partial(self._reactor.listenUDP, interface=host, maxPacketSize=_MAX_PACKET_BYTES)
        port = open_udp(endpoint, partial(listen, endpoint.port, self._guests))
        self._ports.append(port)
        self._say_where(Dialect.CHAT, f"udp://{host}:{port.getHost().port}", endpoint.interface)

    def stop_listening(self) -> Deferred[Any]:
        """Let nobody new in; fires when nobody listens. Who is there goes on, for as long as the server serves them."""
        ports, self._ports = self._ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])

    def close(self) -> None:
        """Cut all connections."""
        for factory in self._factories:
            factory.close()
        if self._guests is not None:
            self._guests.close()

    def _open(self, dialect: Dialect, endpoint: Endpoint) -> None:
        def connect(conversation: Conversation) -> Deferred[Client]:
            identity = self._identity(dialect)
            if identity is None:
                return fail(Hangup(f"there is no identity {self._settings.identity!r} any more"))
            factory = self._server.factory_for(identity, origin_of(conversation.transport))
            return connect_inside(self._reactor, factory)

        factory = ClassicFactory(self._reactor, self._conduct_of(dialect), connect)
        self._factories.append(factory)
        listeners = Listeners(
            self._reactor,
            lambda where: (
                serverFromString(self._reactor, where).listen(factory).addCallback(self._listens)
            ),
            self._directory,
        )
        listeners.open([endpoint])
        (address,) = listeners.addresses
        interface = endpoint.interface if isinstance(endpoint, TcpEndpoint) else None
        self._say_where(dialect, address, interface)

    def _say_where(
        self, dialect: Dialect, address: str, interface: IPv4Address | IPv6Address | None
    ) -> None:
        self._log.info(
            "speaks the classic {dialect} on {address}", dialect=dialect, address=address
        )
        if interface is not None and not interface.is_loopback:
            self._log.warn(
                "whoever reaches {address} is {who}, without any login, and nothing there is encrypted",
                address=address,
                who="a guest" if dialect.is_for_guests else self._settings.identity,
            )

    def _listens(self, port: IListeningPort) -> IListeningPort:
        self._ports.append(port)
        return port

    def _identity(self, dialect: Dialect) -> Identity | None:
        name = self._settings.identity
        if name is None:
            return Identity(_NOBODY, frozenset({"echo"}), login=Login(GUEST, dialect))
        return self._identity_of(name, dialect)

    def _conduct_of(self, dialect: Dialect) -> Conduct:
        settings = self._settings
        match dialect:
            case Dialect.ECHO:
                return echo
            case Dialect.PUT:
                return Uploads(overwrite=settings.overwrite)
            case _:
                return Commands(
                    heading=json_heading if dialect is Dialect.EXEC else low_heading,
                    encoding=settings.encoding,
                    transcode=settings.transcode,
                    in_thread=pool_of(self._reactor),
                )
