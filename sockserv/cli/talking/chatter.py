"""A chat between a screen and a server: shows what comes, and does what is typed.

What is typed is done in order, one after the other. What is said waits for nothing: the session sends it when there is
a connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sockserv.chat.lines import Event, Joined
from sockserv.cli.talking.connections import Connections
from sockserv.cli.talking.doing import Doing
from sockserv.cli.talking.route import Route
from sockserv.cli.talking.showing import Kind, said_line
from sockserv.cli.talking.state import State
from sockserv.cli.talking.together import first_of
from sockserv.cli.talking.typed import Name, NotUnderstood, parse_typed
from sockserv.client.chat import Datagrams, Talk
from sockserv.client.chat import Session as ChatSession
from sockserv.client.chat.waiting import Waiting
from sockserv.errors import ConnectionEnded, SockservError

if TYPE_CHECKING:
    from sockserv.cli.session import Session
    from sockserv.cli.talking.screen import Screen

__all__ = ["Chatter"]

_NOTE_SECONDS: Final = 2.0
"""So often the server is told what has been read."""
_LEAVING_SECONDS: Final = 0.3
"""So long a terminal may take to be left in order: some take nothing any more."""


class Chatter:
    """Somebody who chats at a place, at first.

    `typed` is called with what is typed, and with None when somebody wants to leave.

    `make_screen` makes the screen, given that function; `wall` tells the time of day.
    """

    def __init__(
        self,
        session: Session,
        make_screen: Callable[[Callable[[str | None], None]], Screen],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._screen = make_screen(self.typed)
        self._state = State()
        self._route = Route(session.clock, lambda text: self._screen.show([said_line(text)]))
        self._chat = ChatSession(datagrams=Datagrams(session.clock), on_way=self._route.change)
        self._connections = Connections(session)
        self._doing = Doing(
            session.clock, self._chat, self._connections, self._screen, self._state, wall=wall
        )
        self._typed: Waiting[str] = Waiting()
        self._wants_to_leave = False
        self._left: Deferred[None] = Deferred()
        self._stopped = ""
        """The files that were on the way when somebody left, in words."""

    def typed(self, text: str | None) -> None:
        """Somebody has entered a text, or wants to leave."""
        if text is None and self._wants_to_leave:
            # It takes too long for them.
            if not self._left.called:
                self._stopped = self._doing.stop()
                self._left.callback(None)
        elif text is None:
            self._wants_to_leave = True
            self._typed.close()
        else:
            self._typed.put(text)

    async def run(self, place: str) -> None:
        """Chat until somebody leaves.

        Raises what no other try to connect would change, and what refuses the place at first.

        Cancelling it leaves at once. Raises `ConnectionEnded` when it is not known whether what was said last is
        stored, or when a file was stopped.
        """
        await self._connections.open()
        connections = self._connections
        talk = Talk(self._session.clock, self._chat, connections.next, on_lost=self._on_lost)
        events = self._chat.watch()
        entered = self._chat.enter(place)
        running = talk.run()
        try:
            first = await anext(events, None)
            await entered
            if first is None:
                # There is no chat, and what keeps it going tells why.
                await running
            else:
                await self._run(running, events, first, place)
        finally:
            running.addErrback(lambda failure: None)
            running.cancel()
            self._route.stop()
            connections.close()

    async def _run(
        self, running: Deferred[None], events: Waiting[Event], first: Event, place: str
    ) -> None:
        screen = self._screen
        screen.start()
        try:
            self._take(first)
            tasks = (self._obey(place), self._listen(events), self._note())
            begun = map(Deferred.fromCoroutine, tasks)
            await first_of(self._session.clock, running, screen.ended(), self._left, *begun)
        finally:
            await self._leave_the_terminal()
            self._doing.stop()
        if self._stopped:
            raise ConnectionEnded(f"stopped: {self._stopped}; the same /send goes on from there")

    async def _leave_the_terminal(self) -> None:
        free = self._screen.ended()
        self._screen.close()
        free.addTimeout(_LEAVING_SECONDS, self._session.clock)
        # One that has failed has told that already.
        with suppress(Exception):
            await free

    # What comes

    async def _listen(self, events: Waiting[Event]) -> None:
        async for event in events:
            self._take(event)
            self._screen.update(self._state.view)
            if isinstance(event, Joined):
                self._doing.rejoin()
            await self._screen.room()
        # The session has ended, and its own task tells why.
        await Deferred()

    def _take(self, event: Event) -> None:
        if isinstance(event, Joined):
            self._route.begin(
                has_datagrams=event.datagrams is not None,
                goes_by_them=self._chat.goes_by_datagrams,
            )
        self._screen.show(self._state.take(event))

    def _on_lost(self, why: Exception, seconds: float) -> None:
        self._connections.lose()
        self._route.stop()
        self._screen.show(self._state.lost(str(why)))
        self._screen.update(self._state.view)

    async def _note(self) -> None:
        """Tell the server from time to time what has been read."""
        while True:
            await deferLater(self._session.clock, _NOTE_SECONDS)
            await self._doing.note_read()

    # What is typed

    async def _obey(self, place: str) -> None:
        await self._doing.begin(place)
        async for text in self._typed:
            asked = None
            try:
                asked = parse_typed(text)
                if asked is not None:
                    await self._doing.do(asked)
            except (NotUnderstood, SockservError) as error:
                self._screen.show([said_line(str(error), kind=Kind.ERROR)])
            self._screen.update(self._state.view)
            if asked is not None and asked.name is Name.QUIT:
                break
        await self._doing.finish()
