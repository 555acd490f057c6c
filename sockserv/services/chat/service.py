"""The chat service: what can be asked for."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sockserv.chat.arguments import (
    MAX_TEXT_BYTES,
    AwayArguments,
    HistoryArguments,
    JoinArguments,
    ReadArguments,
    SearchArguments,
    SendArguments,
    WhoArguments,
)
from sockserv.chat.errors import TextTooLong, TooFast
from sockserv.chat.facts import DatagramSession, Presence, PresenceState, Room, Sent
from sockserv.chat.names import conversation_of, parse_place, room_key
from sockserv.errors import BodyTooLarge, InternalError, NoRoom, Unavailable
from sockserv.limits import ChatLimits
from sockserv.services.api import Audit, Call, NoArguments, Service, operation
from sockserv.services.chat.carrier import CallCarrier, Carrier
from sockserv.services.chat.device import Device
from sockserv.services.chat.members import check_room, may_enter
from sockserv.services.chat.messages import StoredMessage, message_for
from sockserv.services.chat.opening import Opening
from sockserv.services.chat.two_ways import Datagrams, TwoWayCarrier
from sockserv.services.threads import InThread
from sockserv.trust.identities import Identity

if TYPE_CHECKING:
    from sockserv.services.chat.hub import Hub
    from sockserv.services.chat.store import ChatStore

__all__ = ["Chat"]

_AT_ONCE_BYTES: Final = 256 * 1024
"""So much text of messages is looked up, and sent, at a time."""

_encode_lines: Final = msgspec.json.Encoder().encode_lines


class Chat(Service):
    """Rooms, direct messages, and who is there.

    Making one touches nothing: the messages are opened when it is asked something.

    `path` is the file of the messages; None keeps them in memory. `in_thread` and `in_reading_thread` each are one
    thread: what is looked for in the whole history keeps nobody's messages waiting. `knows` says whether somebody of a
    name may chat. `datagrams` opens sessions over UDP for devices that would like that; None: all go over the
    connection.
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
        datagrams: Datagrams | None = None,
    ) -> None:
        self._clock = clock
        self._datagrams = datagrams
        self._in_thread = in_thread
        self._in_reading_thread = (in_reading_thread if path else None) or in_thread
        self._limits = limits or ChatLimits()
        self._searching: set[str] = set()
        self._knows = knows
        self._opening = Opening(
            clock,
            path,
            in_thread=in_thread,
            in_reading_thread=self._in_reading_thread,
            limits=self._limits,
            knows=knows,
            wall=wall,
        )

    def end_sessions(self) -> None:
        """The server is about to stop, and need not wait for those who are there: they go on with another one, and say
        again what they do not know to be stored.
        """
        opened = self._opening.now
        if opened is not None:
            for member in opened.hub.members:
                for device in tuple(member.devices.values()):
                    device.end(Unavailable("the server is stopping"))

    def stop(self) -> Deferred[None]:
        """Write what is to be written, and close the messages; fires when that is done. No call may be under way."""
        return Deferred.fromCoroutine(self._opening.close())

    # A session

    @operation("chat.join", args=JoinArguments, permission="chat", audit=Audit.READS)
    def join(self, call: Call[JoinArguments]) -> Deferred[None]:
        """Be there, until either side ends it: events are the lines of the answer, commands those of the request."""
        # What lasts is no coroutine: of thousands who are idle it is those that take the memory.
        return Deferred.fromCoroutine(self._begin(call)).addCallback(_until_the_end)

    async def _begin(self, call: Call[JoinArguments]) -> Device:
        args = call.args
        hub = (await self._opening.get()).hub
        carrier, offered = self._carrier_for(call)
        device = Device(
            call.clock,
            hub,
            call.identity,
            args.device,
            carrier,
            self._limits,
            takes_mail=args.mail,
        )
        try:
            await hub.join(device, args.rooms, after=args.after, datagrams=offered)
        except BaseException:
            hub.leave(device)
            raise
        device.start()
        return device

    def _carrier_for(self, call: Call[JoinArguments]) -> tuple[Carrier, DatagramSession | None]:
        """What carries a session, and the datagrams that it may go by, if it is to."""
        if call.args.datagrams and self._datagrams is not None:
            carrier = TwoWayCarrier(call)
            with suppress(NoRoom):
                return carrier, carrier.open(self._datagrams)
        return CallCarrier(call), None

    # Without one

    @operation("chat.send", args=SendArguments, permission="chat", audit=Audit.READS)
    async def send(self, call: Call[SendArguments]) -> Sent:
        """Say one thing; a device may say the same again, and it is said once."""
        args = call.args
        place = parse_place(args.to)
        identity = call.identity
        text = await _body_of(call) if args.text is None else args.text
        hub = (await self._opening.get()).hub
        hub.check(identity, place, text)
        self._check_pace(hub, identity)
        message = hub.message(identity.name, args.device, args.number, place, text)
        stored: Deferred[int | None] = Deferred()

        def give_out(number: int | None) -> None:
            # Also when the caller has gone: what is stored is given out, or those who are there would never see it.
            if number is not None:
                hub.give_out(message, number)
            stored.callback(number)

        hub.storing.add(message, give_out)
        number = await stored
        if number is None:
            raise InternalError("the message could not be stored; the server's log says why")
        return Sent(id=number)

    @operation("chat.rooms", permission="chat", audit=Audit.NEVER)
    async def rooms(self, call: Call[NoArguments]) -> None:
        """The rooms that the identity may enter, and in which somebody is, or something was said: a
        line of JSON each.
        """
        opened = await self._opening.get()
        said = await self._in_reading_thread(opened.reading.rooms)
        members = opened.hub.members
        keys = {name.removeprefix("#") for name in said} | set(members.rooms())
        mine = sorted(key for key in keys if may_enter(call.identity, key))
        unread = await self._in_reading_thread(_unread, opened.reading, call.identity.name, mine)
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

    @operation("chat.who", args=WhoArguments, permission="chat", audit=Audit.NEVER)
    async def who(self, call: Call[WhoArguments]) -> None:
        """Who is in a room; or everybody who is there, and who was: a line of JSON each."""
        opened = await self._opening.get()
        members = opened.hub.members
        if call.args.room is not None:
            room = room_key(call.args.room)
            check_room(call.identity, room)
            present = [members.get(name) for name in members.names_in(room)]
            await _send_lines(call, [member.presence for member in present if member is not None])
            return
        seen = await self._in_reading_thread(opened.reading.seen)
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
        reading = (await self._opening.get()).reading
        look = partial(
            reading.history,
            _conversation(call.identity, args.to),
            count=args.count,
            before=args.before,
            after=args.after,
        )
        await self._send_messages(call, reading, await self._in_reading_thread(look))

    @operation("chat.search", args=SearchArguments, permission="chat", audit=Audit.NEVER)
    async def search(self, call: Call[SearchArguments]) -> None:
        """Messages with all of some words: a line of JSON each. Raises `TooFast` for who searches already."""
        reading = (await self._opening.get()).reading
        name = call.identity.name
        # It may take a second, and others who look back wait for it.
        if name in self._searching:
            raise TooFast("you are searching already: wait for that", details={"seconds": 1.0})
        self._searching.add(name)

        def look() -> list[int]:
            try:
                return _search(reading, call.identity, call.args)
            finally:
                # Here: who gives up a search does not end it.
                self._searching.discard(name)

        await self._send_messages(call, reading, await self._in_reading_thread(look))

    @operation("chat.read", args=ReadArguments, permission="chat", audit=Audit.NEVER)
    async def read(self, call: Call[ReadArguments]) -> None:
        """Note what has been read."""
        conversation = _conversation(call.identity, call.args.to)
        store = (await self._opening.get()).store
        await self._in_thread(store.mark_read, call.identity.name, conversation, call.args.id)

    @operation("chat.away", args=AwayArguments, permission="chat", audit=Audit.NEVER)
    def away(self, call: Call[AwayArguments]) -> None:
        """Be away, or back, which counts as a message; nothing happens to somebody who has not joined."""
        opened = self._opening.now
        if opened is not None:
            self._check_pace(opened.hub, call.identity)
            opened.hub.set_away(call.identity.name, call.args.text)

    async def _send_messages(self, call: Call[Any], reading: ChatStore, ids: list[int]) -> None:
        """Send messages, a few at a time: somebody may ask for many large ones, and take none of them."""
        left = ids
        while left:
            look = partial(reading.messages, left, max_bytes=_AT_ONCE_BYTES)
            found: list[StoredMessage] = await self._in_reading_thread(look)
            if not found:
                return
            await _send_lines(call, [message_for(message, call.identity.name) for message in found])
            left = left[bisect_right(left, found[-1].id) :]

    def _check_pace(self, hub: Hub, identity: Identity) -> None:
        """Raises `TooFast`. What is refused does not count: who asks too often is not kept out by that."""
        seconds = hub.members.seconds_until_next(identity.name, self._clock.seconds())
        if seconds:
            raise TooFast(f"wait {seconds:.1f} seconds", details={"seconds": seconds})


def _until_the_end(device: Device) -> Deferred[None]:
    return device.ended.addBoth(_end, device)


def _end(why: Exception | Failure | None, device: Device) -> Deferred[None]:
    return Deferred.fromCoroutine(_leave(why, device))


async def _leave(why: Exception | Failure | None, device: Device) -> None:
    try:
        if isinstance(why, Failure):
            why.raiseException()
        # What has ended the session may be what it is doing at this moment.
        await deferLater(device.clock, 0)
        if why is not None:
            raise why
    finally:
        device.leave()


async def _body_of(call: Call[Any]) -> str:
    """The text that is the body. Raises `TextTooLong`, and what the body raises."""
    try:
        return (await call.body.read(max_bytes=MAX_TEXT_BYTES)).decode()
    except BodyTooLarge:
        raise TextTooLong(f"a message has at most {MAX_TEXT_BYTES} bytes") from None
    except UnicodeDecodeError:
        raise TextTooLong("what is said has to be text in UTF-8") from None


def _conversation(identity: Identity, to: str) -> str:
    place = parse_place(to)
    if not place.is_member:
        check_room(identity, place.name)
    return conversation_of(place, identity.name)


def _search(store: ChatStore, identity: Identity, args: SearchArguments) -> list[int]:
    if args.to is not None:
        conversation = _conversation(identity, args.to)
        return store.search(args.text, "", [conversation], count=args.count)
    rooms = [name for name in store.rooms() if may_enter(identity, name[1:])]
    return store.search(args.text, identity.name, rooms, count=args.count)


def _unread(store: ChatStore, name: str, rooms: list[str]) -> dict[str, int]:
    return {room: store.unread(name, f"#{room}") for room in rooms}


async def _send_lines(call: Call[Any], facts: list[Any]) -> None:
    if facts:
        await call.send(_encode_lines(facts))
