"""One live connection: the protocol on a transport, its running calls, its end.

Invariants:

1. Reading never stops: what the peer may send ahead is bounded by the credit it was given, and two
   sides that wait for each other's reading would wait for ever.
2. Bytes go out at the end of a turn (`hold`, `release`), all answers of one delivery together.
3. Every running call learns of the end of the connection before `connectionLost` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import (
    CallCancelled,
    CallError,
    ConnectionEnded,
    GoodbyeCode,
    ProtocolError,
    Unavailable,
    error_from_wire,
)
from sockserv.net.body import Body
from sockserv.net.calls import IncomingCall, OutgoingCall
from sockserv.net.handlers import run_handler
from sockserv.net.liveness import KEEPALIVE_TOKEN, Liveness, Pings, Verdict
from sockserv.net.outlet import Outlet, outlet_for, pump
from sockserv.net.settings import PeerSettings
from sockserv.net.slots import SlotQueue
from sockserv.wire import events
from sockserv.wire.calls import CallState, FileSpan
from sockserv.wire.connection import Connection, Phase
from sockserv.wire.messages import NOTHING, Hello, printable

__all__ = ["Peer"]

_LINGER_SECONDS: Final = 2.0
"""How long a peer may take to read our goodbye and to close its side."""


class Peer(Protocol):
    """One side of a live connection.

    `identity` is who logged in, `hello` the peer's introduction, `outlet` where our bytes go; None while there is none.
    """

    _log = Logger()

    def __init__(self, settings: PeerSettings) -> None:
        self.settings = settings
        self.identity: Any = None
        self.hello: Hello | None = None
        self.failed_logins = 0
        # Most connections never need these.
        self._slots: SlotQueue | None = None
        self._pings: Pings | None = None
        self.connection = Connection(
            settings.role,
            settings.limits,
            auth=settings.auth,
            incoming_class=IncomingCall,
            outgoing_class=OutgoingCall,
        )
        self.outlet: Outlet | None = None
        # How many turns hold back the output, and whose readers are woken at the end of a delivery.
        self._depth = 0
        self._wakes: list[Body] = []
        self._is_closing = self._is_draining = False
        self._failure: Exception | None = None
        self._linger: IDelayedCall | None = None
        self._liveness = Liveness(settings.clock.seconds())

    def __repr__(self) -> str:
        address: Any = None if self.transport is None else self.transport.getPeer()
        # IPv4 and IPv6 addresses have these; a client on a Unix socket has no address at all.
        host, port = getattr(address, "host", None), getattr(address, "port", None)
        # A listener for both IPv4 and IPv6 gives the former in the latter's clothes.
        where = "a local socket" if host is None else f"{host.removeprefix('::ffff:')} port {port}"
        return f"<{getattr(self.identity, 'name', None) or 'nobody yet'} at {where}>"

    # The transport

    def connectionMade(self) -> None:
        """Introduce ourselves."""
        assert self.transport is not None
        self.outlet = outlet_for(self.transport, self._refill)
        self.connection.start(self.settings.agent)
        self.settings.on_made(self)
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        """Act on what the peer sent, then send what came of it."""
        if self._is_closing or self.outlet is None:
            return
        self.outlet.on_received(len(data))
        self._depth += 1
        try:
            for event in self.connection.receive(data):
                self._liveness.has_heard = True
                if event.__class__ is IncomingCall:
                    event.peer = self
                    run_handler(event, self.settings.handle)
                else:
                    _ACTIONS[event.__class__](self, event)
            # Part of a header is no sign of life: it could come for ever, a byte at a time.
            if not self.connection.is_inside_header:
                self._liveness.has_heard = True
        except ProtocolError as error:
            self.cut(error.code, str(error))
        finally:
            if self._wakes:
                wakes, self._wakes = self._wakes, []
                for body in wakes:
                    body.wake()
            self.release()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End all that still runs."""
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._is_closing = True
        self.outlet = None
        how = "was closed by the peer" if reason.check(ConnectionDone) else "broke off"
        said = f": {self._failure}" if isinstance(self._failure, Unavailable) else ""
        ended = ConnectionEnded(f"the connection {how}{said}")
        ended.__cause__ = reason.value  # why there is no TLS with the peer, for one
        self._end_calls(ended)
        self.settings.on_end(self, self._failure or ended)

    # Events

    def _on_hello(self, event: events.HelloReceived) -> None:
        self.hello = event.hello
        self.settings.on_hello(self)

    def _on_body(self, event: events.BodyReceived) -> None:
        body: Body = event.call.body
        if event.body:
            body.feed(event.stream, event.body)
            self._wakes.append(body)
        if event.end:
            body.end()

    def _on_replied(self, event: events.CallReplied) -> None:
        call: OutgoingCall = event.call
        if event.body:
            call.body.feed(0, event.body)
        call.finish(result=event.reply.result)

    def _on_failed(self, event: events.CallFailed) -> None:
        call: OutgoingCall = event.call
        error = event.error
        call.finish(failure=error_from_wire(error.code, error.message, error.details))

    def _on_cancelled(self, event: events.CallCancelled) -> None:
        call: IncomingCall = event.call
        call.cancel(CallCancelled("the caller cancelled the call"))

    def _on_pong(self, event: events.PongReceived) -> None:
        if self._pings is not None:
            self._pings.answered(event.token)

    def _on_goodbye(self, event: events.GoodbyeReceived) -> None:
        code, why = printable(event.goodbye.code), printable(event.goodbye.message)
        if event.goodbye.is_graceful:
            self._open_no_more(Unavailable(f"the peer is going away: {why}"))
            return
        self._log.info("{peer} ended the connection: {code}: {why}", peer=self, code=code, why=why)
        self._end_calls(ConnectionEnded(f"the peer ended the connection: {why} ({code})"))
        self._lose()

    # Calls of the peer

    def login(self, identity: Any) -> None:
        """The peer is `identity` from now on, and may call everything that it is permitted."""
        self.identity = identity
        self._liveness.restart(self.settings.clock.seconds())
        self.connection.accept_login()

    def fail(self, call: IncomingCall, error: CallError) -> None:
        """End a call with an error."""
        self.connection.fail(call, error)
        call.stop_timer()
        self.flush()

    # Calls of ours

    async def open(
        self,
        op: str,
        args: Raw = NOTHING,
        *,
        body: bytes = b"",
        end: bool = False,
        timeout_seconds: float | None = None,
    ) -> OutgoingCall:
        """Open a call; waits while the peer takes no more calls.

        Raises `TooManyCalls` when too many wait already, `Unavailable` or `ConnectionEnded` when the
        peer takes no more for ever, `MessageTooLarge` when `args` do not fit into a header.
        """
        while not self.can_open():
            timeout_seconds = await self._wait_for_slot(timeout_seconds)
        return self.open_now(op, args, body=body, end=end, timeout_seconds=timeout_seconds)

    def can_open(self) -> bool:
        """Whether the peer takes one more call now; raises what `open` would if it never will."""
        if self._failure is not None:
            raise self._failure
        return self.connection.can_open()

    def open_now(
        self, op: str, args: Raw, *, body: bytes, end: bool, timeout_seconds: float | None
    ) -> OutgoingCall:
        """Open a call without waiting, after `can_open`."""
        call: OutgoingCall = self.connection.open(  # type: ignore[assignment]  # our class
            op, args, timeout_seconds=timeout_seconds, body=body, end=end
        )
        call.begin(self, timeout_seconds)
        self.flush()
        return call

    async def _wait_for_slot(self, timeout_seconds: float | None) -> float | None:
        """Wait; gives what is left of the timeout."""
        if self._slots is None:
            settings = self.settings
            self._slots = SlotQueue(settings.clock, settings.limits.max_waiting_calls)
        return await self._slots.wait(timeout_seconds)

    def ping(self) -> Deferred[None]:
        """Ask the peer for a sign of life, which fires the Deferred."""
        if self._failure is not None:
            raise self._failure
        if self._pings is None:
            self._pings = Pings()
        token, waiting = self._pings.start()
        self.connection.ping(token)
        self.flush()
        return waiting

    # Bodies, both ways

    def send(
        self, call: CallState, data: bytes | FileSpan, *, stream: int = 0, end: bool = False
    ) -> None:
        """Send the next bytes of a call's body when its turn comes."""
        self.connection.send(call, data, stream=stream, end=end)
        self.flush()

    def consume(self, call: CallState, count: int, *, keeps_up: bool) -> None:
        """Bytes of a call's body were consumed, and with `keeps_up` all that have come: the peer may send more."""
        if self.connection.consume(call, count, keeps_up=keeps_up):
            self.flush()

    # Output

    def hold(self) -> None:
        """Begin a turn: what is sent in it goes out together when it ends."""
        self._depth += 1

    def release(self) -> None:
        """End a turn."""
        self._depth -= 1
        self.flush()

    def flush(self) -> None:
        """Send what can be sent."""
        outlet = self.outlet
        if self._depth or outlet is None:
            return
        connection = self.connection
        # Who may send again because of this must not begin another round.
        self._depth += 1
        pump(connection, outlet, self._slots)
        self._depth -= 1
        if connection.unsent_bytes > self.settings.limits.max_unsent_bytes:
            self._too_slow()
        elif self._is_closing:
            if not outlet.is_blocked:
                self.outlet = None
                outlet.close()
        elif self._is_draining and not self.has_calls:
            self._lose()

    def _refill(self) -> None:
        # On a slow link our ping stands behind much else: that the peer takes that is a sign of life.
        self._liveness.has_heard = True
        self.flush()

    # The end

    @property
    def has_calls(self) -> bool:
        """Whether any call of either side runs."""
        return bool(self.connection.calls.incoming or self.connection.calls.outgoing)

    @property
    def is_logged_in(self) -> bool:
        """Whether the peer may call everything that it is permitted."""
        return self.connection.phase is Phase.OPEN

    def drain(self, code: GoodbyeCode, message: str) -> None:
        """Take no new calls, let the running ones end, then close."""
        if self._is_closing or self._is_draining:
            return
        self._open_no_more(Unavailable(message))
        self.connection.goodbye(code, message)
        self.flush()

    def _open_no_more(self, why: Unavailable) -> None:
        self._is_draining = True
        self._failure = why
        if self._slots is not None:
            self._slots.fail(why)

    def close(self, code: GoodbyeCode, message: str) -> None:
        """Say goodbye, end all calls and close, at once."""
        if self._is_closing:
            return
        self.connection.goodbye(code, message)
        self._end_calls(ConnectionEnded(f"the connection was closed: {message}"))
        self._lose()

    def abort(self) -> None:
        """Cut the connection without another word."""
        self._is_closing = True
        self.outlet = None
        if self.transport is not None:
            ITCPTransport(self.transport).abortConnection()

    def check(self, now: float) -> None:
        """Look after the peer's silence; to be called every few seconds."""
        limits = self.settings.limits
        silent = self._liveness.silent_seconds(now)
        if self._is_closing:
            return
        if not self.is_logged_in:
            if silent >= limits.login_timeout_seconds:
                self.cut(GoodbyeCode.LOGIN_TIMEOUT, f"no login within {silent:.0f} seconds")
            return
        verdict = self._liveness.judge(now, limits)
        if verdict is Verdict.ASK:
            self.connection.ping(KEEPALIVE_TOKEN)
            self.flush()
        elif verdict is Verdict.GONE:
            self.cut(GoodbyeCode.IDLE_TIMEOUT, f"no sign of life for {silent:.0f} seconds")

    def _too_slow(self) -> None:
        self._log.warn("{peer} cut off: it does not read what it asked for", peer=self)
        self._end_calls(ConnectionEnded("the peer does not read"))
        self.abort()

    def cut(self, code: GoodbyeCode, message: str) -> None:
        """Close for a fault of the peer, and leave a line in the log."""
        self._log.warn("{peer} cut off: {code}: {why}", peer=self, code=code.value, why=message)
        self.close(code, message)

    def _end_calls(self, failure: Exception) -> None:
        if self._failure is None or isinstance(self._failure, Unavailable):
            self._failure = failure
        self._depth += 1
        for call in self.connection.end_calls():
            if isinstance(call, IncomingCall):
                call.cancel(failure)
            elif isinstance(call, OutgoingCall):
                call.finish(failure=failure)
        self._depth -= 1
        if self._pings is not None:
            self._pings.fail(failure)
        if self._slots is not None:
            self._slots.fail(failure)

    def _lose(self) -> None:
        """Close once everything has been sent; a peer that does not let us is cut off."""
        if self._is_closing:
            return
        self._is_closing = True
        self._linger = self.settings.clock.callLater(_LINGER_SECONDS, self.abort)
        self.flush()


_ACTIONS: Mapping[type, Callable[[Peer, Any], None]] = {
    events.HelloReceived: Peer._on_hello,
    events.BodyReceived: Peer._on_body,
    events.CallReplied: Peer._on_replied,
    events.CallFailed: Peer._on_failed,
    events.CallCancelled: Peer._on_cancelled,
    events.PongReceived: Peer._on_pong,
    events.GoodbyeReceived: Peer._on_goodbye,
}
