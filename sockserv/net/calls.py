"""A running call, for the two who are in it: `OutgoingCall` at the caller, `IncomingCall` at the callee."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sockserv.errors import CallCancelled, CallEnded, DeadlineExceeded
from sockserv.net.body import Body
from sockserv.wire.calls import CallState
from sockserv.wire.messages import Open

if TYPE_CHECKING:
    from sockserv.net.peer import Peer

__all__ = ["IncomingCall", "OutgoingCall"]

_HELD_BELOW_BYTES: Final = 16 * 1024
_FILE_PIECE_BYTES: Final = 256 * 1024


class _RunningCall:
    """What both sides of a call can do."""

    __slots__ = ("_drained", "_peer", "_state", "_timer", "body")

    body: Body
    """The bytes that the other side sends."""

    def __init__(self, peer: Peer, state: CallState) -> None:
        self._peer = peer
        self._state = state
        state.owner = self
        self._drained: list[Deferred[None]] | None = None
        self._timer: IDelayedCall | None = None
        self.body = Body(self._consumed)

    @property
    def state(self) -> CallState:
        """The call as the protocol sees it."""
        return self._state

    @property
    def number(self) -> int:
        """The number of the call on its connection."""
        return self._state.number

    def _consumed(self, count: int) -> None:
        state = self._state
        if state.is_receiving and not state.is_ended:
            self._peer.consume(state, count)

    async def _queue(self, data: bytes, stream: int, *, end: bool) -> None:
        """Hand bytes to the connection; waits while too many of this call are unsent."""
        peer = self._peer
        peer.send(self._state, data, stream, end)
        while (
            self._state.queued_bytes > peer.settings.limits.send_buffer_bytes
            and not self._state.is_ended
        ):
            waiting: Deferred[None] = Deferred()
            if self._drained is None:
                self._drained = []
            self._drained.append(waiting)
            await waiting

    def on_drained(self) -> None:
        """Some queued bytes have gone; lets those go on who wait for it."""
        if (
            self._drained
            and self._state.queued_bytes * 2 <= self._peer.settings.limits.send_buffer_bytes
        ):
            drained, self._drained = self._drained, None
            for waiting in drained:
                if not waiting.called:
                    waiting.callback(None)

    def _start_timer(self, seconds: float, expire: Callable[[], None]) -> None:
        self._timer = self._peer.settings.clock.callLater(seconds, expire)

    def stop(self) -> None:
        """The call has ended: its deadline means nothing any more."""
        timer = self._timer
        if timer is not None:
            self._timer = None
            if timer.active():
                timer.cancel()


class IncomingCall(_RunningCall):
    """One request of the peer, for the service that answers it.

    `args` is the object that the operation declared; `identity` who asks.
    """

    __slots__ = ("_held", "_is_cancelled", "_is_stepping", "_request", "_running", "args")

    def __init__(self, peer: Peer, state: CallState, request: Open) -> None:
        super().__init__(peer, state)
        self._request = request
        self.args: Any = None
        self._held: bytes | None = None
        self._is_stepping = True
        self._is_cancelled = False
        self._running: Deferred[Any] | None = None
        if request.timeout is not None:
            self._start_timer(request.timeout, self._expire)

    @property
    def op(self) -> str:
        """The name of the operation that is called."""
        return self._request.op

    @property
    def raw_args(self) -> Raw:
        """The arguments as JSON, or nothing at all."""
        return self._request.args

    @property
    def peer(self) -> Peer:
        """The connection that the call came on."""
        return self._peer

    @property
    def identity(self) -> Any:
        """Who asks; None before the login."""
        return self._peer.identity

    @property
    def clock(self) -> IReactorTime:
        """The clock to measure and wait with."""
        return self._peer.settings.clock

    @property
    def seconds_left(self) -> float | None:
        """How long the caller still waits; None: for ever."""
        if self._request.timeout is None:
            return None
        if self._timer is None:
            return 0.0
        return max(0.0, self._timer.getTime() - self._peer.settings.clock.seconds())

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        """Send the next bytes of the answer; any size.

        Waits while the caller takes no more. `stream` (0 to 255) tells several streams of one answer
        apart; they share the call's window.
        """
        held = self._held
        if self._is_stepping and not stream and len(data) <= _HELD_BELOW_BYTES:
            # The last small piece waits for the handler's next move: if that is to return, the piece
            # rides with the reply.
            self._held = data
            if held is None:
                return
            data = held
        elif held is not None:
            self._held = None
            self._peer.send(self._state, held, 0, False)
        await self._queue(data, stream, end=False)

    async def send_file(self, file: int, *, offset: int = 0, count: int | None = None) -> int:
        """Send `count` bytes (None: all) of the open file `file` from `offset` on.

        Returns how many there were: fewer than `count` when the file ends before.
        """
        sent = 0
        while count is None or sent < count:
            size = _FILE_PIECE_BYTES if count is None else min(_FILE_PIECE_BYTES, count - sent)
            piece = await self.in_thread(os.pread, file, size, offset + sent)
            if not piece:
                break
            sent += len(piece)
            await self.send(piece)
        return sent

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a blocking function in a thread, and wait for what it returns."""
        return await self._peer.settings.in_thread(function, *args)

    def before_step(self) -> None:
        """The handler is about to run."""
        self._is_stepping = True
        self._peer.hold()

    def after_step(self) -> None:
        """The handler waits for something: what it has sent must go out."""
        self._is_stepping = False
        held = self._held
        if held is not None:
            self._held = None
            self._peer.send(self._state, held, 0, False)
        self._peer.release()

    def take_held(self) -> bytes:
        """The piece that rides with the reply."""
        held, self._held = self._held, None
        return held or b""

    def run_on(self, running: Deferred[Any]) -> None:
        """The handler goes on by itself; `cancel` will stop it."""
        self._running = running

    def cancel(self, failure: Exception) -> None:
        """Stop the handler: the caller is gone, or its time is up; `failure` ends the body."""
        self.stop()
        self.body.end(failure)
        if self._running is not None:
            self._running.cancel()

    def _expire(self) -> None:
        error = DeadlineExceeded(
            f"the call was not answered within its {self._request.timeout:g} seconds"
        )
        self._peer.fail(self, error)
        self.cancel(error)


class OutgoingCall(_RunningCall):
    """One request of ours, while it runs.

    Send the request's body with `send` and `end`, read the answer's from `body`, and get the result,
    or the error, from `result`, in any order and at the same time.
    """

    __slots__ = ("_failure", "_is_done", "_result", "_timeout_seconds", "_waiting")

    def __init__(self, peer: Peer, state: CallState, timeout_seconds: float | None) -> None:
        super().__init__(peer, state)
        self._is_done = False
        self._result: Raw | None = None
        self._failure: Exception | None = None
        self._waiting: list[Deferred[None]] | None = None
        self._timeout_seconds = timeout_seconds
        if timeout_seconds is not None:
            self._start_timer(timeout_seconds, self._expire)

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        """Send the next bytes of the request; any size.

        Waits while the callee takes no more. Raises what the call failed with, if it has failed, and
        `CallEnded` if it has been answered without waiting for the rest.
        """
        self._check_open()
        await self._queue(data, stream, end=False)
        self._check_open()

    def end(self) -> None:
        """Tell the callee that the request's body is complete."""
        if not self._is_done:
            self._peer.send(self._state, b"", 0, True)

    async def raw_result(self) -> Raw:
        """The result as JSON, when it comes; raises what the call failed with."""
        while not self._is_done:
            waiting: Deferred[None] = Deferred()
            if self._waiting is None:
                self._waiting = []
            self._waiting.append(waiting)
            await waiting
        if self._failure is not None:
            raise self._failure
        assert self._result is not None
        return self._result

    def cancel(self) -> None:
        """Give the call up: the callee is told to stop, and whoever waits gets `CallCancelled`."""
        if not self._is_done:
            self._give_up(CallCancelled("the call was cancelled"))

    def _expire(self) -> None:
        self._give_up(
            DeadlineExceeded(f"the call was not answered within {self._timeout_seconds:g} seconds")
        )

    def _give_up(self, failure: Exception) -> None:
        self._peer.cancel(self._state)
        self.finish(failure=failure)

    def _check_open(self) -> None:
        if self._is_done:
            raise self._failure or CallEnded("the call has been answered already")

    # For the connection

    def finish(self, *, result: Raw | None = None, failure: Exception | None = None) -> None:
        """The call has ended, with a result or a failure."""
        if self._is_done:
            return
        self._is_done = True
        self._result = result
        self._failure = failure
        self.stop()
        self.body.end(failure)
        drained, self._drained = self._drained, None
        waiting, self._waiting = self._waiting, None
        for waiter in (*(drained or ()), *(waiting or ())):
            if not waiter.called:
                waiter.callback(None)
