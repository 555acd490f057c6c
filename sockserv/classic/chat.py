"""The tutorial's chat: each datagram of bare text is a message of a guest, who is called by their address.

A guest has a session with the hub as anybody has. What is said to them directly goes out as one bare datagram; what is
said in the room does not: the old client reads one answer to each of its messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.chat.errors import ChatError
from sockserv.chat.lines import MessageEvent
from sockserv.client import Client
from sockserv.errors import SockservError

__all__ = ["Guests"]

Address: TypeAlias = tuple[str, int]

MAX_GUESTS: Final = 100
MAX_WAITING: Final = 32
"""So many messages of a guest wait until they are taken; what comes besides is lost, as it may be in UDP."""
SILENCE_SECONDS: Final = 600.0
"""A guest from whom nothing was heard for so long is forgotten."""
MAX_DATAGRAM_BYTES: Final = 65_507
"""More does not fit into one (RFC 768 over IPv4)."""

_log = Logger()


class Guests(DatagramProtocol):
    """Lets guests talk in `room`. `connect` makes a client for one, given the name and the address.

    One whose name was taken by nobody is gone when nothing was heard of them for `silence_seconds`.
    """

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        room: str,
        connect: Callable[[str, Address], Deferred[Client]],
        *,
        max_guests: int = MAX_GUESTS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.clock = clock
        self.room = room
        self.connect = connect
        self.silence_seconds = silence_seconds
        self._max_guests = max_guests
        self._guests: dict[Address, _Guest] = {}
        self._dropped = 0

    @property
    def count(self) -> int:
        """How many guests there are."""
        return len(self._guests)

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """A message of somebody, who may be new."""
        address = addr[:2]
        try:
            text = datagram.decode()
        except UnicodeDecodeError:
            self._drop(address, "it is no text")
            return
        if not text:
            return
        guest = self._guests.get(address)
        if guest is None:
            if len(self._guests) >= self._max_guests:
                self._drop(address, f"there are {self._max_guests} guests, which is the limit")
                return
            guest = self._guests[address] = _Guest(self, address)
            guest.start()
        if not guest.hear(text):
            self._drop(address, "too many messages wait already")

    def answer(self, text: str, address: Address) -> None:
        """Send a guest what was said to them."""
        data = text.encode()
        if len(data) > MAX_DATAGRAM_BYTES:
            data = data[:MAX_DATAGRAM_BYTES].decode(errors="ignore").encode()
        try:
            if self.transport is not None:
                self.transport.write(data, address)
        except OSError as error:
            _log.info("a datagram for {address} was not sent: {why}", address=address, why=error)

    def forget(self, address: Address) -> None:
        """A guest is gone."""
        self._guests.pop(address, None)

    def close(self) -> None:
        """Let all guests go."""
        for guest in tuple(self._guests.values()):
            guest.leave()

    def _drop(self, address: Address, why: str) -> None:
        self._dropped += 1
        # A flood of datagrams must not flood the log as well.
        if self._dropped & (self._dropped - 1) == 0:
            _log.info(
                "a datagram of {address} was dropped, the {count}th: {why}",
                address=address,
                count=self._dropped,
                why=why,
            )


def name_of(address: Address) -> str:
    """What a guest is called."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Guest:
    """Somebody who talks by bare datagrams."""

    def __init__(self, guests: Guests, address: Address) -> None:
        self._guests = guests
        self._address = address
        self._waiting: list[str] = []
        self._woken: Deferred[None] | None = None
        self._running: Deferred[None] | None = None
        self._silence: IDelayedCall | None = None

    def start(self) -> None:
        """Join the hub."""
        self._silence = self._guests.clock.callLater(self._guests.silence_seconds, self.leave)
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._failed)
        self._running.addCallback(lambda _: self._end())

    def hear(self, text: str) -> bool:
        """Take a message; False if there is no room for it."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        if self._silence is not None and self._silence.active():
            self._silence.reset(self._guests.silence_seconds)
        self._waiting.append(text)
        woken, self._woken = self._woken, None
        if woken is not None:
            woken.callback(None)
        return True

    def leave(self) -> None:
        """Go."""
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        client = await self._guests.connect(name_of(self._address), self._address)
        listening: Deferred[None] | None = None
        try:
            session = client.chat.session()
            events = session.watch()
            room = await session.enter(self._guests.room)

            async def listen() -> None:
                async for event in events:
                    if isinstance(event, MessageEvent) and event.message.to.startswith("@"):
                        self._guests.answer(event.message.text, self._address)

            listening = Deferred.fromCoroutine(listen())
            # Without the session there is nothing to stay for.
            listening.addBoth(lambda _: self.leave())
            while True:
                while self._waiting:
                    try:
                        await room.say(self._waiting.pop(0))
                    except ChatError as error:
                        _log.info("{guest}: {why}", guest=name_of(self._address), why=error)
                self._woken = Deferred()
                await self._woken
        finally:
            if listening is not None:
                listening.cancel()
            client.close().addErrback(lambda _: None)  # it never fails

    def _failed(self, failure: Failure) -> None:
        if failure.check(SockservError):
            _log.info("{guest} was let go: {why}", guest=name_of(self._address), why=failure.value)
        elif not failure.check(CancelledError):
            _log.failure("{guest} was let go", failure, guest=name_of(self._address))

    def _end(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()
        self._guests.forget(self._address)
