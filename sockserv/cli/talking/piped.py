"""A chat without a terminal: for pipes, and for programs."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sockserv.chat.arguments import MAX_HISTORY_COUNT, MAX_TEXT_BYTES
from sockserv.chat.errors import TextTooLong, TooFast
from sockserv.chat.facts import Message, Sent
from sockserv.chat.lines import Joined, MessageEvent
from sockserv.cli.output import as_json_line
from sockserv.cli.talking.connections import Connections
from sockserv.cli.talking.showing import as_plain
from sockserv.cli.talking.together import first_of
from sockserv.client.chat import Chat, Datagrams, Session, Talk
from sockserv.errors import ConnectionEnded

if TYPE_CHECKING:
    from sockserv.cli.session import Session as CommandSession

__all__ = ["MOST_TRIES", "Sender", "follow", "look_back", "search", "send"]

_DEVICE_BYTES: Final = 12
MOST_TRIES: Final = 3
"""So often a connection may be lost while one thing is sent."""


async def send(
    session: CommandSession, place: str, text: str | None, *, by_lines: bool = False
) -> None:
    """Say a text, or what standard input holds: all of it as one message, or each of its lines as one, but for the
    empty ones.

    Each is stored, once, before the next is sent: a connection that is lost is made again. Raises `ConnectionEnded`
    when that does not help, `TextTooLong`, and what refuses the message.
    """
    connections = Connections(session)
    await connections.open()
    await connections.next()
    sender = Sender(session, connections, place)
    try:
        if text is not None:
            await sender.send_and_tell(text)
        elif by_lines:
            async for line in _lines(session):
                if line.strip():
                    await sender.send_and_tell(_decoded(line))
        else:
            await sender.send_and_tell(_decoded(await _everything(session)))
    finally:
        connections.close()


class Sender:
    """A device that says one thing after the other, without joining: nobody sees it come and go."""

    def __init__(self, session: CommandSession, connections: Connections, place: str) -> None:
        self._session = session
        self._connections = connections
        self._place = place
        self._device = secrets.token_hex(_DEVICE_BYTES)
        self._number = 0

    async def send(self, text: str) -> Sent:
        """Say one thing."""
        self._number += 1
        return await self._send(text)

    async def send_and_tell(self, text: str) -> None:
        """Say one thing, and tell a program what it is by now."""
        sent = await self.send(text)
        if self._session.options.json:
            await self._session.show("", {"id": sent.id, "to": self._place})

    async def _send(self, text: str) -> Sent:
        losses = 0
        while True:
            try:
                chat = self._connections.now.chat
                # Who has it by this number already does not take it for another one.
                return await chat.send(self._place, text, device=self._device, number=self._number)
            except TooFast as error:
                await deferLater(self._session.clock, float(error.details.get("seconds", 1.0)))
            except ConnectionEnded:
                losses += 1
                if losses == MOST_TRIES:
                    raise
                await self._connections.next()


async def _everything(session: CommandSession) -> bytes:
    """Standard input to its end, without its last line break.

    Raises `TextTooLong` before it has read much more than may be said.
    """
    found = b""
    while piece := await session.input.read():
        found += piece
        _check_length(found)
    return found.removesuffix(b"\n").removesuffix(b"\r")


async def _lines(session: CommandSession) -> AsyncIterator[bytes]:
    begun = b""
    while piece := await session.input.read():
        *lines, begun = (begun + piece).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
        _check_length(begun)
    if begun:
        yield begun


def _check_length(text: bytes) -> None:
    if len(text) > MAX_TEXT_BYTES + 2:
        raise TextTooLong(f"a message has at most {MAX_TEXT_BYTES} bytes")


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise TextTooLong("what is said has to be text in UTF-8") from None


async def look_back(session: CommandSession, place: str, count: int) -> None:
    """Write the last messages of a place."""
    client = await session.connect()
    try:
        await _write(session, await _history(client.chat, place, count))
    finally:
        await client.close()


async def search(session: CommandSession, words: str, place: str | None, count: int) -> None:
    """Write the last messages with all these words, at a place or at all."""
    client = await session.connect()
    try:
        await _write(session, await client.chat.search(words, place=place, count=count))
    finally:
        await client.close()


async def _history(chat: Chat, place: str, count: int) -> list[Message]:
    """As many messages as are wanted; the server gives some at a time."""
    found: list[Message] = []
    while len(found) < count:
        before = found[0].id if found else None
        wanted = min(MAX_HISTORY_COUNT, count - len(found))
        page = await chat.history(place, count=wanted, before=before)
        found[:0] = page
        if len(page) < wanted:
            break
    return found


async def follow(session: CommandSession, place: str, *, history: int = 0) -> None:
    """Write what is said at a place, and to oneself, until somebody ends it; first the last messages of the place, if
    they are wanted.

    Each is written once, whatever becomes of the connection. Raises what no other connection would change.
    """
    connections = Connections(session)
    await connections.open()
    follower = _Follower(session, connections)
    talk = Talk(session.clock, follower.chat, connections.next, on_lost=follower.lost)
    writing = Deferred.fromCoroutine(follower.write(place, history))
    try:
        await first_of(session.clock, talk.run(), writing)
    finally:
        connections.close()


class _Follower:
    """Writes what a session hears."""

    def __init__(self, session: CommandSession, connections: Connections) -> None:
        self.chat = Session(datagrams=Datagrams(session.clock))
        self._session = session
        self._connections = connections
        self._is_lost = False

    def lost(self, why: Exception, seconds: float) -> None:
        """There is no connection."""
        if not self._is_lost:
            self._is_lost = True
            self._remark(f"sockserv: no connection ({why}); trying again")

    async def write(self, place: str, history: int) -> None:
        """Write until it is cancelled."""
        events = self.chat.watch()
        await self.chat.enter(place)
        written = 0
        if history:
            # What is said since then waits, and some of it is in the history, too.
            found = await _history(self._connections.now.chat, place, history)
            await _write(self._session, found)
            written = found[-1].id if found else 0
        async for event in events:
            match event:
                case MessageEvent() if event.message.id > written or event.message.to != place:
                    await _write(self._session, [event.message])
                    # Or a reader that has gone would be noticed one message later.
                    await self._session.output.flush()
                case Joined() if self._is_lost:
                    self._is_lost = False
                    self._remark("sockserv: the connection is back")
        # The session has ended, and what keeps it going tells why.
        await Deferred()

    def _remark(self, text: str) -> None:
        Deferred.fromCoroutine(self._session.remark(text)).addErrback(lambda failure: None)


async def _write(session: CommandSession, messages: Iterable[Message]) -> None:
    if session.options.json:
        data = b"".join(as_json_line(attrs.asdict(message)) for message in messages)
    else:
        data = "".join(f"{as_plain(message)}\n" for message in messages).encode()
    await session.output.write(data)
