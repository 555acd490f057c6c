"""The daemon: settings, a state directory and a reactor make a service that listens.

It starts whole or not at all: when one address cannot be listened on, the others are closed and the state directory
is let go. A client finds the daemon from when it listens on everything until it begins to stop.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from shlex import quote
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import IService, Service
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.daemon.listening import Listeners
from sockserv.daemon.open_files import make_room_for
from sockserv.daemon.services import DaemonServices
from sockserv.errors import StateError
from sockserv.net.threads import OneThread
from sockserv.server import Server
from sockserv.services import Service as CallService
from sockserv.services.late import LateServices
from sockserv.settings import Settings
from sockserv.state import AUDIT_FOLDER, IDENTITIES_FILE, HeldState, StateDirectory
from sockserv.trust.audit.log import AuditLog, OnFailure
from sockserv.trust.audit.writer import AuditWriter
from sockserv.trust.portal import identity_authenticator
from sockserv.trust.store import IdentityStore, owner_entry
from sockserv.trust.watching import IdentityWatch

if TYPE_CHECKING:
    from sockserv.daemon.dialects import Dialects

__all__ = ["Daemon", "make_service"]


def make_service(reactor: Any, settings: Settings) -> IService:
    """A daemon with these settings, for a Twisted application of your own; see `Daemon`."""
    return Daemon(reactor, settings)


@attrs.frozen
class _Held:
    """What a daemon has while it runs."""

    state: HeldState
    audit: AuditLog
    server: Server
    watch: IdentityWatch
    services: DaemonServices
    dialects: Dialects | None


class Daemon(Service):
    """A server for its owner, and for the identities of a file in its state directory. Making one touches nothing.

    `startService` raises `StateError` when the directory cannot be taken, `EditedFileError` when that file, or that of
    the commands, cannot be used, `ListenError` when an address cannot be listened on and `CertificateError` when a
    certificate cannot be shown there; nothing is left behind then, once the reactor has had a turn. Sockets and files
    are made by the account that the process has at that time, which under `twistd --uid` is the one it changes to.

    The Deferred of `stopService` fires when the running calls have ended or were cut.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        *,
        command: str = "sockserv",
        checkers: Iterable[ICredentialsChecker] = (),
        audit_thread: OneThread | None = None,
        identities_thread: OneThread | None = None,
    ) -> None:
        """`command` is how the client is called here, for the line that says what to try.

        `checkers` of `twisted.cred` are asked about user names and passwords, of identities that may log in so.
        `audit_thread` is where the audit log is written, `identities_thread` where the identities are read and
        written; None makes one.
        """
        self._reactor = reactor
        self._settings = settings
        self._command = command
        self._checkers = tuple(checkers)
        self._audit_thread = audit_thread or OneThread(reactor, name="audit")
        self._identities_thread = identities_thread or OneThread(reactor, name="identities")
        self._open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._held: _Held | None = None

    def startService(self) -> None:
        """Take the state directory, listen, and leave the note for clients."""
        with ExitStack() as undo:
            state = self._settings.state.open_for_daemon()
            undo.callback(state.close)
            make_room_for(self._settings.limits.max_connections)
            identities = self._read_identities(state)
            audit = self._make_audit_log(state)
            audit.open()
            undo.callback(audit.abandon)
            listeners: Listeners
            watch: IdentityWatch
            services = DaemonServices(
                self._reactor,
                self._settings,
                identities,
                audit,
                urls=lambda: listeners.urls,
                on_change=lambda: watch.notice(),
                identities_thread=self._identities_thread,
                open_files=self._open_files,
            )
            undo.callback(lambda: services.close().addErrback(self._log_failure))
            server = self._make_server(services.open(), identities, audit)
            undo.callback(lambda: server.stop().addErrback(self._log_failure))
            listeners = Listeners(
                self._reactor,
                server.listen,
                state.path,
                on_change=lambda: self._announce(state, listeners),
            )
            listeners.open(self._settings.listen)
            dialects = self._open_dialects(server, identities, undo)
            watch = IdentityWatch(
                self._reactor,
                identities,
                lambda: self._reconsider(server, identities, services),
                in_thread=self._identities_thread,
            )
            state.announce(listeners.local_urls)
            undo.pop_all()
        watch.start()
        services.start()
        self._held = _Held(state, audit, server, watch, services, dialects)
        self.running = True
        self._say_what_to_do(listeners.addresses)

    def stopService(self) -> Deferred[None]:
        """Let no new client in, and wait for the calls that run. Does nothing when it has not started."""
        self.running = False
        if self._held is None:
            return succeed(None)
        held, self._held = self._held, None
        return Deferred.fromCoroutine(self._stop(held))

    async def _stop(self, held: _Held) -> None:
        # First the note: the port may be somebody else's as soon as it is closed.
        held.state.withdraw()
        dialects = held.dialects
        if dialects is not None:
            dialects.stop_listening().addErrback(self._log_failure)
        # While the connections drain, so that each caller learns how its job has ended.
        calls_ended = held.services.end_calls()
        steps: list[Callable[[], Any]] = [
            held.server.stop,
            *([] if dialects is None else [dialects.close]),
            lambda: calls_ended,
            held.services.close,
            # Who is revoked while the last calls end is cut off as ever.
            held.watch.stop,
            self._identities_thread.stop,
            held.audit.close,
            self._audit_thread.stop,
            held.state.close,
        ]
        for step in steps:
            await maybeDeferred(step).addErrback(self._log_failure)

    def _open_dialects(
        self, server: Server, identities: IdentityStore, undo: ExitStack
    ) -> Dialects | None:
        """Speak the dialects that the settings name.

        Raises what ends the start, after which `undo` closes what was opened.
        """
        settings = self._settings.classic
        if not settings.endpoints and settings.chat is None:
            return None
        # Imported late: a daemon without any needs none of it, which is most of a client.
        from sockserv.daemon.dialects import Dialects

        dialects = Dialects(
            self._reactor,
            settings,
            server,
            self._settings.state.path,
            identity_of=identities.behind,
        )
        undo.callback(lambda: dialects.stop_listening().addErrback(self._log_failure))
        dialects.open()
        return dialects

    def _make_audit_log(self, state: HeldState) -> AuditLog:
        settings = self._settings.audit
        return AuditLog(
            self._reactor,
            AuditWriter(
                state.path / AUDIT_FOLDER,
                max_file_bytes=settings.max_file_bytes,
                keep_files=settings.keep_files,
                keep_seconds=settings.keep_seconds,
            ),
            in_thread=self._audit_thread,
            on_failure=OnFailure(settings.on_failure),
        )

    def _read_identities(self, state: HeldState) -> IdentityStore:
        owner = owner_entry(self._settings.state.owner_token(), uid=os.geteuid())
        return IdentityStore(state.path / IDENTITIES_FILE, owner=owner)

    def _make_server(
        self,
        services: Iterable[CallService | LateServices],
        identities: IdentityStore,
        audit: AuditLog,
    ) -> Server:
        return Server(
            self._reactor,
            services,
            authenticator=identity_authenticator(
                identities, self._reactor, checkers=self._checkers
            ),
            limits=self._settings.limits,
            audit=audit,
        )

    def _reconsider(
        self, server: Server, identities: IdentityStore, services: DaemonServices
    ) -> None:
        """Have everybody who is logged in be what the identities say now, and end the kept jobs that nobody may run."""
        services.reconsider()
        server.reconsider(
            lambda identity: identities.current(
                identity, datetime.fromtimestamp(self._reactor.seconds(), UTC)
            )
        )

    def _announce(self, state: HeldState, listeners: Listeners) -> None:
        """Another key is shown: have the clients of this account expect it."""
        if not self.running:
            return
        try:
            state.announce(listeners.local_urls)
        except StateError as error:
            self._log.error("clients of this account do not find the daemon: {why}", why=error)

    def _say_what_to_do(self, urls: list[str]) -> None:
        path = self._settings.state.path
        elsewhere = (
            "" if path == StateDirectory.locate(environ={}).path else f" --state {quote(str(path))}"
        )
        self._log.info("sockserv listens on {urls}", urls=", ".join(urls))
        self._log.info("its state is in {path}", path=path)
        self._log.info(
            "to try it, type in another terminal: {command} ping{elsewhere}",
            command=self._command,
            elsewhere=elsewhere,
        )

    def _log_failure(self, failure: Failure) -> None:
        self._log.failure("the server did not stop cleanly", failure=failure)
