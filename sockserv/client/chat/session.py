"""What a device says and hears, by one connection after the other.

Invariants:

1. What was said goes to the server again after each new connection until it has said that it is stored. It has a number
   by then, by which the server knows it again.
2. A message is given to the program once, in the order of the ids.
3. A message is acknowledged when it waits for a reader here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, fail

from sockserv.chat.arguments import check_text
from sockserv.chat.errors import ChatError
from sockserv.chat.lines import (
    Accepted,
    Command,
    Delivered,
    Enter,
    Entered,
    Event,
    Joined,
    Leave,
    Left,
    MessageEvent,
    PresenceEvent,
    Received,
    Refused,
    Say,
    Slowed,
    Undelivered,
    encode_line,
)
from sockserv.chat.names import parse_place
from sockserv.client.chat.acknowledging import Acknowledging
from sockserv.client.chat.lines import CallLines, Lines, TwoWayLines, event_of
from sockserv.client.chat.places import MailNotTaken, RoomSession
from sockserv.client.chat.sent import SentMessage, shared
from sockserv.client.chat.waiting import Waiting
from sockserv.errors import ConnectionEnded, error_from_wire

if TYPE_CHECKING:
    from sockserv.client.chat.datagrams import Datagrams
    from sockserv.client.client import Client

__all__ = ["Session"]

_DEVICE_BYTES: Final = 8


class Session:
    """A device of ours at a hub, whatever connection it has.

    `device` is what it is called; one that is to go on after a restart of the program needs the same name, `after` the
    id of the last message that it has, and `next_number` no number that it has used. `events` are all the events that
    come, messages included, for who wants them: `watch()` begins that. With `takes_mail` what is said to us counts as
    delivered when it is here, whether or not anybody reads it; without, it stays mail for another device.

    With `datagrams` it goes over UDP where the hub offers that and it gets through, else over the connection, with the
    same guarantees; `on_way` is told whenever that changes: whether it goes by datagrams now, and why.
    """

    def __init__(
        self,
        *,
        device: str | None = None,
        after: int | None = None,
        takes_mail: bool = True,
        datagrams: Datagrams | None = None,
        on_way: Callable[[bool, str], None] = lambda by_datagrams, why: None,
    ) -> None:
        self.device = device or secrets.token_urlsafe(_DEVICE_BYTES).lstrip("-_") or "device"
        self.takes_mail = takes_mail
        self.identity: str | None = None
        self._first_id = after
        """What was said up to here in rooms was before our time; mail may be older."""
        self._given = after or 0
        """The last message that the program has."""
        self.rooms: dict[str, RoomSession] = {}
        self._places: dict[str, RoomSession] = {}
        self._sent: dict[int, SentMessage] = {}
        self._known: dict[int, SentMessage] = {}
        self._entering: dict[str, list[Deferred[RoomSession]]] = {}
        self._next_number: int | None = None
        self._unnumbered: list[SentMessage] = []
        self._events: Waiting[Event] | None = None
        self._datagrams = datagrams
        self._on_way = on_way
        self._lines: Lines | None = None
        self._acknowledging: Acknowledging | None = None
        self._is_joined = False
        self._failure: Exception | None = None
        self.was_joined = False
        """Whether the last connection came as far as that."""
        self._joined: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<chat of the device {self.device}>"

    @property
    def last_id(self) -> int | None:
        """After which message the next connection has to go on; None when everything is still to begin."""
        if self._first_id is None or 0 < self._given < self._first_id:
            # In the second case the last connection has ended in the middle of the mail.
            return self._given or None
        return max(self._first_id, self._given)

    @property
    def is_joined(self) -> bool:
        """Whether there is a connection now."""
        return self._is_joined

    @property
    def goes_by_datagrams(self) -> bool:
        """Whether what is said now goes over UDP, unless it is too long for that."""
        return isinstance(self._lines, TwoWayLines) and self._lines.goes_by_datagrams

    def watch(self) -> Waiting[Event]:
        """All events from now on, as an asynchronous iterator; the same one each time."""
        if self._events is None:
            self._events = Waiting()
        return self._events

    # What the program does

    def say(self, to: str, text: str) -> Deferred[SentMessage]:
        """Say something at a place; see `RoomSession.say`."""
        if self._failure is not None:
            return fail(self._failure)
        try:
            # What the hub could not even read would end the session.
            parse_place(to)
            check_text(text)
        except ChatError as error:
            return fail(error)
        message = SentMessage(0, to, text)
        if self._next_number is None:
            # The hub tells at the first joining which number comes next.
            self._unnumbered.append(message)
        else:
            self._number(message)
            self._send(Say(message.number, to, text))
        return shared(message.stored)

    def enter(self, room: str) -> Deferred[RoomSession]:
        """Enter a room, or begin to talk to a member (`@alice`); fires when that is done.

        Fails with the `ChatError` that refuses it, and with `MailNotTaken`.
        """
        if self._failure is not None:
            return fail(self._failure)
        done: Deferred[RoomSession] = Deferred(lambda one: None)
        place = parse_place(room)
        name = str(place)
        if place.is_member and not self.takes_mail:
            return fail(MailNotTaken(name))
        if place.is_member or name in self.rooms:
            done.callback(self.place(name))
            return done
        self._entering.setdefault(name, []).append(done)
        if self._is_joined:
            self._send(Enter(name))
        return done

    def leave(self, room: str) -> None:
        """Leave a room."""
        name = str(parse_place(room))
        if self.rooms.pop(name, None) is not None:
            self._send(Leave(name))

    def place(self, name: str) -> RoomSession:
        """A place, whether or not we are in it."""
        found = self._places.get(name)
        if found is None:
            found = self._places[name] = RoomSession(self, name)
        return found

    def joined(self) -> Deferred[None]:
        """Fires when there is a connection."""
        done: Deferred[None] = Deferred(lambda one: None)
        if self._is_joined:
            done.callback(None)
        else:
            self._joined.append(done)
        return done

    def close(self, failure: Exception | None = None) -> None:
        """Nothing more will come: iterators end, and what waits fails with `failure`."""
        failure = self._failure = failure or ConnectionEnded("the chat was closed")
        for place in self._places.values():
            place.close()
        if self._events is not None:
            self._events.close()
        entering, self._entering = self._entering, {}
        for waiting in entering.values():
            _fail_all(waiting, failure)
        unsent, self._unnumbered = self._unnumbered, []
        sent, self._sent = self._sent, {}
        for message in (*unsent, *sent.values()):
            if not message.stored.called:
                message.stored.errback(failure)
                message.stored.addErrback(lambda _: None)  # those who wait have their own

    # One connection

    async def run(self, client: Client) -> None:
        """Go by this connection until the session ends. Raises what it has ended with."""
        rooms = list(dict.fromkeys([*self.rooms, *self._entering]))
        arguments = {"device": self.device, "rooms": rooms, "after": self.last_id}
        if self._datagrams is not None:
            arguments["datagrams"] = True
        if not self.takes_mail:
            arguments["mail"] = False
        call = await client.open("chat.join", arguments)
        over_call = CallLines(call)
        self._lines = over_call
        self._acknowledging = Acknowledging(client.clock, self._acknowledge)
        self.was_joined = False
        try:
            await self._start(client, over_call)
            await self._read()
            await call.result()
        finally:
            self._acknowledging.stop()
            self._is_joined = False
            lines, self._lines = self._lines, None
            lines.close()
            call.cancel()

    async def _start(self, client: Client, lines: CallLines) -> None:
        """Take the first event, and use the datagrams that it offers."""
        line = await lines.receive()
        if line is None:
            return
        event = event_of(line)
        if isinstance(event, Joined) and event.datagrams is not None and self._datagrams:
            opened = partial(self._datagrams.open, event.datagrams, client.server_host)
            self._lines = TwoWayLines(client.clock, lines, opened, on_way=self._on_way)
        await self._take(event)

    async def _read(self) -> None:
        lines = self._lines
        assert lines is not None, "there is a connection"
        while (line := await lines.receive()) is not None:
            await self._take(event_of(line))

    def _send(self, command: Command) -> None:
        """Send a command, if there is a connection: what counts is said again after the next joining."""
        if self._is_joined and self._lines is not None:
            self._lines.send(encode_line(command))

    def _acknowledge(self, number: int) -> None:
        self._send(Received(number))

    def _have(self, number: int) -> None:
        """The program has all messages up to this id, or they wait for it here."""
        if self._acknowledging is not None:
            self._acknowledging.add(number)

    def _expect_to_wait(self) -> None:
        """Nothing more may be taken for a while: acknowledge what was."""
        if self._acknowledging is not None:
            self._acknowledging.now()

    async def _take(self, event: Event) -> None:
        match event:
            case Joined():
                self._take_joined(event)
            case MessageEvent():
                await self._take_message(event)
                return
            case Accepted():
                self._take_accepted(event)
            case Refused():
                self._take_refused(event)
            case Delivered():
                self._take_delivery(event.id, dict.fromkeys(event.to))
            case Undelivered():
                self._take_delivery(event.id, dict.fromkeys(event.to, event.why))
            case Entered():
                self._take_entered(event)
            case Left():
                self.place(event.room).members.discard(event.name)
            case PresenceEvent() | Slowed():
                pass
        await self._pass_on(event)

    async def _pass_on(self, event: Event) -> None:
        if self._events is not None:
            self._events.put(event)
            if not self._events.has_room:
                self._expect_to_wait()
            await self._events.room()

    def _take_joined(self, joined: Joined) -> None:
        self._is_joined = self.was_joined = True
        self.identity = joined.identity
        if self._first_id is None or joined.last_id < max(self._first_id, self._given):
            # From here on nothing may be missed. In the second case the hub has forgotten what it had, and counts anew.
            self._first_id, self._given = joined.last_id, 0
        for room in joined.rooms:
            self._have_entered(room.name).members = set(room.members)
        # These were asked for since.
        for name in self._entering:
            self._send(Enter(name))
        self._next_number = max(self._next_number or 1, joined.next_number)
        for message in self._sent.values():
            self._send(Say(message.number, message.to, message.text))
        unnumbered, self._unnumbered = self._unnumbered, []
        for message in unnumbered:
            self._number(message)
            self._send(Say(message.number, message.to, message.text))
        waiting, self._joined = self._joined, []
        for one in waiting:
            if not one.called:
                one.callback(None)

    async def _take_message(self, event: MessageEvent) -> None:
        message = event.message
        first = 0 if message.to.startswith("@") else self._first_id or 0
        if message.id <= max(first, self._given):
            self._have(message.id)
            return
        self._given = message.id
        # What somebody says to us is said at the place that they are.
        place = self._places.get(message.to)
        if place is not None:
            if not place.has_room:
                self._expect_to_wait()
            await place.hear(message)
        await self._pass_on(event)
        self._have(message.id)

    def _take_accepted(self, event: Accepted) -> None:
        message = self._sent.pop(event.number, None)
        if message is None:
            return
        message.id = event.id
        self._known[event.id] = message
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        message.stored.callback(message)

    def _take_refused(self, event: Refused) -> None:
        error = error_from_wire(event.code, event.message, event.details)
        if event.number is not None:
            message = self._sent.pop(event.number, None)
            if message is not None:
                message.stored.errback(error)
                message.stored.addErrback(lambda _: None)  # those who wait have their own
        if event.room is not None:
            _fail_all(self._entering.pop(event.room, []), error)

    def _take_delivery(self, number: int, members: dict[str, str | None]) -> None:
        message = self._known.get(number)
        if message is None:
            return
        for name, why in members.items():
            if why is None:
                message.delivered_to.add(name)
            else:
                message.undelivered[name] = why
        message.change()

    def _take_entered(self, event: Entered) -> None:
        if event.name == self.identity:
            self._have_entered(event.room)
        self.place(event.room).members |= {event.name, *event.members}

    def _have_entered(self, name: str) -> RoomSession:
        room = self.rooms[name] = self.place(name)
        for waiting in self._entering.pop(name, []):
            if not waiting.called:
                waiting.callback(room)
        return room

    def _number(self, message: SentMessage) -> None:
        assert self._next_number is not None
        message.number = self._next_number
        self._next_number += 1
        self._sent[message.number] = message


_MOST_KNOWN: Final = 4096
"""Of so many of its messages a device hears what becomes of them."""


def _fail_all(waiting: list[Deferred[RoomSession]], error: Exception) -> None:
    for one in waiting:
        if not one.called:
            one.errback(error)
