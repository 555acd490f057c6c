"""A running call, for the two who are in it: `OutgoingCall` at the caller, `IncomingCall` at the callee.

Both are the protocol's own `CallState` with what the network needs besides, so that a small call is
one object, freed as soon as it is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockserv.errors import (
    CallCancelled,
    CallEnded,
    DeadlineExceeded,
    UnexpectedResult,
)
from sockserv.net.body import Body
from sockserv.net.running import RunningCall
from sockserv.wire.messages import NOTHING, decode_value

if TYPE_CHECKING:
    from sockserv.net.peer import Peer

__all__ = ["IncomingCall", "OutgoingCall"]

_HELD_BELOW_BYTES: Final = 16 * 1024

_NULL: Final = Raw(b"null")


class IncomingCall(RunningCall, eq=False):
    """One request of the peer, for the service that answers it.

    `args` is the object that the operation declared, `args_bytes` how long they were, `ended_by` what stopped its
    handler from outside; `allows` says whether it may go on for somebody who has become another, None where nobody has
    said.
    """

    args: Any = None
    args_bytes: int = 0
    _kept_bytes: int = 0
    ended_by: Exception | None = None
    allows: Callable[[Any], bool] | None = None
    _body: Body | None = None
    _held: bytes = b""
    _is_stepping: bool = True
    _running: Deferred[Any] | None = None
    _failure: Exception | None = None

    def start_timer(self, timeout_seconds: float) -> None:
        """Keep to the caller's deadline."""
        self._start_timer(timeout_seconds, self._expire)

    @property
    def op(self) -> str:
        """The name of the operation that is called."""
        return self.request.op

    @property
    def identity(self) -> Any:
        """Who asks; None before the login."""
        return self.peer.identity

    def become(self, identity: Any) -> None:
        """Let the caller's connection be this identity's from now on."""
        self.peer.identity = identity

    @property
    def body(self) -> Body:
        """The bytes that the caller sends."""
        body = self._body
        if body is None:
            self._body = body = Body(self)
            if self.first_body:
                body.feed(0, self.first_body)
                # Once it is consumed, nobody is to hold it.
                self.first_body = b""
            if self.whole_body is not None or self._failure is not None:
                body.end(self._failure)
        return body

    @property
    def taken_bytes(self) -> int:
        """How much of the body has been read piece by piece."""
        return 0 if self._body is None else self._body.taken_bytes

    @property
    def waiting_bytes(self) -> int:
        """How much of the body has come and was not taken."""
        if self.whole_body:
            return len(self.whole_body)
        return len(self.first_body) if self._body is None else self._body.waiting_bytes

    @property
    def held_bytes(self) -> int:
        """How much of it is in memory, with its arguments and what its handler keeps."""
        return super().held_bytes + self.args_bytes + self._kept_bytes

    def keeps(self, count: int) -> None:
        """Say how many bytes of what has come the handler keeps for now."""
        self._kept_bytes = count

    @property
    def clock(self) -> IReactorTime:
        """The clock to measure and wait with."""
        return self.peer.settings.clock

    @property
    def seconds_left(self) -> float | None:
        """How long the caller still waits; None: for ever."""
        if self.request.timeout is None:
            return None
        if self._timer is None:
            return 0.0
        return max(0.0, self._timer.getTime() - self.clock.seconds())

    def goes_on_while(self, allows: Callable[[Any], bool]) -> None:
        """Say for whom this call may go on, when its caller has become another."""
        self.allows = allows

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        """Send the next bytes of the answer; any size.

        Waits while the caller takes no more. `stream` (0 to 255) tells several streams of one answer
        apart; they share the call's window. Raises `CallEnded` when nobody waits for the answer any
        more, so that a stream without end comes to one.
        """
        self._check_open()
        held = self._held
        if (
            self._is_stepping
            and not self.queued_bytes
            and not stream
            and len(data) <= _HELD_BELOW_BYTES
        ):
            # The last small piece waits for the handler's next move: if that is to return, the piece
            # rides with the reply. Not while the caller takes nothing: then it is the handler who waits.
            self._held = data
            if not held:
                return
            data = held
        elif held:
            self._held = b""
            self.peer.send(self, held)
        await self._send(data, stream)
        self._check_open()

    def send_last(self, data: bytes) -> None:
        """Send the last bytes of the answer, of any size, together with the reply.

        Does not wait: for a plain function that has its whole answer at hand.
        """
        held = self._held
        if held:
            self.peer.send(self, held)
        self._held = data

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is sent to the caller within this block goes out when it ends."""
        self.peer.hold()
        try:
            yield
        finally:
            self.peer.release()

    def note(self, *, rule: str | None = None, **facts: Any) -> None:
        """Nobody listens here: an audited call has its own."""

    def _send_held(self) -> None:
        held = self._held
        if held:
            self._held = b""
            self.peer.send(self, held)

    def before_step(self) -> None:
        """The handler is about to run."""
        self._is_stepping = True
        self.peer.hold()

    def after_step(self) -> None:
        """The handler waits for something: what it has sent must go out."""
        self._is_stepping = False
        self._send_held()
        self.peer.release()

    def reply(self, result: Raw) -> None:
        """End the call with success; the last piece sent rides with the reply."""
        self.peer.connection.reply(self, result, self._held)
        if self._timer is not None:
            self.stop_timer()

    def run_on(self, running: Deferred[Any]) -> None:
        """The handler goes on by itself; `cancel` will stop it."""
        self._running = running

    def cancel(self, failure: Exception) -> None:
        """Stop the handler: the caller is gone, or its time is up; `failure` ends the body."""
        self.stop_timer()
        self.ended_by = failure
        if self.whole_body is None:
            self._failure = failure
            if self._body is not None:
                self._body.end(failure)
        if self._running is not None:
            self._running.cancel()
        if self.is_ended:
            # The handler may take long to end, and nothing bounds how many do.
            self.first_body = b""
            if self.whole_body:
                self.whole_body = b""
            # Somebody else than the handler may be sending.
            self._wake_senders()

    def release(self) -> None:
        """The handler has ended: let go of what it has not read, without waiting for the collector."""
        self._running = None
        self.first_body = b""
        if self.whole_body:
            self.whole_body = b""
        if self._body is not None:
            self._body.discard()

    def _check_open(self) -> None:
        # What is sent in a cancelled call is dropped, so that nothing would make its sender wait.
        if self.is_ended or self.is_cancelled:
            raise CallEnded(
                f"nobody waits for the answer of call {self.number}, {self.op}, any more"
            )

    def _expire(self) -> None:
        error = DeadlineExceeded(
            f"{self.op} was not answered within the time that the caller gave it"
        )
        self.peer.fail(self, error)
        self.cancel(error)


class OutgoingCall(RunningCall, eq=False):
    """One request of ours, while it runs.

    Send the request's body with `send` and `end`, read the answer's from `body`, and get the result,
    or the error, from `result`, in any order and at the same time.
    """

    body: Body = None  # type: ignore[assignment]  # set before anybody sees the call
    _is_done: bool = False
    _result: Raw | None = None
    _failure: Exception | None = None
    _waiting: list[Deferred[None]] | None = None
    _timeout_seconds: float | None = None
    _on_end: Callable[[Raw | None, Exception | None], None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """How much of the answer has come and was not taken."""
        return self.body.waiting_bytes

    def begin(self, peer: Peer, timeout_seconds: float | None) -> None:
        """The request is on its way."""
        self.peer = peer
        self.body = Body(self)
        if timeout_seconds is not None:
            self._timeout_seconds = timeout_seconds
            self._start_timer(timeout_seconds, self._expire)

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        """Send the next bytes of the request; any size.

        Waits while the callee takes no more. Raises what the call failed with, if it has failed, and
        `CallEnded` if it has been answered without waiting for the rest.
        """
        self._check_open()
        await self._send(data, stream)
        self._check_open()

    def end(self) -> None:
        """Tell the callee that the request's body is complete."""
        if not self._is_done:
            self.peer.send(self, b"", end=True)

    async def result(self, kind: Any = Any) -> Any:
        """The result, when it comes, as an object of the class `kind`, or as plain values.

        Raises what the call failed with, and `UnexpectedResult` for a result that is none of `kind`.
        """
        return self.decode(await self.raw_result(), kind)

    def decode(self, result: Raw, kind: Any) -> Any:
        """A result as an object of the class `kind`; raises `UnexpectedResult`."""
        if result is NOTHING:
            result = _NULL
        try:
            return decode_value(result, kind)
        except ValueError as error:
            raise UnexpectedResult(f"the result is not what was expected: {error}") from None

    def collect(
        self,
        sink: Callable[[int, bytes], None],
        on_end: Callable[[Raw | None, Exception | None], None],
    ) -> None:
        """Give the pieces of the answer to `sink` as they come, each with the number of its stream, and its end to
        `on_end`.

        `on_end` is given the result as JSON, or what the call failed with. A cheaper way than `body`
        and `result` for who wants all of it; to be called right after the call was opened.
        """
        self.body.pour(sink)
        self._on_end = on_end

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
            self.give_up(CallCancelled("the call was cancelled"))

    def _expire(self) -> None:
        self.give_up(
            DeadlineExceeded(f"the call was not answered within {self._timeout_seconds:g} seconds")
        )

    def give_up(self, failure: Exception) -> None:
        """Give the call up for a reason, which whoever waits gets."""
        self.finish(failure=failure)
        # Who waited to send must know by now: there is nothing left to wait for.
        self.peer.connection.cancel(self)
        self.peer.flush()

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
        self.stop_timer()
        self.body.end(failure)
        self._wake_senders()
        waiting, self._waiting = self._waiting, None
        for waiter in waiting or ():
            if not waiter.called:
                waiter.callback(None)
        if self._on_end is not None:
            self._on_end(result, failure)
