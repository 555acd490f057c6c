"""Calls that the audit log is told of: the operation in between, and what is noted of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from copy import copy
from typing import Any, Final, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from sockserv.errors import AuditUnavailable, CallEnded, CallError, ConnectionEnded
from sockserv.net.body import Body
from sockserv.net.calls import IncomingCall
from sockserv.server.trail import AuditTrail
from sockserv.services.api import Audit, Call, Operation
from sockserv.trust.audit import AuditSink, Event, Record
from sockserv.trust.audit.arguments import fitting, fitting_text, has_secrets
from sockserv.trust.identities import EVERYTHING, Identity

__all__ = ["audited"]

T = TypeVar("T")

_EVERYBODY: Final = "everybody"
"""The rule where an operation needs no permission."""


def audited(operation: Operation, trail: AuditTrail) -> Operation:
    """The operation, with a handler that tells the audit log of each call as the operation has declared it."""
    if trail.sink is None or operation.audit is Audit.NEVER:
        return operation
    told = copy(operation)
    watched = _Watched(operation, trail, trail.sink)
    told.handler = watched.change if operation.audit is Audit.CHANGES else watched.read
    return told


class _Watched:
    """One operation and the audit log."""

    def __init__(self, operation: Operation, trail: AuditTrail, sink: AuditSink) -> None:
        self._name = operation.name
        self._permission = operation.permission
        # With this type it is made sure that our call has all that an operation may use.
        self._handler: Callable[[Call[Any]], Any] = operation.handler
        self._has_secrets = has_secrets(operation.args)
        self._trail = trail
        self._sink = sink

    def read(self, call: IncomingCall) -> Any:
        """Answer a call, and tell how it has ended when that is known. Nobody waits for the log."""
        noted = _NotedCall(call, self._rule(call))
        try:
            result = self._handler(noted)
        except BaseException as error:
            self._sink.record(self._end(noted, error, with_args=True))
            raise
        if isinstance(result, Deferred):
            # Not awaited: there may be thousands that last, and a coroutine would with each.
            return result.addBoth(self._note_end, noted)
        if isinstance(result, Awaitable):
            return self._read_on(noted, result)
        self._sink.record(self._end(noted, None, with_args=True))
        return result

    def _note_end(self, outcome: Any, noted: _NotedCall) -> Any:
        error = outcome.value if isinstance(outcome, Failure) else None
        self._sink.record(self._end(noted, error, with_args=True))
        return outcome

    async def _read_on(self, noted: _NotedCall, result: Awaitable[Any]) -> Any:
        error: BaseException | None = None
        try:
            return await result
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._sink.record(self._end(noted, error, with_args=True))

    async def change(self, call: IncomingCall) -> Any:
        """Answer a call once the disk knows that it begins, and let the answer go when it knows how it ended."""
        noted = _NotedCall(call, self._rule(call))
        try:
            await self._sink.write(self._record(Event.BEGIN, noted, args=fitting(call.args)))
        except BaseException as error:
            # It may be on the disk all the same, now or later.
            self._sink.record(self._end(noted, error))
            raise
        try:
            result = self._handler(noted)
            if isinstance(result, Awaitable):
                result = await result
        except Exception as error:
            await self._ended(noted, error)
            raise
        except BaseException as error:
            # Nobody drives this coroutine on.
            self._sink.record(self._end(noted, error))
            raise
        await self._ended(noted, None)
        return result

    async def _ended(self, noted: _NotedCall, error: Exception | None) -> None:
        end = self._end(noted, error)
        if noted.is_deserted:
            self._sink.record(end)
            return
        try:
            await self._sink.write(end)
        except AuditUnavailable as unavailable:
            raise AuditUnavailable(
                f"{self._name} was carried out, but how it ended ({end.outcome}) could not be written to "
                "the audit log: find out before you do it again",
                details={"done": True},
            ) from unavailable

    def _rule(self, call: IncomingCall) -> str:
        """What lets the caller do this."""
        identity: Identity = call.peer.identity
        if self._permission is None:
            return _EVERYBODY
        return self._permission if self._permission in identity.permissions else EVERYTHING

    def _end(
        self, noted: _NotedCall, error: BaseException | None, *, with_args: bool = False
    ) -> Record:
        outcome, why = _outcome(noted.call, error)
        return self._record(
            Event.END,
            noted,
            args=fitting(noted.args) if with_args else None,
            outcome=outcome,
            why=None if why is None or self._has_secrets else fitting_text(why),
            received_bytes=noted.received_bytes,
            sent_bytes=noted.sent_bytes,
            seconds=round(max(0.0, noted.clock.seconds() - noted.begun), 6),
            facts=fitting(noted.facts),
        )

    def _record(self, event: Event, noted: _NotedCall, **fields: Any) -> Record:
        call = noted.call
        return Record(
            event=event,
            **self._trail.about(call.peer),
            call=call.number,
            op=self._name,
            rule=noted.rule,
            **fields,
        )


def _outcome(call: IncomingCall, error: BaseException | None) -> tuple[str, str | None]:
    """How a call has ended, and more about it in words."""
    if error is None:
        return "ok", None
    if isinstance(error, CancelledError | CallEnded | GeneratorExit):
        # That is how the handler learns of it; what it is stands elsewhere.
        error = call.ended_by or error
    if isinstance(error, CallError):
        return error.wire_code, error.message
    if isinstance(error, ConnectionEnded):
        return "disconnected", None
    if isinstance(error, CancelledError | GeneratorExit):
        return "cancelled", None
    return "internal", type(error).__name__


class _NotedCall:
    """A call as its operation sees it, with what the operation does noted; see `sockserv.services.Call`."""

    def __init__(self, call: IncomingCall, rule: str) -> None:
        self.call = call
        self.rule = rule
        self.facts: dict[str, Any] = {}
        self.begun = call.clock.seconds()
        self._whole_bytes = 0
        self._sent_bytes = 0

    # For the log

    @property
    def received_bytes(self) -> int:
        """How much of the request's body the operation has taken."""
        return self._whole_bytes or self.call.taken_bytes

    @property
    def sent_bytes(self) -> int:
        """How much of the answer's body the operation has handed over to be sent."""
        return self._sent_bytes + self.call.file_bytes

    @property
    def is_deserted(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.call.is_ended or self.call.is_cancelled

    # For the operation

    @property
    def args(self) -> Any:
        """The arguments."""
        return self.call.args

    @property
    def identity(self) -> Identity:
        """Who asks."""
        identity: Identity = self.call.identity
        return identity

    def become(self, identity: Identity) -> None:
        """Let the caller's connection be this identity's from now on."""
        self.call.become(identity)

    @property
    def body(self) -> Body:
        """The bytes that the caller sends."""
        return self.call.body

    @property
    def clock(self) -> IReactorTime:
        """The clock to measure and wait with."""
        return self.call.clock

    @property
    def seconds_left(self) -> float | None:
        """How long the caller still waits."""
        return self.call.seconds_left

    @property
    def ended_by(self) -> Exception | None:
        """Why the operation was stopped from outside."""
        return self.call.ended_by

    def goes_on_while(self, allows: Callable[[Identity], bool]) -> None:
        """Say whether it may go on when its caller holds something else."""
        self.call.goes_on_while(allows)

    def keeps(self, count: int) -> None:
        """Say how many bytes of what has come it keeps for now."""
        self.call.keeps(count)

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        """Send the next bytes of the answer."""
        self._sent_bytes += len(data)
        await self.call.send(data, stream=stream)

    @property
    def whole_body(self) -> bytes | None:
        """The body, if all of it came with the request."""
        body = self.call.whole_body
        self._whole_bytes = len(body or b"")
        return body

    def send_last(self, data: bytes) -> None:
        """Send the last bytes of the answer with the reply."""
        self._sent_bytes += len(data)
        self.call.send_last(data)

    async def send_file(self, file: int, *, offset: int = 0, count: int | None = None) -> int:
        """Send an open file."""
        return await self.call.send_file(file, offset=offset, count=count)

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Call a blocking function in a thread."""
        result: T = await self.call.in_thread(function, *args)
        return result

    def together(self) -> AbstractContextManager[None]:
        """What is sent within this block goes out when it ends."""
        return self.call.together()

    def note(self, *, rule: str | None = None, **facts: Any) -> None:
        """Tell the audit log more about this call."""
        if rule is not None:
            self.rule = fitting_text(rule)
        self.facts.update(facts)
