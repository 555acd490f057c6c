"""What a daemon serves: its services, made of its settings, and begun and ended together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger

from sockserv.daemon.listening import open_udp
from sockserv.errors import StateError
from sockserv.net.threads import OneThread, pool_of
from sockserv.server.chat_datagrams import ChatPort
from sockserv.services import Service
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
from sockserv.state import CHAT_FILE, COMMANDS_FILE, FILES_FOLDER, JOBS_FOLDER
from sockserv.trust.audit.log import AuditLog
from sockserv.trust.store import IdentityStore
from sockserv.trust.watching import FileWatch
from sockserv.urls import ServerUrl

__all__ = ["DaemonServices"]

_CHAT_THREADS: Final = ("chat", "chat-reading")


class DaemonServices:
    """The services of a daemon. Making them touches nothing; `close` undoes whatever has been done by then.

    `urls` says where the daemon can be reached, best first. `on_change` is called when the identities were changed by a
    call, `identities_thread` is where that is done. `open_files` is how many files a job may have open that has no
    limit for that.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        identities: IdentityStore,
        audit: AuditLog,
        *,
        urls: Callable[[], Sequence[ServerUrl]],
        on_change: Callable[[], None],
        identities_thread: OneThread,
        open_files: int,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._identities = identities
        self._audit = audit
        self._urls = urls
        self._on_change = on_change
        self._identities_thread = identities_thread
        self._open_files = open_files
        self._chat_threads = tuple(OneThread(reactor, name=name) for name in _CHAT_THREADS)
        self._commands: FileWatch | None = None
        self._sweeper: FilesSweeper | None = None
        self._execution: ExecutionAssembly | None = None
        self._chat: Chat | None = None
        self._chat_port: ChatPort | None = None

    def open(self) -> list[Service]:
        """Read the commands, find the jobs that were kept, and open the UDP port of the chat.

        Raises `EditedFileError` for the file of the commands, `StateError` for the folder of the jobs and
        `ListenError` for the port.
        """
        policy = self._make_policy()
        execution = self._open_execution(policy)
        files = self._make_files()
        return [Echo(), files, self._make_admin(), Rules(policy), execution, self._make_chat()]

    def start(self) -> None:
        """Begin to look for changes of the commands, and after what broken uploads have left."""
        for each in (self._commands, self._sweeper):
            if each is not None:
                each.start()

    def reconsider(self) -> None:
        """End the kept jobs that nobody may run any more."""
        if self._execution is not None:
            self._execution.reconsider()

    def end_calls(self) -> Deferred[None]:
        """End the jobs that are not kept, and the sessions of the chat; fires when those who wait for a job were told."""
        if self._sweeper is not None:
            self._sweeper.stop()
        if self._chat is not None:
            self._chat.end_sessions()
        return succeed(None) if self._execution is None else self._execution.end_jobs()

    def close(self) -> Deferred[Any]:
        """Let go of everything. No call may be under way."""
        if self._commands is not None:
            self._commands.stop()
        closed = Deferred.fromCoroutine(self._close_chat())
        if self._execution is None:
            return closed
        return gatherResults([closed, self._execution.close()], consumeErrors=True)

    async def _close_chat(self) -> None:
        if self._chat is not None:
            await self._chat.stop()
        for thread in self._chat_threads:
            thread.stop()
        if self._chat_port is not None:
            await self._chat_port.stop()

    def _make_admin(self) -> Admin:
        def reachable() -> Reachable:
            urls = self._urls()
            pins = [url.pin for url in urls if url.pin is not None]
            return Reachable(tuple(map(str, urls)), pins[0] if pins else None)

        return Admin(
            self._identities,
            reachable=reachable,
            on_change=self._on_change,
            in_thread=self._identities_thread,
        )

    @property
    def _files_root(self) -> Path:
        return self._settings.files.root or self._settings.state.path / FILES_FOLDER

    def _make_files(self) -> Files:
        settings = self._settings.files
        files = Files(
            self._files_root,
            quota_bytes=settings.quota_bytes,
            rate_bytes_per_second=settings.rate_bytes_per_second,
            partial_expiry_seconds=settings.partial_expiry_seconds,
        )
        self._sweeper = FilesSweeper(self._reactor, files, in_thread=pool_of(self._reactor))
        return files

    def _make_policy(self) -> ExecutionPolicy:
        """What decides who may run what. Raises `EditedFileError`."""
        store = CommandStore(self._settings.state.path / COMMANDS_FILE)
        self._commands = FileWatch(
            self._reactor, store.refresh, what="the commands", in_thread=self._identities_thread
        )
        return ExecutionPolicy(
            configuration=lambda: store.configuration,
            folder_of=Folders(self._files_root).of,
            time_zone=os.environ.get("TZ"),
        )

    def _open_execution(self, policy: ExecutionPolicy) -> Service:
        folder = self._settings.state.path / JOBS_FOLDER
        self._execution = execution = ExecutionAssembly(
            self._reactor,
            policy,
            folder,
            limits=self._settings.exec,
            kept_limits=self._settings.kept,
            identity_of=self._identities.named,
            open_files=self._open_files,
            in_thread=pool_of(self._reactor),
            audit=self._audit,
        )
        try:
            execution.open()
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StateError(f"the jobs in {folder} cannot be read: {why}") from error
        return execution.service

    def _make_chat(self) -> Chat:
        def may_chat(name: str) -> bool:
            return (identity := self._identities.named(name)) is not None and identity.may("chat")

        storing, reading = self._chat_threads
        self._chat = Chat(
            self._reactor,
            self._settings.state.path / CHAT_FILE,
            in_thread=storing,
            in_reading_thread=reading,
            limits=self._settings.chat,
            knows=may_chat,
            datagrams=self._open_chat_port(),
        )
        return self._chat

    def _open_chat_port(self) -> ChatPort | None:
        """Open the UDP port of the chat, if it is to have one. Raises `ListenError`."""
        if (where := self._settings.chat_udp) is None:
            return None
        port = ChatPort(self._reactor, where.port, str(where.interface))
        open_udp(where, port.listen)
        self._chat_port = port
        self._log.info("the chat goes over {url}, too", url=port.url)
        return port
