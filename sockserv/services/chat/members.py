"""Who is there: the members with their devices, and the rooms with theirs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sockserv.chat.errors import NoSuchRoom, TooManyMembers, TooManyRooms
from sockserv.chat.facts import Presence, PresenceState
from sockserv.chat.names import room_key
from sockserv.errors import Unavailable
from sockserv.limits import ChatLimits
from sockserv.services.chat.allowance import Allowance
from sockserv.services.chat.device import Device
from sockserv.trust.identities import EVERYTHING, Identity

__all__ = ["Member", "Members", "check_room", "may_enter"]

ALL_ROOMS = "*"


def may_enter(identity: Identity, room: str) -> bool:
    """Whether an identity may be in a room, whose name is in its one form."""
    if identity.may(EVERYTHING) or ALL_ROOMS in identity.chat:
        return True
    return any(room_key(name) == room for name in identity.chat)


def check_room(identity: Identity, room: str) -> None:
    """Raises `NoSuchRoom` for a room that an identity may not be in."""
    if not may_enter(identity, room):
        raise NoSuchRoom(f"there is no room {room} for {identity.name}")


class Member:
    """An identity that is there, or was."""

    __slots__ = ("allowance", "away", "devices", "name", "received", "since")

    def __init__(self, name: str, limits: ChatLimits, *, now: float) -> None:
        self.name = name
        self.devices: dict[str, Device] = {}
        self.away: str | None = None
        self.since = now
        self.received = 0
        """Up to which id it has all its mail, as far as this is known here."""
        self.allowance = Allowance(
            per_second=limits.messages_per_second, at_once=limits.messages_at_once
        )

    @property
    def presence(self) -> Presence:
        """Whether it is there."""
        state = PresenceState.GONE
        if self.devices:
            state = PresenceState.ONLINE if self.away is None else PresenceState.AWAY
        return Presence(name=self.name, state=state, since=self.since, text=self.away)


class Members:
    """All members that are there, and all rooms with somebody in them."""

    def __init__(self, limits: ChatLimits) -> None:
        self._limits = limits
        self._members: dict[str, Member] = {}
        self._rooms: dict[str, set[Device]] = {}
        self._count = 0

    def get(self, name: str) -> Member | None:
        """The member of this name, if it has been there since the start."""
        return self._members.get(name)

    def is_there(self, name: str) -> bool:
        """Whether somebody of this name has joined; it may be a guest, whom nobody knows otherwise."""
        member = self._members.get(name)
        return member is not None and bool(member.devices)

    def seconds_too_early(self, name: str, now: float) -> float:
        """Count one more message of a member; gives how many seconds it is too early."""
        return self._made(name, now).allowance.take(now)

    def seconds_until_next(self, name: str, now: float) -> float:
        """Count one more message of a member, if it may be sent now; gives how many seconds that is too early."""
        return self._made(name, now).allowance.take_if_due(now)

    def _made(self, name: str, now: float) -> Member:
        """The member of this name, who is made if it was not there yet."""
        member = self._members.get(name)
        if member is None:
            member = self._members[name] = Member(name, self._limits, now=now)
        return member

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def join(self, device: Device, *, now: float) -> Member:
        """A device is there. One of the same name ends, as it was replaced. Raises `TooManyMembers`."""
        name = device.identity.name
        member = self._made(name, now)
        before = member.devices.get(device.name)
        if before is not None:
            self.leave(before, now=now)
            before.end(Unavailable("this device has joined from elsewhere"))
        if self._count >= self._limits.max_devices:
            raise TooManyMembers(f"{self._count} devices have joined, which is the limit")
        most = self._limits.max_devices_of_identity
        if len(member.devices) >= most:
            raise TooManyMembers(f"{name} has joined with {most} devices, which is the limit")
        if not member.devices:
            member.since = now
        member.devices[device.name] = device
        self._count += 1
        return member

    def leave(self, device: Device, *, now: float) -> list[str]:
        """A device is gone; gives the rooms that its member has left by that.

        Nothing happens to one that is gone already.
        """
        member = self._members.get(device.identity.name)
        if member is None or member.devices.get(device.name) is not device:
            return []
        left = [room for room in tuple(device.rooms) if self.leave_room(device, room)]
        del member.devices[device.name]
        self._count -= 1
        if not member.devices:
            member.since = now
            member.away = None
        return left

    def forget(self, name: str) -> None:
        """Somebody is gone who will not come back by this name."""
        self._members.pop(name, None)

    # Rooms

    def enter_room(self, device: Device, room: str, *, after: int) -> bool:
        """A device is in a room, and wants what is newer than `after`; gives whether its member is in it only now.

        Raises `NoSuchRoom`, and `TooManyRooms`.
        """
        if room in device.rooms:
            return False
        check_room(device.identity, room)
        most = self._limits.max_rooms_of_device
        if len(device.rooms) >= most:
            raise TooManyRooms(f"a device can be in {most} rooms at most: leave one")
        devices = self._rooms.get(room)
        if devices is None:
            if len(self._rooms) >= self._limits.max_rooms:
                raise TooManyRooms(f"there are {len(self._rooms)} rooms, which is the limit")
            devices = self._rooms[room] = set()
        is_new = not _has(devices, device.identity.name)
        devices.add(device)
        device.rooms[room] = after
        return is_new

    def leave_room(self, device: Device, room: str) -> bool:
        """A device is not in a room any more; gives whether its member is not, either."""
        if device.rooms.pop(room, None) is None:
            return False
        devices = self._rooms[room]
        devices.discard(device)
        if not devices:
            del self._rooms[room]
        return not _has(devices, device.identity.name)

    def rooms(self) -> Iterable[str]:
        """The rooms with somebody in them."""
        return self._rooms

    def rooms_of(self, name: str, device: str) -> frozenset[str]:
        """The rooms that a device of a member is in; none if it is not there."""
        member = self._members.get(name)
        found = None if member is None else member.devices.get(device)
        return frozenset() if found is None else frozenset(found.rooms)

    def devices_in(self, room: str) -> Iterable[Device]:
        """The devices in a room."""
        return tuple(self._rooms.get(room, ()))

    def names_in(self, room: str) -> tuple[str, ...]:
        """The members in a room."""
        return tuple(sorted({device.identity.name for device in self._rooms.get(room, ())}))

    def neighbours(self, member: Member) -> set[Device]:
        """The devices of others that share a room with a member."""
        rooms = {room for device in member.devices.values() for room in device.rooms}
        return {
            device
            for room in rooms
            for device in self._rooms[room]
            if device.identity.name != member.name
        }


def _has(devices: set[Device], name: str) -> bool:
    return any(device.identity.name == name for device in devices)
