"""A device that has joined: what is on its way to it, and what it has still to get.

Invariants:

1. A device gets messages in the order of their ids, each once in a session.
2. No more messages are on their way to it than `max_unreceived`, and no more than a MiB and one of them. One that falls
   behind gets the others from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeAlias

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockserv.chat.lines import Delivered, Event, encode_line
from sockserv.errors import Unavailable
from sockserv.limits import ChatLimits
from sockserv.services.chat.carrier import Carrier
from sockserv.trust.identities import Identity

__all__ = ["Attendant", "Device", "OnTheWay", "Work"]

Work: TypeAlias = Callable[["Device"], Coroutine[Any, Any, None]]

_MAX_BYTES_ON_THE_WAY: Final = 1024 * 1024
"""With more, no message is sent to a device before it has acknowledged some."""


class OnTheWay(msgspec.Struct, frozen=True):
    """A message that a device was sent, and has not acknowledged: its id, and whom to tell."""

    id: int
    sender: str
    device: str
    is_mail: bool


# A Struct, as those of `messages` are: one is made for each message and device.
class _Sent(msgspec.Struct, frozen=True):
    """What was given to the carrier: its `line`-th line, and how many bytes that has."""

    message: OnTheWay
    line: int
    size: int


class Attendant(Protocol):
    """Who looks after devices: the hub."""

    def serve(self, device: Device) -> None:
        """Do what a device has said by now."""

    async def feed(self, device: Device) -> None:
        """Give a device from the store what it has not had."""

    def leave(self, device: Device) -> None:
        """The session of a device has ended: stop it."""


class Device:
    """One program of a member, while it has joined.

    `rooms` are those that it is in, each with the id of the newest message that it does not want. `cursor` is the id
    up to which it was offered everything; while `is_behind`, what is new waits in the store. One that does not take the
    mail is given nothing that is said to its identity.
    """

    # Of thousands that are idle: what is seldom needed is made when it is.
    __slots__ = (
        "_attendant",
        "_bytes_on_the_way",
        "_delivered",
        "_doing",
        "_limits",
        "_lines",
        "_on_the_way",
        "_waiting",
        "carrier",
        "clock",
        "cursor",
        "ended",
        "identity",
        "is_behind",
        "is_held",
        "name",
        "rooms",
        "takes_mail",
        "unstored",
    )

    def __init__(
        self,
        clock: IReactorTime,
        attendant: Attendant,
        identity: Identity,
        name: str,
        carrier: Carrier,
        limits: ChatLimits,
        *,
        takes_mail: bool = True,
    ) -> None:
        self.clock = clock
        self.identity = identity
        self.name = name
        self.carrier = carrier
        self.rooms: dict[str, int] = {}
        self.takes_mail = takes_mail
        self.cursor = 0
        self.is_behind = True
        self.is_held = False
        """Whether a command of it waits, and all that it has said after that."""
        self.unstored = 0
        self.ended: Deferred[Exception | None] = Deferred()
        """Fires with what has ended the session, None for its own wish."""
        self._attendant = attendant
        self._limits = limits
        self._doing: dict[Work, Deferred[None] | None] | None = None
        self._on_the_way: list[_Sent] = []
        self._bytes_on_the_way = 0
        self._lines = 0
        self._delivered: dict[int, set[str]] | None = None
        self._waiting: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<device {self.name} of {self.identity.name}>"

    def notify(self, event: Event) -> None:
        """Send an event that is no message; ends the session of a device that takes none."""
        if self.carrier.waiting >= self._limits.max_notices + self._limits.max_unreceived:
            self.end(Unavailable("the device has taken nothing for too long: join again"))
            return
        self._give(encode_line(event))

    def end(self, error: Exception | None) -> None:
        """End the session, with an error or without; the first one counts."""
        if not self.ended.called:
            self.ended.callback(error)

    # What is done for it

    def start(self) -> None:
        """It has joined: listen to it, and give it what it has missed."""
        self.feed()
        self.carrier.listen(self.serve)
        self.serve()

    def serve(self) -> None:
        """Have done what it has said by now; nothing that comes after what has ended its session."""
        if not self.ended.called:
            self._attendant.serve(self)

    def leave(self) -> None:
        """Its session has ended."""
        self._attendant.leave(self)

    def feed(self) -> None:
        """Have it given what it has not had, if that is not being done."""
        self.begin(self._attendant.feed)

    def begin(self, work: Work) -> None:
        """Do some work for it, unless that is being done: it lasts as long as there is something to do.

        What it raises ends the session.
        """
        if self._doing is None:
            self._doing = {}
        if work not in self._doing:
            self._doing[work] = None
            done = Deferred.fromCoroutine(self._do(work, self._doing))
            if self._doing is not None and work in self._doing:
                self._doing[work] = done

    async def _do(self, work: Work, doing: dict[Work, Deferred[None] | None]) -> None:
        try:
            await work(self)
        except Exception as error:
            self.end(error)
        finally:
            del doing[work]
            if not doing:
                self._doing = None

    def stop(self) -> None:
        """Nothing more is done for it, or sent to it."""
        for done in tuple((self._doing or {}).values()):
            if done is not None:
                done.cancel()
        self.carrier.close()

    # Messages to it

    @property
    def room(self) -> int:
        """How many more messages may be on their way to it."""
        if self._bytes_on_the_way >= _MAX_BYTES_ON_THE_WAY:
            return 0
        return self._limits.max_unreceived - len(self._on_the_way)

    @property
    def has_plenty_of_room(self) -> bool:
        """Whether it is worth while to look for more in the store."""
        is_half_empty = 2 * self._bytes_on_the_way <= _MAX_BYTES_ON_THE_WAY
        return is_half_empty and 2 * self.room >= self._limits.max_unreceived

    def offer(self, message: OnTheWay, line: bytes) -> None:
        """A new message for it, which is `line`. It may have to wait in the store."""
        if self.is_behind:
            return
        if self.room <= 0:
            self.fall_behind(message.id)
            return
        self.send(message, line)

    def fall_behind(self, first: int) -> None:
        """The message `first`, and what comes after it, is to be fetched from the store."""
        self.is_behind = True
        self.cursor = first - 1
        self.feed()

    def send(self, message: OnTheWay, line: bytes) -> None:
        """Send a message."""
        self.cursor = message.id
        self._give(line)
        self._on_the_way.append(_Sent(message, self._lines, len(line)))
        self._bytes_on_the_way += len(line)

    def received(self, number: int) -> list[OnTheWay]:
        """It has all messages up to this id; gives those that are news."""
        # What waits here it cannot have, whatever it says: or one that takes nothing would be sent more and more.
        gone = self._lines - self.carrier.waiting
        news = []
        while self._on_the_way:
            sent = self._on_the_way[0]
            if sent.message.id > number or sent.line > gone:
                break
            self._on_the_way.pop(0)
            self._bytes_on_the_way -= sent.size
            news.append(sent.message)
        if news and self.is_behind:
            self.feed()
        return news

    def _give(self, line: bytes) -> None:
        self._lines += 1
        self.carrier.send(line)

    # What becomes of its own messages

    def note_delivered(self, number: int, member: str) -> bool:
        """A member has a message of this device; gives whether nothing else was noted since the
        last `tell_delivered`.
        """
        is_first = self._delivered is None
        if self._delivered is None:
            self._delivered = {}
        self._delivered.setdefault(number, set()).add(member)
        return is_first

    def tell_delivered(self) -> None:
        """Send what was noted."""
        delivered, self._delivered = self._delivered, None
        for number, members in (delivered or {}).items():
            self.notify(Delivered(number, tuple(sorted(members))))

    # Waiting for any of this to change

    async def change(self) -> None:
        """Wait until something of it has changed: one at a time."""
        self._waiting = Deferred()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def wake(self) -> None:
        """Something has changed."""
        if self._waiting is not None:
            self._waiting.callback(None)
