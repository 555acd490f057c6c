"""What the commands of a chat do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from sockserv.chat.arguments import check_text
from sockserv.chat.facts import Message, Presence, PresenceState, Room
from sockserv.cli.talking.sending import Sending
from sockserv.cli.talking.showing import Line, clock_time, said_line
from sockserv.cli.talking.typed import HELP, Asked, Name, NotUnderstood
from sockserv.cli.talking.visible import visible_name
from sockserv.errors import ConnectionEnded, SockservError

if TYPE_CHECKING:
    from sockserv.cli.talking.connections import Connections
    from sockserv.cli.talking.screen import Screen
    from sockserv.cli.talking.state import State
    from sockserv.client.chat import Chat
    from sockserv.client.chat import Session as ChatSession

__all__ = ["Doing"]

_AT_FIRST: Final = 20
"""Messages of its history that a place shows when one comes there."""
_FOUND: Final = 20
_LISTED: Final = 60
_LAST_SECONDS: Final = 5.0
"""So long what was said last may take to be stored when somebody leaves."""


class Doing:
    """Does what is asked for. `wall` tells the time of day."""

    def __init__(
        self,
        clock: IReactorTime,
        chat: ChatSession,
        connections: Connections,
        screen: Screen,
        state: State,
        *,
        wall: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._chat = chat
        self._connections = connections
        self._screen = screen
        self._state = state
        self._wall = wall
        self._away: str | None = None
        self._unstored: set[Deferred[None]] = set()
        self._sending = Sending(
            clock,
            chat,
            connections,
            say=self._say,
            show=screen.show,
            on_progress=self._show_progress,
        )

    @property
    def _calls(self) -> Chat:
        return self._connections.now.chat

    async def begin(self, place: str) -> None:
        """Be at the first place, which was entered already, and look around."""
        with suppress(SockservError):
            people, rooms = await self._calls.who(), await self._calls.rooms()
            self._state.know_people(person.name for person in people)
            self._state.know_rooms(room.name for room in rooms)
        await self._go(place)

    async def do(self, asked: Asked) -> None:
        """Do one thing. Raises `NotUnderstood`, and the `SockservError` that it fails with."""
        match asked.name:
            case Name.SAY:
                self._say(self._here("say it"), asked.text)
            case Name.MSG:
                assert asked.place is not None
                self._say(asked.place, asked.text)
            case Name.SEND:
                self._send(asked.text, asked.place or self._here("send it to"))
            case Name.JOIN:
                assert asked.place is not None
                await self._join(asked.place)
            case Name.LEAVE:
                await self._leave(asked.place or self._here("leave"))
            case Name.WHO:
                await self._who(asked.place or self._here("look"))
            case Name.ROOMS:
                await self._rooms()
            case Name.HISTORY:
                await self._history(self._here("look back"), asked.count)
            case Name.SEARCH:
                await self._search(asked.text)
            case Name.AWAY:
                await self._be_away(asked.text or None)
            case Name.HELP:
                way = "UDP" if self._chat.goes_by_datagrams else "the connection"
                self._tell(*HELP.split("\n"), f"What is said goes over {way} now.")
            case Name.QUIT:
                pass

    def _here(self, what: str) -> str:
        if not self._state.here:
            raise NotUnderstood(f"there is no place to {what}: /join ROOM")
        return self._state.here

    def _tell(self, *texts: str) -> None:
        self._screen.show(said_line(text) for text in texts[:_LISTED])
        if len(texts) > _LISTED:
            self._screen.show([said_line(f"… and {len(texts) - _LISTED} more")])

    # Saying

    def _say(self, to: str, text: str) -> None:
        check_text(text)
        self._screen.show(self._state.said(to, text, at=self._wall()))
        done: Deferred[None] = Deferred()
        self._unstored.add(done)
        stored = self._chat.say(to, text)
        stored.addCallbacks(self._state.stored, self._refused, errbackArgs=(text,))
        stored.addBoth(self._settled, done)

    def _refused(self, failure: Failure, text: str) -> None:
        error = failure.trap(SockservError) and failure.value
        if isinstance(error, ConnectionEnded):
            # One has left, or the whole chat has ended, and what is not stored is told then.
            return
        self._screen.show(self._state.refused(text, str(error)))

    def _settled(self, _: object, done: Deferred[None]) -> None:
        self._unstored.discard(done)
        self._screen.update(self._state.view)
        done.callback(None)

    def _send(self, file: str, place: str) -> None:
        if not place.startswith("@"):
            raise NotUnderstood(f"a file goes to somebody, not to a room: /send {file} @NAME")
        self._sending.begin(file, place)

    def _show_progress(self) -> None:
        self._state.sending = self._sending.progress
        self._screen.update(self._state.view)

    # Going about

    async def _join(self, place: str) -> None:
        if not self._chat.is_joined:
            raise ConnectionEnded("there is no connection now: try that again later")
        await self._chat.enter(place)
        await self._go(place)

    async def _go(self, place: str) -> None:
        """Be at a place, and see what was missed there."""
        state = self._state
        is_new = state.go(place)
        self._screen.update(state.view)
        history: list[Message] = []
        try:
            if is_new:
                history = await self._calls.history(place, count=_AT_FIRST)
        finally:
            lines = state.arrive(history)
            self._tell(f"{place}, where one is now" if not is_new else self._about(place))
            self._screen.show(lines)
            self._screen.update(state.view)

    def _about(self, place: str) -> str:
        if place.startswith("@"):
            return f"you talk to {visible_name(place)}"
        return (
            f"you are in {place} as {visible_name(self._state.identity)}; /help says what there is"
        )

    async def _leave(self, place: str) -> None:
        if not place.startswith("@"):
            self._chat.leave(place)
        was_here = place == self._state.here
        self._state.leave(place)
        self._tell(f"you have left {visible_name(place)}")
        if was_here and self._state.here:
            await self._go(self._state.here)

    async def _be_away(self, why: str | None) -> None:
        self._away = why
        await self._calls.away(why)
        self._tell("you are away" if why else "you are back")

    def rejoin(self) -> None:
        """There is a new connection, whose server does not know that one is away."""
        if self._away is not None:
            with suppress(ConnectionEnded):
                self._calls.away(self._away).addErrback(lambda failure: None)

    # Looking

    async def _who(self, place: str) -> None:
        if place.startswith("@"):
            people = [one for one in await self._calls.who() if f"@{one.name}" == place]
        else:
            people = await self._calls.who(place)
        self._state.know_people(person.name for person in people)
        self._tell(*([self._presence(one) for one in people] or [f"nobody is in {place}"]))

    def _presence(self, presence: Presence) -> str:
        since = clock_time(presence.since, today=datetime.fromtimestamp(self._wall()))
        why = f": {visible_name(presence.text)}" if presence.text else ""
        state = "here" if presence.state is PresenceState.ONLINE else presence.state.value
        return f"{visible_name(presence.name)} is {state} since {since}{why}"

    async def _rooms(self) -> None:
        rooms = await self._calls.rooms()
        self._state.know_rooms(room.name for room in rooms)
        self._tell(*map(_room, rooms))

    async def _history(self, place: str, count: int) -> None:
        messages = await self._calls.history(place, count=count)
        self._tell(f"the last {len(messages)} at {place}:")
        self._screen.show(map(self._state.line_of, messages))
        self._tell("that was the history")

    async def _search(self, words: str) -> None:
        messages = await self._calls.search(words, count=_FOUND)
        self._tell(f"{len(messages)} found, the newest last:" if messages else "nothing found")
        self._screen.show(self._at_its_place(message) for message in messages)

    def _at_its_place(self, message: Message) -> Line:
        return attrs.evolve(self._state.line_of(message), to=message.to)

    # At the end, and from time to time

    async def note_read(self) -> None:
        """Tell the server what has been read since the last time."""
        if self._chat.is_joined:
            with suppress(SockservError):
                for place, number in self._state.to_note():
                    await self._calls.read(place, number)

    async def finish(self) -> None:
        """Wait until the files are there, and until what was said is stored, for a while.

        Raises `ConnectionEnded` when that is not.
        """
        await self._sending.finish()
        if self._unstored:
            waiting = DeferredList([*self._unstored]).addTimeout(_LAST_SECONDS, self._clock)
            waiting.addErrback(lambda failure: failure.trap(TimeoutError) and None)
            await waiting
        if self._state.waiting:
            raise ConnectionEnded(
                f"not known to be sent: {self._state.waiting} of your messages, the last ones"
            )
        await self.note_read()

    def stop(self) -> str:
        """Stop the files that are on the way; gives which these were, in words."""
        return self._sending.stop()


def _room(room: Room) -> str:
    there: Iterable[str] = map(visible_name, room.members[:5])
    more = f" and {len(room.members) - 5} more" if len(room.members) > 5 else ""
    crowd = f": {', '.join(there)}{more}" if room.members else ": nobody"
    return f"{room.name}{crowd}" + (f"; {room.unread} unread" if room.unread else "")
