"""The daemon's classic endpoints: which dialect is spoken where, and on whose behalf."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from sockserv.classic.conversation import Conversation, Hangup
from sockserv.classic.echo import echo
from sockserv.classic.execute import Commands, json_heading, low_heading
from sockserv.classic.inside import connect_inside
from sockserv.classic.put import Uploads
from sockserv.classic.serving import ClassicFactory, Conduct
from sockserv.client import Client
from sockserv.endpoints import Endpoint, TcpEndpoint
from sockserv.errors import ConfigError
from sockserv.listening import Listeners
from sockserv.net.threads import pool_of
from sockserv.server import Server
from sockserv.server.origins import origin_of
from sockserv.settings import ClassicSettings, Dialect
from sockserv.trust.identities import Identity, Login
from sockserv.trust.store import CLASSIC

__all__ = ["Dialects"]

_NOBODY = "classic"
"""What an echo is called on whose behalf nobody was named."""


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
        self._ports: list[IListeningPort] = []

    def open(self) -> None:
        """Listen. Raises `ListenError`, and `ConfigError` when there is no such identity; what listens by then is for `stop_listening`."""
        for dialect, endpoint in self._settings.endpoints.items():
            if self._identity(dialect) is None:
                raise ConfigError(
                    f"there is no identity {self._settings.identity!r}, on whose behalf {dialect} would be spoken"
                )
            self._open(dialect, endpoint)

    def stop_listening(self) -> Deferred[Any]:
        """Let nobody new in; fires when nobody listens. Who is there goes on, for as long as the server serves them."""
        ports, self._ports = self._ports, []
        return gatherResults([maybeDeferred(port.stopListening) for port in ports])

    def close(self) -> None:
        """Cut all connections."""
        for factory in self._factories:
            factory.close()

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
        self._log.info(
            "speaks the classic {dialect} on {address}", dialect=dialect, address=address
        )
        if isinstance(endpoint, TcpEndpoint) and not endpoint.interface.is_loopback:
            self._log.warn(
                "whoever reaches {address} is {who}, without any login, and nothing there is encrypted",
                address=address,
                who=self._settings.identity or "somebody",
            )

    def _listens(self, port: IListeningPort) -> IListeningPort:
        self._ports.append(port)
        return port

    def _identity(self, dialect: Dialect) -> Identity | None:
        name = self._settings.identity
        if name is None:
            return Identity(_NOBODY, frozenset({"echo"}), login=Login(CLASSIC, dialect))
        return self._identity_of(name, dialect)

    def _conduct_of(self, dialect: Dialect) -> Conduct:
        settings = self._settings
        match dialect:
            case Dialect.ECHO:
                return echo
            case Dialect.PUT:
                return Uploads(overwrite=settings.overwrite)
            case Dialect.EXEC | Dialect.EXEC_LOW:
                return Commands(
                    heading=json_heading if dialect is Dialect.EXEC else low_heading,
                    encoding=settings.encoding,
                    transcode=settings.transcode,
                    in_thread=pool_of(self._reactor),
                )
