"""Running the handler of a call that the peer opened, and ending the call with what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any

from msgspec import Raw
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import CallCancelled, CallEnded, CallError, InternalError
from sockserv.net.calls import IncomingCall
from sockserv.net.driver import resume
from sockserv.wire.messages import NOTHING, encode_value

__all__ = ["run_handler"]

_log = Logger()


def run_handler(call: IncomingCall, handle: Callable[[IncomingCall], Any]) -> None:
    """Have the call handled; it ends now if its handler waits for nothing, or else later."""
    try:
        timeout_seconds = call.request.timeout
        if timeout_seconds is not None:
            call.start_timer(timeout_seconds)
        result = handle(call)
        if result is None:
            call.reply(NOTHING)
            return
        if result.__class__ is CoroutineType:
            try:
                awaited = result.send(None)
            except StopIteration as stop:
                result = stop.value
            else:
                result = _go_on(call, result, awaited)
        elif isinstance(result, Deferred) and not result.called:
            # It goes on by itself: what it sends is not held back for its next move.
            call.peer.hold()
            call.after_step()
        if isinstance(result, Deferred):
            call.run_on(result)
            result.addCallbacks(_reply, _fail, callbackArgs=(call,), errbackArgs=(call,))
            result.addErrback(_log_failure)
        else:
            call.reply(NOTHING if result is None else _encode(result))
    except Exception:
        _fail(Failure(), call)


def _go_on(call: IncomingCall, handler: Coroutine[Any, Any, Any], awaited: Any) -> Deferred[Any]:
    """The handler waits for something."""
    call.peer.hold()
    call.after_step()
    return resume(handler, awaited, before_step=call.before_step, after_step=call.after_step)


def _reply(result: Any, call: IncomingCall) -> None:
    try:
        call.reply(NOTHING if result is None else _encode(result))
        call.release()
        call.peer.flush()
    except Exception:
        _fail(Failure(), call)


def _encode(result: Any) -> Raw:
    return result if isinstance(result, Raw) else encode_value(result)


def _fail(failure: Failure, call: IncomingCall) -> None:
    error = failure.value
    if isinstance(error, CancelledError) or (isinstance(error, CallEnded) and call.is_cancelled):
        error = CallCancelled("the call was cancelled")
    elif not isinstance(error, CallError):
        if not call.is_ended:
            _log.failure(
                "{op} failed, call {number} of {peer}",
                failure,
                op=call.op,
                number=call.number,
                peer=call.peer,
            )
        error = InternalError(f"{call.op} failed unexpectedly; the other side's log says why")
    call.peer.fail(call, error)
    call.release()


def _log_failure(failure: Failure) -> None:
    _log.failure("ending a call failed", failure)
