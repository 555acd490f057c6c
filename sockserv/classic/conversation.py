"""A connection that is read and written line by line of a coroutine, as a blocking program would do it.

Invariants:

1. Nothing is read from the network while nobody asks for it, beyond one delivery.
2. `send` waits while the other side takes nothing.
3. When the connection ends, so does the coroutine: what it waits for is cancelled. Who only sends no more still gets
   answers, unless the coroutine is `while_listening`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sockserv.errors import SockservError

__all__ = ["Conversation", "Hangup", "Silence"]


class Hangup(SockservError):
    """The conversation is over, for a reason that the other side cannot be told, and the log may want to know."""


class Silence(Hangup):
    """Nothing has come for too long."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Conversation(Protocol):
    """A connection in the hands of `hold`, a coroutine function that is given it. It is closed when that returns.

    A `SockservError` that `hold` raises is logged in one line, anything else with its traceback; the connection is then
    cut, so that nobody takes what was sent for the whole of it.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, hold: Callable[[Conversation], Coroutine[Any, Any, None]]
    ) -> None:
        self.clock = clock
        self._hold = hold
        self._received: list[bytes] = []
        self._is_over = False
        self._is_lost = False
        self._reader: Deferred[None] | None = None
        self._writer: Deferred[None] | None = None
        self._is_full = False
        self._doing: Deferred[None] | None = None
        self._holding: Deferred[None] | None = None

    def __repr__(self) -> str:
        peer: Any = None if self.transport is None else self.transport.getPeer()
        where = f"{peer.host} port {peer.port}" if hasattr(peer, "port") else "a local socket"
        return f"<classic conversation with {where}>"

    async def receive(self, *, timeout_seconds: float | None = None) -> bytes:
        """The next bytes, as many as have come at once; `b""` when the other side will send no more.

        Raises `Silence` when nothing has come for so long.
        """
        if not self._received and not self._is_over:
            self._reader = Deferred()
            self._resume_reading()
            if timeout_seconds is not None:
                self._reader.addTimeout(timeout_seconds, self.clock)
            try:
                await self._reader
            except DeferredTimeout:
                raise Silence(f"nothing has come for {timeout_seconds:g} seconds") from None
            finally:
                self._reader = None
                if not self._is_over:
                    self._transport.pauseProducing()
        received = b"".join(self._received)
        self._received.clear()
        return received

    async def while_listening(self, doing: Deferred[None]) -> None:
        """Wait for something that is done for the other side; when that sends no more, it is cancelled, and this raises
        `Hangup`.
        """
        if self._is_over:
            doing.cancel()
        self._doing = doing
        self._resume_reading()
        try:
            await doing
        except CancelledError:
            if self._is_over and not self._is_lost:
                raise Hangup("the other side has gone before the answer") from None
            raise
        finally:
            self._doing = None
            if not self._is_over:
                self._transport.pauseProducing()

    async def send(self, data: bytes) -> None:
        """Send bytes, any number; waits while the other side takes none."""
        if data:
            self._transport.write(data)
        while self._is_full and not self._is_lost:
            self._writer = Deferred()
            await self._writer

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        return self.transport

    # For the transport

    def connectionMade(self) -> None:
        """Begin."""
        self._transport.registerProducer(self, True)
        self._transport.pauseProducing()
        self._holding = Deferred.fromCoroutine(self._hold(self))
        self._holding.addCallbacks(self._end, self._fail)

    def dataReceived(self, data: bytes) -> None:
        """Keep it for who asks."""
        self._received.append(data)
        if self._reader is None:
            # Who listens only for the end has to be told to wait, too.
            self._transport.pauseProducing()
        self._wake_reader()

    def readConnectionLost(self) -> None:
        """The other side sends no more, and may still read."""
        self._is_over = True
        self._wake_reader()
        if self._doing is not None:
            self._doing.cancel()

    def writeConnectionLost(self) -> None:
        """We have said that we send no more."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End what is under way."""
        self._is_over = self._is_lost = True
        if self._holding is not None:
            self._holding.cancel()

    def pauseProducing(self) -> None:
        """The other side takes no more for now."""
        self._is_full = True

    def resumeProducing(self) -> None:
        """The other side takes more."""
        self._is_full = False
        writer, self._writer = self._writer, None
        if writer is not None and not writer.called:
            writer.callback(None)

    def stopProducing(self) -> None:
        """The connection has ended; `connectionLost` says so, too."""

    def _resume_reading(self) -> None:
        if not self._is_over and not self._received:
            self._transport.resumeProducing()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.called:
            self._reader.callback(None)

    def _end(self, _: None) -> None:
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def _fail(self, failure: Failure) -> None:
        if not self._is_lost:
            self.abort()
        if failure.check(CancelledError) and self._is_lost:
            return
        if failure.check(SockservError):
            self._log.info("{who} was ended: {why}", who=self, why=failure.value)
        else:
            self._log.failure("{who} has failed", failure, who=self)
