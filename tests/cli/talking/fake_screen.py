"""A screen in memory, with somebody who types."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, fail

from sockserv.cli.talking.chatter import Chatter
from sockserv.cli.talking.showing import Kind, Line
from sockserv.cli.talking.view import View
from sockserv.client import Client
from sockserv.errors import ConnectError
from sockserv.testing import Link
from sockserv.trust import Identity
from tests.cli.fakes import session_with
from tests.services.chat.talking import HubInMemory, somebody

__all__ = ["FakeScreen", "Somebody"]


class FakeScreen:
    """Remembers what it was to show. With `is_stuck` it takes nothing, and never ends."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.view = View()
        self.is_shown = False
        self.is_stuck = False
        self._waiting: list[Deferred[None]] = []

    def start(self) -> None:
        self.is_shown = True

    def close(self) -> None:
        if not self.is_stuck:
            self.end()

    def end(self, failure: Exception | None = None) -> None:
        self.is_shown = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if failure is None:
                one.callback(None)
            else:
                one.errback(failure)

    def ended(self) -> Deferred[None]:
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def show(self, lines: Iterable[Line]) -> None:
        self.lines += lines

    async def room(self) -> None:
        if self.is_stuck:
            await Deferred()

    def update(self, view: View) -> None:
        self.view = view


class Somebody:
    """Somebody who chats with `sockserv chat` at a hub in memory."""

    def __init__(
        self,
        hub: HubInMemory,
        name: str = "alice",
        place: str = "lobby",
        *,
        identity: Identity | None = None,
        connect: Callable[[], Deferred[Client]] | None = None,
    ) -> None:
        self.hub = hub
        self.screen = FakeScreen()
        self.links: list[Link] = []
        self.is_cut_off = False
        self.failure: Exception = ConnectError("nobody listens")
        self._identity = identity or somebody(name)
        session = session_with(hub.memory, connect=connect or self._connect)
        self._chatter = Chatter(session, self._make_screen, wall=hub.memory.clock.seconds)
        self.running = Deferred.fromCoroutine(self._chatter.run(place))
        hub.memory.flush()

    def _connect(self) -> Deferred[Client]:
        if self.is_cut_off:
            return fail(self.failure)
        self.links.append(Link())
        return self.hub.memory.start_connecting(self._identity, link=self.links[-1])

    def _make_screen(self, on_typed: Callable[[str | None], None]) -> FakeScreen:
        return self.screen

    def cut_off(self) -> None:
        """Nobody can be reached any more."""
        self.is_cut_off = True
        self.links[-1].cut()
        self.hub.memory.flush()

    def leave(self) -> None:
        """Be gone, however the chat ends."""
        self.running.addErrback(lambda failure: None)
        self.running.cancel()
        self.hub.memory.advance(1.0)

    def type(self, *texts: str | None) -> None:
        """Enter texts; None is Ctrl-D."""
        for text in texts:
            self._chatter.typed(text)
            self.hub.memory.flush()

    def take(self) -> list[str]:
        """What was shown since the last time, in short."""
        lines, self.screen.lines = self.screen.lines, []
        return [_short(line) for line in lines]


def _short(line: Line) -> str:
    if line.kind is Kind.MESSAGE:
        to = f" → {line.to}" if line.to else ""
        return f"{line.sender}{to}: {line.text}"
    return f"{'!' if line.kind is Kind.ERROR else '*'} {line.text}"
