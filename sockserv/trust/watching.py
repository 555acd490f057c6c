"""Noticing that files which a person edits have changed, and that identities have: because time has passed, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import Unavailable
from sockserv.trust.edited_file import EditedFileError, EditedFilePathError
from sockserv.trust.store import IdentityStore

__all__ = ["FileWatch", "IdentityWatch"]

_INTERVAL_SECONDS = 1.0


class FileWatch:
    """Looks once a second whether a file has changed.

    `refresh` reads the file again if it has changed, and returns whether it had; it blocks, and `in_thread` calls it in
    a thread. `what` is what the file says, for the log (`the identities`), in which what is wrong with an edit stands
    once. `after_look` is called on the reactor after each look.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        refresh: Callable[[], bool],
        *,
        what: str,
        in_thread: Callable[[Callable[[], bool]], Awaitable[bool]],
        after_look: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._refresh = refresh
        self._what = what
        self._in_thread = in_thread
        self._after_look = after_look
        self._complaint: str | None = None
        # Not a LoopingCall: that imports the global reactor.
        self._next: IDelayedCall | None = None
        self._is_watching = False

    def start(self) -> None:
        """Begin to look, a second from now."""
        self._is_watching = True
        self._wait()

    def stop(self) -> None:
        """Look no more; nothing is called after this. A second call does nothing."""
        self._is_watching = False
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _wait(self) -> None:
        self._next = self._clock.callLater(_INTERVAL_SECONDS, self._look)

    def _look(self) -> None:
        self._next = None
        Deferred.fromCoroutine(self._read()).addBoth(self._looked_at)

    async def _read(self) -> None:
        try:
            if await self._in_thread(self._refresh):
                self._log.info("{what} have changed, and are read again", what=self._what)
            self._complaint = None
        except (EditedFilePathError, Unavailable) as error:
            # It is tried again, and would say the same each second.
            if str(error) != self._complaint:
                self._complaint = str(error)
                self._complain(error)
        except EditedFileError as error:
            self._complaint = None
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        self._log.error("{error}; {what} stay as they were", error=error, what=self._what)

    def _looked_at(self, result: Failure | None) -> None:
        if result is not None:
            self._log.failure("{what} cannot be looked at", failure=result, what=self._what)
        if self._is_watching:
            self._wait()
            self._after_look()


class IdentityWatch:
    """Looks at the file of identities once a second, and tells of every change.

    `on_change` is called on the reactor when identities have changed, or a token has expired. `in_thread` calls a
    blocking function in a thread.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: IdentityStore,
        on_change: Callable[[], None],
        *,
        in_thread: Callable[[Callable[[], bool]], Awaitable[bool]],
    ) -> None:
        self._clock = clock
        self._store = store
        self._on_change = on_change
        self._revision_told = store.revision
        self._looked = self._now()
        self._watch = FileWatch(
            clock,
            lambda: store.refresh(),
            what="the identities",
            in_thread=in_thread,
            after_look=self.notice,
        )

    def start(self) -> None:
        """Begin to look, a second from now."""
        self._watch.start()

    def stop(self) -> None:
        """Look no more; nothing is told after this. A second call does nothing."""
        self._watch.stop()

    def notice(self) -> None:
        """Tell of a change at once, if there is one that has not been told of; for who has just made it."""
        now = self._now()
        looked, self._looked = self._looked, now
        revision = self._store.revision
        if revision != self._revision_told or self._store.expires_between(looked, now):
            self._revision_told = revision
            self._on_change()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)
