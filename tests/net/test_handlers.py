"""How a handler's end becomes the call's."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from sockserv.errors import CallCancelled
from sockserv.services import Call, NoArguments, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import MemoryServer


def test_a_handler_that_sends_into_a_cancelled_call_has_not_failed() -> None:
    with MemoryServer([Echo()]) as memory:
        client = memory.connect()
        call = memory.run(client.open("echo"))
        memory.flush()
        # Both arrive in one delivery, so that the handler wakes up to a piece in a call that is over.
        memory.run(call.send(b"x"))
        call.cancel()
        with pytest.raises(CallCancelled):
            memory.run(call.raw_result())
        memory.flush()
        assert memory.take_failures() == []


class Later(Service):
    """Answers from a plain function, by and by."""

    def __init__(self) -> None:
        self.call: Call[NoArguments] | None = None
        self.done: Deferred[None] = Deferred()

    @operation("later", permission=None)
    def later(self, call: Call[NoArguments]) -> Deferred[None]:
        self.call = call
        return self.done


def test_what_is_sent_after_a_handler_has_returned_a_deferred_goes_at_once() -> None:
    service = Later()
    with MemoryServer([service]) as memory:
        call = memory.run(memory.connect().open("later"))
        memory.flush()
        assert service.call is not None
        for piece in (b"first", b"second"):
            memory.run(service.call.send(piece))
            memory.flush()
            assert memory.read(call) == piece
        service.done.callback(None)
        assert memory.run(call.result()) is None
