"""Opening a hub with its messages when somebody first asks for it, looking after them, and closing them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import Unavailable
from sockserv.limits import ChatLimits
from sockserv.services.threads import InThread

if TYPE_CHECKING:
    from sockserv.services.chat.hub import Hub
    from sockserv.services.chat.store import ChatStore

__all__ = ["OpenHub", "Opening"]

_TRIM_SECONDS: Final = 600.0
_EXPIRED: Final = "it was not fetched for as long as messages are kept"


@attrs.frozen
class OpenHub:
    """A hub, and the messages: `store` for its thread, `reading` for that of looking back."""

    hub: Hub
    store: ChatStore
    reading: ChatStore


class Opening:
    """Opens a hub once. The arguments are those of `Chat`."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        path: Path | None,
        *,
        in_thread: InThread,
        in_reading_thread: InThread,
        limits: ChatLimits,
        knows: Callable[[str], bool],
        wall: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._path = path
        self._in_thread = in_thread
        self._in_reading_thread = in_reading_thread
        self._limits = limits
        self._knows = knows
        self._wall = wall
        self._open: OpenHub | None = None
        self._waiting: list[Deferred[None]] | None = None
        self._trimming: Deferred[None] | None = None

    @property
    def now(self) -> OpenHub | None:
        """What is open now."""
        return self._open

    async def get(self) -> OpenHub:
        """The hub, which is opened if it is not. Raises `Unavailable` when it cannot be."""
        while self._open is None:
            if self._waiting is None:
                self._waiting = []
                try:
                    await self._do_open()
                finally:
                    waiting, self._waiting = self._waiting, None
                    for one in waiting:
                        one.callback(None)
            else:
                opened: Deferred[None] = Deferred(self._waiting.remove)
                self._waiting.append(opened)
                await opened
        return self._open

    async def _do_open(self) -> None:
        # Imported late, with the database: a daemon starts sooner, and in many nobody chats.
        from sockserv.services.chat.database import StoreError
        from sockserv.services.chat.hub import Hub
        from sockserv.services.chat.store import ChatStore

        try:
            store = await self._in_thread(ChatStore, self._path)
            # What is in memory is in one place only.
            reading = (
                store
                if self._path is None
                else await self._in_reading_thread(ChatStore, self._path)
            )
            hub = Hub(
                self._clock,
                store,
                self._in_thread,
                wall=self._wall,
                limits=self._limits,
                knows=self._knows,
            )
            await hub.open()
        except StoreError as error:
            self._log.error("the chat cannot be opened: {why}", why=error)
            raise Unavailable("the chat cannot be opened; the server's log says why") from error
        self._open = OpenHub(hub, store, reading)
        self._trimming = Deferred.fromCoroutine(self._keep_trimming(self._open))
        self._trimming.addErrback(self._log_failure)

    async def close(self) -> None:
        """Write what is to be written, and close the messages. Nobody may be there any more."""
        opened, self._open = self._open, None
        if opened is None:
            return
        if self._trimming is not None:
            self._trimming.cancel()
        await opened.hub.stop()
        if opened.reading is not opened.store:
            await self._in_reading_thread(opened.reading.close)
        await self._in_thread(opened.store.close)

    async def _keep_trimming(self, opened: OpenHub) -> None:
        while True:
            await self._trim(opened)
            await deferLater(self._clock, _TRIM_SECONDS)

    async def _trim(self, opened: OpenHub) -> None:
        """Remove what is kept no longer, some of it at a time, so that nobody waits for all of it."""
        limits = self._limits
        trim = partial(opened.store.trim, keep=limits.history_count)
        while True:
            before = self._wall() - limits.history_seconds
            removed, missed = await self._in_thread(partial(trim, before=before))
            for message, members in missed:
                opened.hub.deliveries.tell_undelivered(message, members, _EXPIRED)
            if not removed:
                return

    def _log_failure(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("old messages of the chat cannot be removed", failure)
