"""The chat service: what can be asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from sockserv.chat.arguments import (
    AwayArguments,
    HistoryArguments,
    JoinArguments,
    ReadArguments,
    SearchArguments,
    SendArguments,
    WhoArguments,
)
from sockserv.chat.errors import TooFast
from sockserv.chat.facts import Message, Presence, PresenceState, Room, Sent
from sockserv.chat.names import conversation_of, parse_place, room_key
from sockserv.errors import InternalError
from sockserv.services.api import Audit, Call, NoArguments, Service, operation
from sockserv.services.chat.carrier import CallCarrier
from sockserv.services.chat.device import Device
from sockserv.services.chat.hub import Hub, message_for
from sockserv.services.chat.limits import ChatLimits
from sockserv.services.chat.members import may_enter
from sockserv.services.chat.store import ChatStore, StoredMessage
from sockserv.services.files.steps import InThread
from sockserv.trust.identities import Identity

__all__ = ["Chat"]

_encode_lines: Final = msgspec.json.Encoder().encode_lines

_TRIM_SECONDS: Final = 600.0
_EXPIRED: Final = "it was not fetched for as long as messages are kept"


class Chat(Service):
    """Rooms, direct messages, and who is there. Making one touches nothing; call `start` before it is asked anything, and `stop`.

    `path` is the file of the messages; None keeps them in memory. `in_thread` and `in_reading_thread` each are one thread: what is
    looked for in the whole history keeps nobody's messages waiting. `knows` says whether somebody of a name may chat.
    """

    def __init__(
        self,
        clock: IReactorTime,
        path: Path | None,
        *,
        in_thread: InThread,
        in_reading_thread: InThread | None = None,
        limits: ChatLimits | None = None,
        knows: Callable[[str], bool] = lambda name: True,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._path = path
        self._in_thread = in_thread
        # A store in memory is one, and has one thread.
        self._in_reading_thread = (in_reading_thread if path else None) or in_thread
        self._limits = limits or ChatLimits()
        self._knows = knows
        self._wall = wall
        self._store: ChatStore
        self._reading: ChatStore
        self._hub: Hub
        self._trimming: Deferred[None] | None = None

    async def start(self) -> None:
        """Open the messages. Raises `StoreError`."""
        self._store = await self._in_thread(ChatStore, self._path)
        self._reading = (
            self._store
            if self._path is None
            else await self._in_reading_thread(ChatStore, self._path)
        )
        self._hub = Hub(
            self._clock,
            self._store,
            self._in_thread,
            wall=self._wall,
            limits=self._limits,
            knows=self._knows,
        )
        await self._hub.open()
        self._trimming = Deferred.fromCoroutine(self._keep_trimming())
        self._trimming.addErrback(lambda _: None)  # `stop` cancels it

    async def stop(self) -> None:
        """Write what is to be written, and close the messages. No call may be under way."""
        if self._trimming is not None:
            self._trimming.cancel()
        self._hub.stop()
        await self._hub.storing.idle()
        if self._reading is not self._store:
            await self._in_reading_thread(self._reading.close)
        await self._in_thread(self._store.close)

    # A session

    @operation("chat.join", args=JoinArguments, permission="chat", audit=Audit.READS)
    async def join(self, call: Call[JoinArguments]) -> None:
        """Be there, until either side ends it: events are the lines of the answer, commands those of the request."""
        args = call.args
        carrier = CallCarrier(call)
        device = Device(call.identity, args.device, carrier, self._limits, cursor=0)
        await self._hub.join(device, args.rooms, after=args.after)
        try:
            await _first_of(
                self._hub.serve(device),
                self._hub.feed(device),
                carrier.run(),
                _wait_for_end(device, call.clock),
            )
        finally:
            self._hub.leave(device)

    # Without one

    @operation("chat.send", args=SendArguments, permission="chat", audit=Audit.READS)
    async def send(self, call: Call[SendArguments]) -> Sent:
        """Say one thing; a device may say the same again, and it is said once."""
        args = call.args
        place = parse_place(args.to)
        identity = call.identity
        self._hub.check(identity, place, args.text)
        seconds = self._hub.members.seconds_too_early(identity.name, self._clock.seconds())
        if seconds:
            raise TooFast(f"wait {seconds:.1f} seconds", details={"seconds": seconds})
        message = self._hub.message(identity.name, args.device, args.number, place, args.text)
        stored: Deferred[int | None] = Deferred()
        self._hub.storing.add(message, stored.callback)
        number = await stored
        if number is None:
            raise InternalError("the message could not be stored; the server's log says why")
        self._hub.give_out(message, number)
        return Sent(id=number)

    @operation("chat.rooms", permission="chat", audit=Audit.NEVER)
    async def rooms(self, call: Call[NoArguments]) -> None:
        """The rooms that the identity may enter, and in which somebody is, or something was said: a line of JSON each."""
        said = await self._in_reading_thread(self._reading.rooms)
        members = self._hub.members
        keys = {name.removeprefix("#") for name in said} | set(members.rooms())
        mine = sorted(key for key in keys if may_enter(call.identity, key))
        unread = await self._in_reading_thread(self._unread, call.identity.name, mine)
        await _send_lines(
            call,
            [
                Room(
                    name=key,
                    members=members.names_in(key),
                    last_id=said.get(f"#{key}", 0),
                    unread=unread[key],
                )
                for key in mine
            ],
        )

    def _unread(self, name: str, rooms: list[str]) -> dict[str, int]:
        return {room: self._reading.unread(name, f"#{room}") for room in rooms}

    @operation("chat.who", args=WhoArguments, permission="chat", audit=Audit.NEVER)
    async def who(self, call: Call[WhoArguments]) -> None:
        """Who is in a room; or everybody who is there, and who was: a line of JSON each."""
        members = self._hub.members
        if call.args.room is not None:
            room = room_key(call.args.room)
            members.check_room(call.identity, room)
            present = [members.get(name) for name in members.names_in(room)]
            await _send_lines(call, [member.presence for member in present if member is not None])
            return
        seen = await self._in_reading_thread(self._reading.seen)
        found = {
            name: Presence(name=name, state=PresenceState.GONE, since=at)
            for name, at in seen.items()
            if self._knows(name)
        }
        found |= {member.name: member.presence for member in members if member.devices}
        await _send_lines(call, [found[name] for name in sorted(found)])

    @operation("chat.history", args=HistoryArguments, permission="chat", audit=Audit.NEVER)
    async def history(self, call: Call[HistoryArguments]) -> None:
        """Messages of a place: a line of JSON each."""
        args = call.args
        conversation = self._conversation(call.identity, args.to)
        look = partial(
            self._reading.history,
            conversation,
            count=args.count,
            before=args.before,
            after=args.after,
        )
        await _send_messages(call, await self._in_reading_thread(look))

    @operation("chat.search", args=SearchArguments, permission="chat", audit=Audit.NEVER)
    async def search(self, call: Call[SearchArguments]) -> None:
        """Messages with all of some words: a line of JSON each."""
        found = await self._in_reading_thread(self._search, call.identity, call.args)
        await _send_messages(call, found)

    def _search(self, identity: Identity, args: SearchArguments) -> list[StoredMessage]:
        look = partial(self._reading.search, args.text, count=args.count)
        if args.to is None:
            rooms = [name for name in self._reading.rooms() if may_enter(identity, name[1:])]
            return look(identity.name, rooms)
        conversation = self._conversation(identity, args.to)
        return look("", [conversation])

    @operation("chat.read", args=ReadArguments, permission="chat", audit=Audit.NEVER)
    async def read(self, call: Call[ReadArguments]) -> None:
        """Note what has been read."""
        conversation = self._conversation(call.identity, call.args.to)
        await self._in_thread(self._store.mark_read, call.identity.name, conversation, call.args.id)

    @operation("chat.away", args=AwayArguments, permission="chat", audit=Audit.NEVER)
    def away(self, call: Call[AwayArguments]) -> None:
        """Be away, or back."""
        self._hub.set_away(call.identity.name, call.args.text)

    def _conversation(self, identity: Identity, to: str) -> str:
        place = parse_place(to)
        if not place.is_member:
            self._hub.members.check_room(identity, place.name)
        return conversation_of(place, identity.name)

    # Looking after the store

    async def _keep_trimming(self) -> None:
        while True:
            await self._trim()
            await deferLater(self._clock, _TRIM_SECONDS)

    async def _trim(self) -> None:
        """Remove what is kept no longer, some of it at a time, so that nobody waits for all of it."""
        limits = self._limits
        trim = partial(self._store.trim, keep=limits.history_count)
        while True:
            before = self._wall() - limits.history_seconds
            removed, missed = await self._in_thread(partial(trim, before=before))
            for message, members in missed:
                self._hub.tell_undelivered(message, members, _EXPIRED)
            if not removed:
                return


async def _wait_for_end(device: Device, clock: IReactorTime) -> None:
    try:
        await device.ended
    finally:
        # What ends the session may be what it is doing at this moment.
        await deferLater(clock, 0)


async def _first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until the first has ended, then cancel the others. Raises what that one has raised."""
    running = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    try:
        await DeferredList(
            running, fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True
        )
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        for one in running:
            one.cancel()


async def _send_lines(call: Call[Any], facts: list[Any]) -> None:
    if facts:
        await call.send(_encode_lines(facts))


async def _send_messages(call: Call[Any], messages: list[StoredMessage]) -> None:
    facts: list[Message] = [message_for(message, call.identity.name) for message in messages]
    await _send_lines(call, facts)
