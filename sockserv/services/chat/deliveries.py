"""What becomes of messages: their senders are told who has them, and it is noted up to where
members have their mail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from sockserv.chat.lines import Undelivered
from sockserv.services.chat.database import StoreError
from sockserv.services.chat.device import Device, OnTheWay
from sockserv.services.chat.members import Members
from sockserv.services.chat.messages import StoredMessage
from sockserv.services.chat.store import ChatStore
from sockserv.services.threads import InThread

__all__ = ["Deliveries"]

_TELLING_SECONDS: Final = 0.05
"""What becomes of messages is told so much later, all that is known by then together."""


class Deliveries:
    """Who has which messages. `in_thread` is the one thread in which the store is used."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, members: Members, store: ChatStore, in_thread: InThread
    ) -> None:
        self._clock = clock
        self._members = members
        self._store = store
        self._in_thread = in_thread
        self._received: dict[str, int] = {}
        self._is_noting = False

    def take_received(self, device: Device, number: int, *, newest: int) -> None:
        """A device says that it has all messages up to an id, of which there is none above `newest`."""
        name = device.identity.name
        member = self._members.get(name)
        before = 0 if member is None else member.received
        for message in device.received(number):
            if message.sender == name or (message.is_mail and message.id <= before):
                continue
            self._note_delivered(message, name)
        if member is not None and device.takes_mail and number > member.received:
            member.received = min(number, newest)
            self._note_received(name, member.received)

    def _note_delivered(self, message: OnTheWay, to: str) -> None:
        device = self._sender_of(message)
        if device is not None and device.note_delivered(message.id, to):
            self._clock.callLater(_TELLING_SECONDS, device.tell_delivered)

    def tell_undelivered(self, message: StoredMessage, members: Iterable[str], why: str) -> None:
        """Tell the device that has sent a message, if it is there, who will not get it."""
        device = self._sender_of(message)
        if device is not None:
            device.notify(Undelivered(message.id, tuple(members), why))

    def _sender_of(self, message: OnTheWay | StoredMessage) -> Device | None:
        sender = self._members.get(message.sender)
        return None if sender is None else sender.devices.get(message.device)

    # What is stored of it

    def _note_received(self, name: str, number: int) -> None:
        """Have it stored up to where a member has its mail, soon."""
        self._received[name] = number
        if not self._is_noting:
            self._is_noting = True
            self._clock.callLater(_TELLING_SECONDS, self.store_received)

    def store_received(self) -> None:
        """Store all of it that was noted."""
        self._is_noting = False
        received, self._received = self._received, {}
        if received:
            self.note(self._store.mark_received, list(received.items()))

    def note(self, function: Callable[..., None], *args: Any) -> None:
        """Have something stored that nobody waits for."""

        async def note() -> None:
            try:
                await self._in_thread(function, *args)
            except StoreError as error:
                self._log.error("{why}", why=error)

        Deferred.fromCoroutine(note())
