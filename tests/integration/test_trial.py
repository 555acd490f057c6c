"""The test kit in a test case of trial's.

It is here because pytest does much more for each test of a run, once trial has been imported.
"""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sockserv.errors import InternalError
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import MemoryServer


class Faulty(Service):
    @operation("faulty.crash", permission=None)
    def crash(self, call: Call[Any]) -> None:
        raise KeyError("nobody thought of this")

    @operation("faulty.hang", permission=None)
    async def hang(self, call: Call[Any]) -> None:
        await Deferred()


class TrialTest(SynchronousTestCase):
    """The kit in a test case of trial's, without a reactor."""

    def test_echo(self) -> None:
        with MemoryServer([Echo()]) as memory:
            reply = memory.run(memory.connect().call("echo", body=b"hello"))
            assert reply.body == b"hello"

    def test_a_deadlock_is_a_failure(self) -> None:
        with MemoryServer([Faulty()]) as memory:
            waiting = memory.connect().call("faulty.hang")
            waiting.addErrback(lambda failure: None)
            with contextlib.suppress(AssertionError):
                memory.run(waiting)
                raise ValueError("it was not raised")

    def test_trial_sees_what_handlers_raise_too(self) -> None:
        with MemoryServer([Faulty()]) as memory:
            crashing = memory.connect().call("faulty.crash")
            memory.flush()
            self.failureResultOf(crashing, InternalError)
            assert len(memory.take_failures()) == 1
        assert len(self.flushLoggedErrors(KeyError)) == 1
