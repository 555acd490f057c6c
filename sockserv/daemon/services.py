"""What a daemon serves: its services, made of its settings, and begun and ended together.

Most of them are made when somebody first asks for them, and the code that they need is loaded after the start, which
takes half the time so. What a daemon is to notice at its start is noticed all
the same: mistakes in the file of the commands, jobs that were kept, and a UDP port that is taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.logger import Logger

from sockserv.daemon.listening import open_udp
from sockserv.daemon.loading import load_late_parts
from sockserv.daemon.sweeping import FilesSweeper
from sockserv.errors import StateError, Unavailable
from sockserv.net.threads import OneThread, pool_of
from sockserv.services import Service
from sockserv.services.echo import Echo
from sockserv.services.execution.command_store import CommandStore
from sockserv.services.late import LateServices
from sockserv.settings import Settings
from sockserv.state import CHAT_FILE, COMMANDS_FILE, FILES_FOLDER, JOBS_FOLDER
from sockserv.trust.audit.log import AuditLog
from sockserv.trust.store import IdentityStore
from sockserv.trust.watching import FileWatch
from sockserv.urls import ServerUrl

if TYPE_CHECKING:
    from sockserv.server.chat_datagrams import ChatPort
    from sockserv.services.chat import Chat
    from sockserv.services.execution.assembly import ExecutionAssembly
    from sockserv.services.execution.policy import ExecutionPolicy
    from sockserv.services.files import Files

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
        self._in_thread = pool_of(reactor)
        self._chat_threads = tuple(OneThread(reactor, name=name) for name in _CHAT_THREADS)
        self._sweeper = FilesSweeper(reactor, lambda: self._files().sweep(self._in_thread))
        self._commands: CommandStore | None = None
        self._commands_watch: FileWatch | None = None
        self._chat_port: ChatPort | None = None
        # What is made late.
        self._made_files: Files | None = None
        self._execution: ExecutionAssembly | None = None
        self._chat: Chat | None = None
        self._is_ending = False

    def open(self) -> list[Service | LateServices]:
        """Read the commands, find the jobs that were kept, and open the UDP port of the chat.

        Raises `EditedFileError` for the file of the commands, `StateError` for the folder of the jobs and
        `ListenError` for the port.
        """
        self._read_commands()
        execution: Sequence[Service | LateServices] = [
            self._late(self._execution_services, "exec.")
        ]
        if self._are_jobs_there():
            execution = self._execution_services()
        self._open_chat_port()
        return [
            Echo(),
            self._late(lambda: [self._files()], "files."),
            self._late(self._admin_services, "admin.", "identity."),
            *execution,
            self._late(self._chat_services, "chat."),
        ]

    def start(self) -> None:
        """Begin to look for changes of the commands, and after what broken uploads have left.

        The rest of the code is loaded as soon as the reactor runs.
        """
        self._reactor.callWhenRunning(self._load_the_rest)
        if self._commands_watch is not None:
            self._commands_watch.start()
        self._sweeper.start()

    def _load_the_rest(self) -> None:
        self._in_thread(load_late_parts).addErrback(
            lambda failure: self._log.failure("a part of the daemon is broken", failure=failure)
        )

    def reconsider(self) -> None:
        """End the kept jobs that nobody may run any more."""
        if self._execution is not None:
            self._execution.reconsider()

    def end_calls(self) -> Deferred[None]:
        """End the jobs that are not kept, and the sessions of the chat; fires when those who wait
        for a job were told.
        """
        self._is_ending = True
        self._sweeper.stop()
        if self._chat is not None:
            self._chat.end_sessions()
        return succeed(None) if self._execution is None else self._execution.end_jobs()

    def close(self) -> Deferred[Any]:
        """Let go of everything. No call may be under way."""
        self._is_ending = True
        if self._commands_watch is not None:
            self._commands_watch.stop()
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

    def _late(self, make: Callable[[], list[Service]], *prefixes: str) -> LateServices:
        def unless_ending() -> list[Service]:
            if self._is_ending:
                raise Unavailable("the server is stopping")
            return make()

        return LateServices(prefixes, unless_ending)

    def _read_commands(self) -> None:
        """Raises `EditedFileError`."""
        self._commands = CommandStore(self._settings.state.path / COMMANDS_FILE)
        self._commands_watch = FileWatch(
            self._reactor,
            self._commands.refresh,
            what="the commands",
            in_thread=self._identities_thread,
        )

    def _are_jobs_there(self) -> bool:
        """Whether there may be jobs that were kept. Raises `StateError`."""
        try:
            with os.scandir(self._jobs_folder) as found:
                return any(found)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._jobs_unreadable(error) from error

    def _open_chat_port(self) -> None:
        """Open the UDP port of the chat, if it is to have one. Raises `ListenError`."""
        if (where := self._settings.chat_udp) is None:
            return
        from sockserv.server.chat_datagrams import ChatPort

        port = ChatPort(self._reactor, where.port, str(where.interface))
        open_udp(where, port.listen)
        self._chat_port = port
        self._log.info("the chat goes over {url}, too", url=port.url)

    # What is made late, or at the start if it has to be

    def _admin_services(self) -> list[Service]:
        from sockserv.services.admin import Admin, Reachable

        def reachable() -> Reachable:
            urls = self._urls()
            pins = [url.pin for url in urls if url.pin is not None]
            return Reachable(tuple(map(str, urls)), pins[0] if pins else None)

        return [
            Admin(
                self._identities,
                reachable=reachable,
                on_change=self._on_change,
                in_thread=self._identities_thread,
            )
        ]

    def _files(self) -> Files:
        if self._made_files is None:
            from sockserv.services.files import Files

            settings = self._settings.files
            self._made_files = Files(
                self._files_root,
                quota_bytes=settings.quota_bytes,
                rate_bytes_per_second=settings.rate_bytes_per_second,
                partial_expiry_seconds=settings.partial_expiry_seconds,
                identity_of=self._identities.named,
                max_inbox_files=settings.max_inbox_files,
            )
        return self._made_files

    def _execution_services(self) -> list[Service]:
        """Raises `StateError` when the jobs that were kept cannot be read."""
        from sockserv.services.execution.assembly import ExecutionAssembly
        from sockserv.services.execution.policy.service import Rules

        policy = self._make_policy()
        self._execution = ExecutionAssembly(
            self._reactor,
            policy,
            self._jobs_folder,
            limits=self._settings.exec,
            kept_limits=self._settings.kept,
            identity_of=self._identities.named,
            open_files=self._open_files,
            in_thread=self._in_thread,
            audit=self._audit,
        )
        try:
            self._execution.open()
        except OSError as error:
            raise self._jobs_unreadable(error) from error
        return [self._execution.service, Rules(policy)]

    def _make_policy(self) -> ExecutionPolicy:
        """What decides who may run what, by the file of the commands."""
        from sockserv.services.execution.policy import ExecutionPolicy
        from sockserv.services.files.folders import Folders

        assert self._commands is not None  # they were read first
        commands = self._commands
        return ExecutionPolicy(
            configuration=lambda: commands.configuration,
            folder_of=Folders(self._files_root).of,
            time_zone=os.environ.get("TZ"),
        )

    def _chat_services(self) -> list[Service]:
        from sockserv.services.chat import Chat

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
            datagrams=self._chat_port,
        )
        return [self._chat]

    # In the state directory

    @property
    def _files_root(self) -> Path:
        return self._settings.files.root or self._settings.state.path / FILES_FOLDER

    @property
    def _jobs_folder(self) -> Path:
        return self._settings.state.path / JOBS_FOLDER

    def _jobs_unreadable(self, error: OSError) -> StateError:
        why = (error.strerror or str(error)).lower()
        return StateError(f"the jobs in {self._jobs_folder} cannot be read: {why}")
