"""Flow control: who sends more than the other takes waits, and nobody else does."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sockserv.errors import CallEnded
from sockserv.services import Call, Service, operation
from sockserv.testing import Link, MemoryServer


class Late(Service):
    """Answers after a while."""

    @operation("late.coroutine", permission="late")
    async def coroutine(self, call: Call[Any]) -> str:
        await deferLater(call.clock, 1.0)
        return "late"

    @operation("late.deferred", permission="late")
    def deferred(self, call: Call[Any]) -> Deferred[str]:
        return deferLater(call.clock, 1.0, lambda: "late")


@pytest.mark.parametrize("op", ["late.coroutine", "late.deferred"])
def test_an_answer_goes_out_when_it_is_there(op: str) -> None:
    """Not only with the next delivery."""
    with MemoryServer([Late()]) as memory:
        client = memory.connect()
        assert memory.run(client.call(op), max_seconds=1.0).result == "late"
        assert memory.clock.seconds() == 1.0


class Detached(Service):
    """Sends from outside of its handler, and for ever."""

    def __init__(self) -> None:
        self.sent = 0
        self.failure: Exception | None = None

    @operation("detached.send", permission="detached")
    async def send(self, call: Call[Any]) -> None:
        Deferred.fromCoroutine(self._send_on(call))
        await Deferred()

    async def _send_on(self, call: Call[Any]) -> None:
        try:
            while True:
                await call.send(bytes(1000))
                self.sent += 1000
        except CallEnded as error:
            self.failure = error


@pytest.mark.parametrize("end", ["cancel", "deadline", "cut"])
def test_a_stream_without_end_comes_to_one_with_its_call(end: str) -> None:
    service = Detached()
    link = Link()
    with MemoryServer([service]) as memory:
        client = memory.connect(link=link)
        call = memory.run(client.open("detached.send", timeout_seconds=5.0))
        memory.flush()
        assert service.sent > 0
        assert service.failure is None
        if end == "cancel":
            call.cancel()
        elif end == "cut":
            link.cut()
        memory.advance(5.0 if end == "deadline" else 0.0)
        assert "has ended already" in str(service.failure)
