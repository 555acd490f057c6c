"""A network in memory: a clock, and turns that a test lets pass.

Nothing happens by itself. `flush` moves what can move now, `advance` lets time pass, and `run` does both
until a result is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar, cast

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from sockserv.errors import SockservError
from sockserv.testing.link import Link

__all__ = ["Deadlock", "Livelock", "MemoryEndpoint", "MemoryNetwork"]

T = TypeVar("T")

MAX_TURNS: Final = 1_000_000


class Deadlock(SockservError, AssertionError):
    """Nothing moves any more, and the result that was asked for is not there."""


class Livelock(SockservError, AssertionError):
    """Things go on moving without end."""


class MemoryNetwork:
    """Joins protocols in memory, and passes the time.

    `clock` stands for the reactor wherever one is asked for to measure time. `max_turns` is after how
    many deliveries one `flush` or `run` gives up and raises `Livelock`.
    """

    def __init__(self, clock: Clock | None = None, *, max_turns: int = MAX_TURNS) -> None:
        self.clock = Clock() if clock is None else clock
        self.max_turns = max_turns
        self._ready: deque[Callable[[], object]] = deque()
        self._links: list[Link] = []

    # Connections

    def join(self, client: IProtocol, server: IProtocol, link: Link | None = None) -> Link:
        """Connect two protocols by a link (None: one without faults); returns the link."""
        link = link or Link()
        self._links = [known for known in self._links if known.is_open]
        self._links.append(link)
        link.join(self, client, server)
        return link

    @property
    def links(self) -> list[Link]:
        """The links that are open, the oldest first."""
        return [link for link in self._links if link.is_open]

    # Turns and time

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call a function in a later turn."""
        self._ready.append(function)

    def in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Stands for a pool of threads: calls the function in a later turn, in this thread."""
        done: Deferred[T] = Deferred()

        def call() -> None:
            result = maybeDeferred(function, *args)
            if not done.called:
                result.chainDeferred(done)

        self.call_soon(call)
        return done

    def step(self) -> bool:
        """Let one turn pass: one delivery, or one timer that is due; False if there is none."""
        if self._ready:
            self._ready.popleft()()
            return True
        if self.clock.calls and self.clock.calls[0].getTime() <= self.clock.seconds():
            self.clock.advance(0)
            return True
        return False

    def flush(self) -> None:
        """Let everything happen that can happen without time passing; raises `Livelock`."""
        turns = self.max_turns
        while self.step():
            turns -= 1
            if not turns:
                raise self._livelock("flush()")

    def advance(self, seconds: float) -> None:
        """Let time pass: what becomes due happens at its time, with all that comes of it."""
        end = self.clock.seconds() + seconds
        self.flush()
        while self._skip_to_timer(end):
            self.flush()
        self.clock.rightNow = end
        self.flush()

    def run(self, awaitable: Awaitable[T], *, max_seconds: float = 0.0) -> T:
        """Let things happen until a Deferred or a coroutine has its result; returns or raises that.

        When nothing moves any more, as much as `max_seconds` may pass on the clock, from one timer to
        the next. Raises `Deadlock` when that does not help, `Livelock` when it goes on without end.
        """
        deferred: Deferred[T] = (
            awaitable
            if isinstance(awaitable, Deferred)
            else Deferred.fromCoroutine(cast(Coroutine[Deferred[Any], Any, T], awaitable))
        )
        outcome: list[T | Failure] = []
        deferred.addBoth(outcome.append)
        end = self.clock.seconds() + max_seconds
        turns = self.max_turns
        ready = self._ready
        while not outcome:
            if ready:
                ready.popleft()()
            elif not self.step() and not self._skip_to_timer(end):
                raise self._deadlock(end)
            turns -= 1
            if not turns:
                raise self._livelock("run()")
        result = outcome[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def _skip_to_timer(self, end: float) -> bool:
        """Set the clock to the next timer, if that is not after `end`."""
        calls = self.clock.calls
        if not calls or calls[0].getTime() > end:
            return False
        self.clock.rightNow = max(self.clock.rightNow, calls[0].getTime())
        return True

    def _deadlock(self, end: float) -> Deadlock:
        lines = ["deadlock: nothing moves any more, and the result is not there"]
        lines += [f"  {link!r}" for link in self.links]
        now = self.clock.seconds()
        timers = [f"{call.getTime() - now:g}" for call in self.clock.calls[:5]]
        if timers:
            lines.append(
                f"  timers are due in {', '.join(timers)} seconds: give run() as many max_seconds, "
                "or call advance()"
            )
        return Deadlock("\n".join(lines))

    def _livelock(self, what: str) -> Livelock:
        return Livelock(
            f"after {self.max_turns} turns {what} has still more to do: is there a stream without "
            f"end? links: {self.links}"
        )


@implementer(IStreamServerEndpoint)
class MemoryEndpoint:
    """A place on a `MemoryNetwork` where a server listens; `client` makes endpoints that lead there."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network
        self.factory: IProtocolFactory | None = None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Accept connections from now on."""
        listening: Deferred[IListeningPort] = Deferred()
        if self.factory is not None:
            listening.errback(CannotListenError("memory", 7700, OSError("the address is in use")))
            return listening
        self.factory = protocolFactory
        protocolFactory.doStart()
        listening.callback(_MemoryPort(self))
        return listening

    def client(self, link: Link | None = None) -> IStreamClientEndpoint:
        """An endpoint that connects to here by `link`."""
        return _MemoryClientEndpoint(self._network, self, link)


@implementer(IListeningPort)
@attrs.define
class _MemoryPort:
    _endpoint: MemoryEndpoint

    def startListening(self) -> None:
        """It does from the start."""

    def stopListening(self) -> None:
        """Connections are refused from now on."""
        factory, self._endpoint.factory = self._endpoint.factory, None
        if factory is not None:
            factory.doStop()

    def getHost(self) -> IPv4Address:
        """An address to look at."""
        return IPv4Address("TCP", "127.0.0.1", 7700)


@implementer(IStreamClientEndpoint)
@attrs.define
class _MemoryClientEndpoint:
    _network: MemoryNetwork
    _server: MemoryEndpoint
    _link: Link | None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect in a later turn."""
        connecting: Deferred[IProtocol] = Deferred()
        self._network.call_soon(partial(self._connect, protocolFactory, connecting))
        return connecting

    def _connect(self, client_factory: IProtocolFactory, connecting: Deferred[IProtocol]) -> None:
        if connecting.called:
            return
        address = IPv4Address("TCP", "127.0.0.1", 7700)
        link = self._link or Link()
        server = None
        if self._server.factory is not None:
            server = self._server.factory.buildProtocol(link.client_address)
        if server is None:
            connecting.errback(ConnectionRefusedError())
            return
        client = client_factory.buildProtocol(address)
        assert client is not None
        self._network.join(client, server, link)
        connecting.callback(client)
