"""The files that somebody sends to others in a chat, while the chat goes on.

Each goes until it is there, over lost connections, or until somebody leaves; what has been sent of it stays at the
server for the next try.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sockserv.cli.amounts import amount
from sockserv.cli.complaints import complaint_about
from sockserv.cli.talking.showing import Kind, Line, said_line
from sockserv.cli.talking.typed import NotUnderstood
from sockserv.cli.talking.visible import cut, visible_name
from sockserv.errors import ConnectionEnded, Unavailable

if TYPE_CHECKING:
    from sockserv.cli.talking.connections import Connections
    from sockserv.client.chat import Session as ChatSession
    from sockserv.client.files import Transfer
    from sockserv.files.facts import Offered

__all__ = ["Sending", "told_about"]

_MOST_AT_ONCE: Final = 4
_PAUSE_SECONDS: Final = 1.0
_NAME_COLUMNS: Final = 20


def told_about(name: str, offered: Offered) -> str:
    """What the receiver of a file is told in the chat: what it is, and what fetches it."""
    return f"sends {name} ({amount(offered.size)}): sockserv get {quote(offered.path)}"


@attrs.define(eq=False)
class _OnTheWay:
    """A file that goes to a place, and how far it has come."""

    path: Path
    place: str
    size: int | None = None
    done_bytes: int = 0
    is_waiting: bool = False
    """There is no connection."""

    @property
    def name(self) -> str:
        """The name of the file, as it is shown."""
        return cut(visible_name(self.path.name), _NAME_COLUMNS)

    @property
    def progress(self) -> str:
        """How far it has come, in words."""
        percent = f" {self.done_bytes * 100 // self.size} %" if self.size else ""
        return f"{self.name} to {cut(self.place, _NAME_COLUMNS)}{percent}"


class Sending:
    """Sends files over whatever connection there is.

    `say` says something at a place, `show` shows lines, and `on_progress` is called when `progress` has changed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        chat: ChatSession,
        connections: Connections,
        *,
        say: Callable[[str, str], None],
        show: Callable[[list[Line]], None],
        on_progress: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._chat = chat
        self._connections = connections
        self._say = say
        self._show = show
        self._on_progress = on_progress
        self._files: dict[_OnTheWay, Deferred[None]] = {}
        self._idle: Deferred[None] | None = None

    @property
    def progress(self) -> str:
        """What is on the way, in few words; nothing where nothing is."""
        if len(self._files) > 1:
            return f"{len(self._files)} files on the way"
        return "".join(one.progress for one in self._files)

    def begin(self, file: str, place: str) -> None:
        """Send a file to somebody. Raises `NotUnderstood` for what cannot be begun now."""
        try:
            path = Path(file).expanduser().absolute()
        except RuntimeError as error:
            raise NotUnderstood(f"{file}: {error}") from None
        if any((one.path, one.place) == (path, place) for one in self._files):
            raise NotUnderstood(f"{visible_name(path.name)} is on its way to {place} already")
        if len(self._files) == _MOST_AT_ONCE:
            raise NotUnderstood(f"{_MOST_AT_ONCE} files are on the way: wait for one of them")
        one = _OnTheWay(path, place)
        self._files[one] = sending = Deferred.fromCoroutine(self._send(one))
        self._on_progress()
        sending.addBoth(self._ended, one)

    async def _send(self, one: _OnTheWay) -> None:
        while True:
            try:
                files = self._connections.now.files
                offered = await files.offer(
                    one.path, to=one.place, on_progress=lambda transfer: self._note(one, transfer)
                )
                break
            except (ConnectionEnded, Unavailable):
                if not one.is_waiting:
                    one.is_waiting = True
                    self._tell(f"{one.name} goes on when the connection is back")
                await deferLater(self._clock, _PAUSE_SECONDS)
                await self._chat.joined()
        self._say(one.place, told_about(one.path.name, offered))

    def _note(self, one: _OnTheWay, transfer: Transfer) -> None:
        one.is_waiting = False
        before = one.progress
        one.size, one.done_bytes = transfer.step.size, transfer.done_bytes
        if one.progress != before:
            self._on_progress()

    def _ended(self, result: Failure | None, one: _OnTheWay) -> None:
        del self._files[one]
        error = result.value if isinstance(result, Failure) else None
        if isinstance(error, Exception) and not isinstance(error, CancelledError):
            why = complaint_about(error).message
            self._tell(f"{one.name} was not sent to {one.place}: {why}", kind=Kind.ERROR)
        self._on_progress()
        if not self._files and self._idle is not None:
            self._idle.callback(None)

    def _tell(self, text: str, *, kind: Kind = Kind.NOTICE) -> None:
        self._show([said_line(text, kind=kind)])

    # At the end

    async def finish(self) -> None:
        """Wait until all of them are there."""
        if self._files:
            self._tell(f"waiting for {self.progress}; Ctrl-C stops that")
            self._idle = Deferred(lambda _: self._forget())
            await self._idle

    def _forget(self) -> None:
        """Nobody waits any more."""
        self._idle = None

    def stop(self) -> str:
        """Stop all; gives what has become of them in words, nothing where nothing was on the way."""
        stopped = [one.progress for one in self._files]
        for sending in [*self._files.values()]:
            sending.cancel()
        return ", ".join(stopped)
