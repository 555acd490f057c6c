"""The daemon: settings, a state directory and a reactor make a service that listens.

It starts whole or not at all: when one address cannot be listened on, the others are closed and the state directory
is let go. A client finds the daemon from when it listens on everything until it begins to stop.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import IService, Service
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import StateError
from sockserv.listening import ListenError, Listeners, open_udp
from sockserv.net.threads import OneThread, pool_of
from sockserv.server import Server
from sockserv.server.chat_datagrams import ChatPort
from sockserv.services import Service as CallService
from sockserv.services.admin import Admin, Reachable
from sockserv.services.chat import Chat
from sockserv.services.echo import Echo
from sockserv.services.execution.assembly import ExecutionAssembly
from sockserv.services.execution.policy import ExecutionPolicy
from sockserv.services.execution.policy.service import Rules
from sockserv.services.execution.policy.store import CommandStore
from sockserv.services.files import Files, FilesSweeper
from sockserv.services.files.folders import Folders
from sockserv.settings import Settings
from sockserv.state import (
    AUDIT_FOLDER,
    CHAT_FILE,
    COMMANDS_FILE,
    FILES_FOLDER,
    IDENTITIES_FILE,
    JOBS_FOLDER,
    HeldState,
    StateDirectory,
)
from sockserv.trust.audit.log import AuditLog, OnFailure
from sockserv.trust.audit.writer import AuditWriter
from sockserv.trust.portal import identity_authenticator
from sockserv.trust.store import IdentityStore, owner_entry
from sockserv.trust.watching import FileWatch, IdentityWatch
from sockserv.urls import ServerUrl

if TYPE_CHECKING:
    from sockserv.dialects import Dialects

__all__ = ["Daemon", "ListenError", "make_service"]

_FILES_FOR_ITSELF = 64
"""The files that a daemon has open besides its connections, at most."""


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
    commands: FileWatch
    sweeper: FilesSweeper
    execution: ExecutionAssembly
    chat: Chat
    chat_port: ChatPort | None
    dialects: Dialects | None


class Daemon(Service):
    """A server for its owner, and for the identities of a file in its state directory. Making one touches nothing.

    `startService` raises `StateError` when the directory cannot be taken, `EditedFileError` when that file, or that of the
    commands, cannot be used, `ListenError` when an address cannot be listened on and `CertificateError` when a certificate
    cannot be shown there; nothing is left behind then, once the reactor has had a turn. Sockets and files are made by the
    account that the process has at that time, which under `twistd --uid` is the one it changes to.

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
        self._chat_threads = (
            OneThread(reactor, name="chat"),
            OneThread(reactor, name="chat-reading"),
        )
        self._open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._held: _Held | None = None

    def startService(self) -> None:
        """Take the state directory, listen, and leave the note for clients."""
        with ExitStack() as undo:
            state = self._settings.state.open_for_daemon()
            undo.callback(state.close)
            self._make_room_for_connections()
            identities = self._read_identities(state)
            audit = self._make_audit_log(state)
            audit.open()
            undo.callback(audit.abandon)
            admin = Admin(
                identities,
                reachable=lambda: _reachable(listeners.urls),
                on_change=lambda: watch.notice(),
                in_thread=self._identities_thread,
            )
            files = self._make_files()
            policy, commands = self._make_policy(state)
            execution = self._make_execution(policy, identities, audit)
            undo.callback(lambda: execution.close().addErrback(self._log_failure))
            self._find_kept_jobs(execution)
            chat_port = self._open_chat_port(undo)
            chat = self._make_chat(identities, chat_port)
            services = [Echo(), files, admin, Rules(policy), execution.service, chat]
            server = self._make_server(services, identities, audit)
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
                lambda: self._reconsider(server, identities, execution),
                in_thread=self._identities_thread,
            )
            sweeper = FilesSweeper(self._reactor, files, in_thread=pool_of(self._reactor))
            state.announce(listeners.local_urls)
            undo.pop_all()
        watch.start()
        commands.start()
        sweeper.start()
        self._held = _Held(
            state, audit, server, watch, commands, sweeper, execution, chat, chat_port, dialects
        )
        self.running = True
        self._say_what_to_do(listeners.addresses)

    def stopService(self) -> Deferred[None]:
        """Let no new client in, and wait for the calls that run. Does nothing when it has not started."""
        self.running = False
        if self._held is None:
            return succeed(None)
        held, self._held = self._held, None
        # First the note: the port may be somebody else's as soon as it is closed.
        held.state.withdraw()
        held.sweeper.stop()
        if held.dialects is not None:
            held.dialects.stop_listening().addErrback(self._log_failure)
        # While the connections drain, so that each caller learns how its job has ended.
        jobs_ended = held.execution.end_jobs()
        held.chat.end_sessions()
        ended = held.server.stop()
        ended.addErrback(self._log_failure)
        ended.addCallback(lambda _: held.dialects.close() if held.dialects is not None else None)
        ended.addCallback(lambda _: jobs_ended)
        ended.addCallback(lambda _: held.execution.close())
        ended.addCallback(lambda _: held.chat.stop())
        ended.addCallback(lambda _: self._stop_chat(held.chat_port))
        # Who is revoked while the last calls end is cut off as ever.
        ended.addCallback(lambda _: held.watch.stop())
        ended.addCallback(lambda _: held.commands.stop())
        ended.addCallback(lambda _: self._identities_thread.stop())
        ended.addCallback(lambda _: held.audit.close())
        ended.addCallback(lambda _: self._audit_thread.stop())
        ended.addCallback(lambda _: held.state.close())
        return ended

    def _stop_chat(self, port: ChatPort | None) -> Deferred[Any] | None:
        for thread in self._chat_threads:
            thread.stop()
        return None if port is None else port.stop()

    def _open_dialects(
        self, server: Server, identities: IdentityStore, undo: ExitStack
    ) -> Dialects | None:
        """Speak the dialects that the settings name. Raises what ends the start, after which `undo` closes what was opened."""
        settings = self._settings.classic
        if not settings.endpoints and settings.chat is None:
            return None
        # Imported late: a daemon without any needs none of it, which is most of a client.
        from sockserv.dialects import Dialects

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

    def _open_chat_port(self, undo: ExitStack) -> ChatPort | None:
        """Open the UDP port of the chat, if it is to have one. Raises `ListenError`."""
        if (where := self._settings.chat_udp) is None:
            return None
        port = ChatPort(self._reactor, where.port, str(where.interface))
        open_udp(where, port.listen)
        undo.callback(port.stop)
        self._log.info("the chat goes over {url}, too", url=port.url)
        return port

    def _make_chat(self, identities: IdentityStore, port: ChatPort | None) -> Chat:
        def may_chat(name: str) -> bool:
            return (identity := identities.named(name)) is not None and identity.may("chat")

        return Chat(
            self._reactor,
            self._settings.state.path / CHAT_FILE,
            in_thread=self._chat_threads[0],
            in_reading_thread=self._chat_threads[1],
            limits=self._settings.chat,
            knows=may_chat,
            datagrams=port,
        )

    def _make_audit_log(self, state: HeldState) -> AuditLog:
        settings = self._settings.audit
        return AuditLog(
            self._reactor,
            AuditWriter(
                state.path / AUDIT_FOLDER,
                max_file_bytes=settings.max_file_bytes,
                keep_files=settings.keep_files,
            ),
            in_thread=self._audit_thread,
            on_failure=OnFailure(settings.on_failure),
        )

    def _make_policy(self, state: HeldState) -> tuple[ExecutionPolicy, FileWatch]:
        """What decides who may run what, and what looks for changes of that. Raises `EditedFileError`."""
        store = CommandStore(state.path / COMMANDS_FILE)
        policy = ExecutionPolicy(
            configuration=lambda: store.configuration,
            folder_of=Folders(self._files_root).of,
            time_zone=os.environ.get("TZ"),
        )
        watch = FileWatch(
            self._reactor, store.refresh, what="the commands", in_thread=self._identities_thread
        )
        return policy, watch

    def _make_execution(
        self, policy: ExecutionPolicy, identities: IdentityStore, audit: AuditLog
    ) -> ExecutionAssembly:
        return ExecutionAssembly(
            self._reactor,
            policy,
            self._settings.state.path / JOBS_FOLDER,
            limits=self._settings.exec,
            kept_limits=self._settings.kept,
            identity_of=identities.named,
            open_files=self._open_files,
            in_thread=pool_of(self._reactor),
            audit=audit,
        )

    def _find_kept_jobs(self, execution: ExecutionAssembly) -> None:
        try:
            execution.open()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StateError(
                f"the jobs in {self._settings.state.path / JOBS_FOLDER} cannot be read: {why}"
            ) from error

    @property
    def _files_root(self) -> Path:
        return self._settings.files.root or self._settings.state.path / FILES_FOLDER

    def _make_files(self) -> Files:
        settings = self._settings.files
        return Files(
            self._files_root,
            quota_bytes=settings.quota_bytes,
            rate_bytes_per_second=settings.rate_bytes_per_second,
            partial_expiry_seconds=settings.partial_expiry_seconds,
        )

    def _make_room_for_connections(self) -> None:
        """Let the process open as many files as it may: common systems give it far fewer at first."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with suppress(ValueError, OSError):  # some systems have no end, and let nobody go there
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        room = hard - _FILES_FOR_ITSELF
        wanted = self._settings.limits.max_connections
        if hard != resource.RLIM_INFINITY and room < wanted:
            self._log.warn(
                "there is room for about {room} connections, not for max_connections ({wanted}): "
                "this process may open {hard} files (ulimit -Hn)",
                room=max(0, room),
                wanted=wanted,
                hard=hard,
            )

    def _read_identities(self, state: HeldState) -> IdentityStore:
        owner = owner_entry(self._settings.state.owner_token(), uid=os.geteuid())
        return IdentityStore(state.path / IDENTITIES_FILE, owner=owner)

    def _make_server(
        self, services: Iterable[CallService], identities: IdentityStore, audit: AuditLog
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
        self, server: Server, identities: IdentityStore, execution: ExecutionAssembly
    ) -> None:
        """Have everybody who is logged in be what the identities say now, and end the kept jobs that nobody may run."""
        execution.reconsider()
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


def _reachable(urls: Sequence[ServerUrl]) -> Reachable:
    pins = [url.pin for url in urls if url.pin is not None]
    return Reachable(tuple(map(str, urls)), pins[0] if pins else None)
