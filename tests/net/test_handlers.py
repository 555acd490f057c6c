"""How a handler's end becomes the call's."""

from __future__ import annotations

import pytest

from sockserv.errors import CallCancelled
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
