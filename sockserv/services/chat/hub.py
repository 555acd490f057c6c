"""The hub: takes what is said, stores it, and gives it to everybody whom it is for.

Invariants:

1. A message is told to nobody, its sender included, before it is on the disk.
2. What is stored is given out in the order of its ids, once.
3. Nothing waits in memory for somebody who takes it slowly, or is away: it waits in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sockserv.chat.arguments import check_text
from sockserv.chat.errors import ChatError, MemberNotFound, NotInRoom
from sockserv.chat.facts import DatagramSession, Room
from sockserv.chat.lines import (
    Accepted,
    Command,
    Enter,
    Entered,
    Joined,
    Leave,
    Left,
    MessageEvent,
    PresenceEvent,
    Received,
    Refused,
    Say,
    Slowed,
    decode_command,
    encode_line,
)
from sockserv.chat.names import Place, conversation_of, parse_place, room_key
from sockserv.errors import CallError, InternalError, InvalidArgument
from sockserv.limits import ChatLimits
from sockserv.services.chat.deliveries import Deliveries
from sockserv.services.chat.device import Device, OnTheWay
from sockserv.services.chat.members import Members, check_room
from sockserv.services.chat.messages import NewMessage, StoredMessage, message_for
from sockserv.services.chat.store import ChatStore
from sockserv.services.chat.storing import Storing
from sockserv.services.threads import InThread
from sockserv.trust.identities import Identity

__all__ = ["Hub"]

_AT_ONCE: Final = 100
"""So many messages are fetched from the store at a time."""


class Hub:
    """Joins devices. `store` is used in `in_thread` alone, one call after the other; `wall` tells the time of day.

    `knows` says whether somebody of a name may chat.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: ChatStore,
        in_thread: InThread,
        *,
        wall: Callable[[], float],
        limits: ChatLimits,
        knows: Callable[[str], bool],
    ) -> None:
        self.members = Members(limits)
        self.limits = limits
        self.storing = Storing(clock, store, in_thread)
        self.deliveries = Deliveries(clock, self.members, store, in_thread)
        self._clock = clock
        self._store = store
        self._in_thread = in_thread
        self._wall = wall
        self._knows = knows
        self._given_out = 0
        """The newest id that was given out."""

    async def open(self) -> None:
        """Look up where the messages end. Raises `StoreError`."""
        self._given_out = await self._in_thread(self._store.last_id)

    # A session

    async def join(
        self,
        device: Device,
        rooms: Iterable[str],
        *,
        after: int | None,
        datagrams: DatagramSession | None = None,
    ) -> None:
        """Begin a session: the first event is sent, which offers `datagrams`. Raises `ChatError`, and `StoreError`."""
        name = device.identity.name
        keys = [*dict.fromkeys(map(room_key, rooms))]
        for key in keys:
            check_room(device.identity, key)
        # What the disk has to look up for it costs more than a message.
        await deferLater(self._clock, self.members.seconds_too_early(name, self._clock.seconds()))
        known = await self._in_thread(self._look_up, name, device.name, keys)
        next_number, received, newest, unread = known
        # Who has seen a later message has it from before all was forgotten here.
        start = newest if after is None else min(after, newest)
        # Below that there may be mail which it has not had: its last session may have ended before that came.
        device.cursor = min(received, start) if device.takes_mail else start
        new = self._be_there(device, keys, after=start, received=received)
        device.notify(
            Joined(
                name,
                next_number=next_number,
                last_id=newest,
                rooms=tuple(
                    Room(name=key, members=self.members.names_in(key), unread=unread[key])
                    for key in keys
                ),
                datagrams=datagrams,
            )
        )
        for key in new:
            self._tell(key, Entered(key, name), but=device)

    def _be_there(
        self, device: Device, rooms: Iterable[str], *, after: int, received: int
    ) -> list[str]:
        """Have a device be there, and in rooms; gives those in which its member is only now. Raises `ChatError`."""
        name = device.identity.name
        before = self.members.rooms_of(name, device.name)
        try:
            member = self.members.join(device, now=self._wall())
            member.received = max(member.received, received)
            new = [key for key in rooms if self.members.enter_room(device, key, after=after)]
        except ChatError:
            self.members.leave(device, now=self._wall())
            raise
        finally:
            # Of the device whose place this one takes nobody hears that it has left.
            for key in before:
                if name not in self.members.names_in(key):
                    self._tell(key, Left(key, name))
        return [key for key in new if key not in before]

    def _look_up(
        self, name: str, device: str, keys: Iterable[str]
    ) -> tuple[int, int, int, dict[str, int]]:
        store = self._store
        unread = {key: store.unread(name, f"#{key}") for key in keys}
        return store.last_number(name, device) + 1, store.received(name), store.last_id(), unread

    def leave(self, device: Device) -> None:
        """The session has ended."""
        now = self._wall()
        name = device.identity.name
        for room in self.members.leave(device, now=now):
            self._tell(room, Left(room, name))
        member = self.members.get(name)
        if member is not None and not member.devices:
            if self._knows(name):
                self.deliveries.note(self._store.mark_seen, name, now)
            else:
                # A guest's name is an address, of which there are any number.
                self.members.forget(name)
        device.stop()

    def serve(self, device: Device) -> None:
        """Do what a device has said by now, one command after the other, and end its session after its last word.

        No Deferred and no coroutine for each: most commands wait for nothing.
        """
        carrier = device.carrier
        try:
            while not device.is_held and (line := carrier.next_line()) is not None:
                self._take_command(device, _command_of(line))
        except Exception as error:
            device.end(error)
            return
        if carrier.is_complete and not device.is_held:
            device.end(None)

    def _take_command(self, device: Device, command: Command) -> None:
        if isinstance(command, Received):
            # What was not given out it cannot have.
            self.deliveries.take_received(device, command.id, newest=self._given_out)
            return
        try:
            if isinstance(command, Say):
                self._check_place(device, command)
            # Whatever others are told of costs them as much as a message.
            seconds = self.members.seconds_too_early(device.identity.name, self._clock.seconds())
            if seconds or device.unstored >= self.limits.max_unstored:
                device.is_held = True
                device.begin(partial(self._do_later, command=command, seconds=seconds))
            else:
                self._do(device, command)
        except CallError as error:
            _refuse(device, command, error)

    async def _do_later(self, device: Device, *, command: Command, seconds: float) -> None:
        """Do a command when it is its turn; all that the device says after it waits."""
        if seconds:
            device.notify(Slowed(round(seconds, 3)))
            await deferLater(self._clock, seconds)
        while device.unstored >= self.limits.max_unstored:
            await device.change()
        try:
            self._do(device, command)
        except CallError as error:
            _refuse(device, command, error)
        device.is_held = False
        self.serve(device)

    def _do(self, device: Device, command: Command) -> None:
        match command:
            case Say():
                self._say(device, command)
            case Enter():
                self._enter(device, room_key(command.room), after=self._given_out)
            case Leave():
                room = room_key(command.room)
                if self.members.leave_room(device, room):
                    self._tell(room, Left(room, device.identity.name))
                device.notify(Left(room, device.identity.name))

    async def feed(self, device: Device) -> None:
        """Give a device that is behind from the store what it has not had, as far as it has room.

        Raises `StoreError`.
        """
        while device.is_behind and device.has_plenty_of_room:
            given_out = self._given_out
            count = min(_AT_ONCE, device.room)
            conversations = [f"#{room}" for room in device.rooms]
            found = await self._in_thread(
                partial(
                    self._store.since,
                    device.identity.name if device.takes_mail else None,
                    conversations,
                    after=device.cursor,
                    count=count,
                )
            )
            for message in found:
                if device.room <= 0:
                    break
                self._give(device, message)
            else:
                if len(found) < count and given_out == self._given_out:
                    # Nothing was given out while the store was read, and so nothing was missed.
                    device.is_behind = False

    def _give(self, device: Device, message: StoredMessage) -> None:
        """Send a message from the store, if it is one for the device after all."""
        device.cursor = message.id
        name = device.identity.name
        if (message.sender, message.device) == (name, device.name):
            return
        is_mail = not message.conversation.startswith("#")
        if not is_mail and message.id <= device.rooms.get(message.conversation[1:], message.id):
            return
        on_the_way = OnTheWay(message.id, message.sender, message.device, is_mail)
        device.send(on_the_way, _line_of(message, name))

    # Messages

    def _check_place(self, device: Device, command: Say) -> None:
        place = parse_place(command.to)
        self.check(device.identity, place, command.text)
        if not place.is_member and place.name not in device.rooms:
            raise NotInRoom(f"enter the room {place.name} before you say something in it")

    def _say(self, device: Device, command: Say) -> None:
        device.unstored += 1
        message = self.message(
            device.identity.name, device.name, command.number, parse_place(command.to), command.text
        )
        self.storing.add(message, partial(self._stored, device, message))

    def message(self, sender: str, device: str, number: int, place: Place, text: str) -> NewMessage:
        """A message to be stored."""
        return NewMessage(
            conversation=conversation_of(place, sender),
            sender=sender,
            device=device,
            number=number,
            text=text,
            at=self._wall(),
            members=(sender, place.name) if place.is_member else (),
        )

    def check(self, identity: Identity, place: Place, text: str) -> None:
        """Look over something that is to be said. Raises `TextTooLong`, `MemberNotFound`, and `NoSuchRoom`."""
        check_text(text)
        if not place.is_member:
            check_room(identity, place.name)
        elif not self._knows(place.name) and not self.members.is_there(place.name):
            raise MemberNotFound(f"there is nobody called {place.name} to chat with")

    def _stored(self, device: Device, message: NewMessage, number: int | None) -> None:
        """A message of a device is on the disk, or not."""
        device.unstored -= 1
        if device.unstored == self.limits.max_unstored - 1:
            device.wake()
        if number is None:
            error = InternalError("the message could not be stored; the server's log says why")
            device.notify(Refused(error.wire_code, error.message, number=message.number))
            return
        device.notify(Accepted(message.number, number))
        self.give_out(message, number)

    def give_out(self, message: NewMessage, number: int) -> None:
        """Give a message that was stored to all who are there, and whom it is for; nothing if that was done before."""
        if number <= self._given_out:
            return
        self._given_out = number
        stored = StoredMessage(
            number,
            message.conversation,
            message.sender,
            message.device,
            message.number,
            message.text,
            message.at,
        )
        on_the_way = OnTheWay(number, message.sender, message.device, bool(message.members))
        own = (message.sender, message.device)
        if not message.members:
            line = _line_of(stored, message.sender)
            for device in self.members.devices_in(message.conversation[1:]):
                if (device.identity.name, device.name) != own:
                    device.offer(on_the_way, line)
            return
        for name in dict.fromkeys(message.members):
            member = self.members.get(name)
            if member is not None and member.devices:
                line = _line_of(stored, name)
                for device in tuple(member.devices.values()):
                    if device.takes_mail and (name, device.name) != own:
                        device.offer(on_the_way, line)

    # Rooms, and who is there

    def _enter(self, device: Device, room: str, *, after: int) -> None:
        name = device.identity.name
        if self.members.enter_room(device, room, after=after):
            self._tell(room, Entered(room, name), but=device)
        device.notify(Entered(room, name, self.members.names_in(room)))

    def _tell(self, room: str, event: Entered | Left, *, but: Device | None = None) -> None:
        for device in self.members.devices_in(room):
            if device is not but:
                device.notify(event)

    def set_away(self, name: str, text: str | None) -> None:
        """A member is away, or back; nothing happens to one that is not there."""
        member = self.members.get(name)
        if member is None or not member.devices or member.away == text:
            return
        member.away = text
        member.since = self._wall()
        for device in self.members.neighbours(member):
            device.notify(PresenceEvent(member.presence))

    async def stop(self) -> None:
        """Note what is to be noted, and wait for what is being written; nothing more is after this."""
        self.deliveries.store_received()
        await self.storing.idle()


def _command_of(line: bytes) -> Command:
    try:
        return decode_command(line)
    except ValueError as error:
        raise InvalidArgument(f"a command cannot be understood: {error}") from None


def _refuse(device: Device, command: Command, error: CallError) -> None:
    device.notify(
        Refused(
            error.wire_code,
            error.message,
            number=command.number if isinstance(command, Say) else None,
            room=command.room if isinstance(command, Enter | Leave) else None,
            details=dict(error.details),
        )
    )


def _line_of(message: StoredMessage, reader: str) -> bytes:
    return encode_line(MessageEvent(message_for(message, reader)))
