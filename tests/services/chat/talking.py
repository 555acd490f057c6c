"""A hub in memory, with members in the hands of a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from sockserv.chat.facts import Message
from sockserv.chat.lines import (
    Accepted,
    Command,
    Delivered,
    Event,
    Joined,
    MessageEvent,
    Received,
    Say,
    decode_event,
    encode_line,
)
from sockserv.client import Client, OutgoingCall
from sockserv.limits import ChatLimits
from sockserv.services import Service
from sockserv.services.chat.hub import Hub
from sockserv.services.chat.service import Chat
from sockserv.services.chat.two_ways import Datagrams
from sockserv.testing import Link, MemoryServer
from sockserv.trust import Identity

__all__ = ["HubInMemory", "Talker", "somebody"]

E = TypeVar("E", bound=Event)


def somebody(name: str, *rooms: str) -> Identity:
    """Who may chat, in these rooms, or in all."""
    return Identity(name, frozenset({"chat"}), chat=rooms or ("*",))


class Talker:
    """A device that has joined, over the connection."""

    def __init__(self, hub: HubInMemory, client: Client, call: OutgoingCall) -> None:
        self.client = client
        self.call = call
        self._hub = hub
        self._begun = b""
        self.events: list[Event] = []

    def say(self, number: int, text: str = "hello", *, to: str = "lobby") -> None:
        self.do(Say(number, to, text))

    def do(self, *commands: Command) -> None:
        lines = b"".join(encode_line(command) + b"\n" for command in commands)
        self.send_raw(lines)

    def send_raw(self, data: bytes) -> None:
        self._hub.memory.run(self.call.send(data))
        self._hub.memory.flush()

    def take(self) -> list[Event]:
        """The events that have come since the last time."""
        *lines, self._begun = (self._begun + self._hub.memory.read(self.call)).split(b"\n")
        events: list[Event] = [decode_event(line) for line in lines]
        self.events += events
        return events

    def take_only(self, kind: type[E]) -> list[E]:
        return [event for event in self.take() if isinstance(event, kind)]

    def messages(self) -> list[Message]:
        """The messages that have come since the last time, which are acknowledged."""
        found = [event.message for event in self.take_only(MessageEvent)]
        if found:
            self.do(Received(found[-1].id))
        return found

    def texts(self) -> list[str]:
        return [message.text for message in self.messages()]

    def accepted(self) -> list[tuple[int, int]]:
        return [(event.number, event.id) for event in self.take_only(Accepted)]

    def delivered(self) -> list[tuple[int, tuple[str, ...]]]:
        self._hub.memory.advance(0.1)
        return [(event.id, event.to) for event in self.take_only(Delivered)]

    def hang_up(self) -> None:
        self._hub.memory.run(self.client.close())
        self._hub.memory.flush()


class HubInMemory:
    """A hub whose messages are in memory, and whose time of day is that of its clock."""

    def __init__(
        self,
        *,
        names: set[str] | None = None,
        datagrams: Datagrams | None = None,
        services: Sequence[Service] = (),
        **limits: Any,
    ) -> None:
        names = names or {"alice", "bob", "carol"}
        self.thread_seconds = 0.0
        self.memory: MemoryServer
        self.chat = Chat(
            _Later(self),  # type: ignore[arg-type]  # the clock is made by the server, which needs the service
            None,
            in_thread=self._in_thread,
            limits=ChatLimits(**limits),
            knows=names.__contains__,
            wall=lambda: self.memory.clock.seconds(),
            datagrams=datagrams,
        )
        self.memory = MemoryServer([self.chat, *services])

    def __enter__(self) -> HubInMemory:
        self.memory.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.memory.advance(0.1)
        self.memory.run(self.chat.stop())
        self.memory.__exit__(kind, error, traceback)

    @property
    def hub(self) -> Hub:
        """The hub itself, once somebody has joined."""
        opened = self.chat._opening.now
        assert opened is not None
        return opened.hub

    def _in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Calls the function in a later turn, after `thread_seconds` if the disk is to be slow."""
        if self.thread_seconds:
            done: Deferred[Any] = Deferred()

            def call() -> None:
                self.memory.network.in_thread(function, *args).chainDeferred(done)

            # Not `deferLater`: who gives up waiting for a thread does not stop it.
            self.memory.clock.callLater(self.thread_seconds, call)
            return done
        return self.memory.network.in_thread(function, *args)

    def join(
        self,
        name: str,
        *rooms: str,
        device: str = "phone",
        after: int | None = None,
        link: Link | None = None,
        identity: Identity | None = None,
    ) -> Talker:
        """Somebody joins; their `joined` event, and what is said of their coming, is taken already."""
        talker = self.start_joining(
            name, *rooms, device=device, after=after, link=link, identity=identity
        )
        assert isinstance(talker.take()[0], Joined)
        return talker

    def start_joining(
        self,
        name: str,
        *rooms: str,
        device: str = "phone",
        after: int | None = None,
        link: Link | None = None,
        identity: Identity | None = None,
    ) -> Talker:
        client = self.memory.connect(identity or somebody(name), link=link)
        arguments = {"device": device, "rooms": list(rooms), "after": after}
        call = self.memory.run(client.open("chat.join", arguments))
        self.memory.flush()
        return Talker(self, client, call)


class _Later:
    """The clock of a server that is made later."""

    def __init__(self, hub: HubInMemory) -> None:
        self._hub = hub

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub.memory.clock, name)
