"""The conformance suite passes a good service, and finds each thing that can be wrong with one."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from sockserv.errors import InvalidArgument
from sockserv.services import Call, Service, operation
from sockserv.testing import Example, ServiceConformance, check_service


@attrs.frozen
class CountArguments:
    up_to: int = attrs.field(validator=attrs.validators.ge(0))
    step: int = 1
    label: Any = None


class Counter(Service):
    """A good service with every kind of handler."""

    @operation("counter.count", args=CountArguments, permission="counter")
    async def count(self, call: Call[CountArguments]) -> dict[str, int]:
        for number in range(0, call.args.up_to, call.args.step):
            await call.send(b"%d\n" % number)
        return {"last": number}

    @operation("counter.endless", permission="counter")
    async def endless(self, call: Call[Any]) -> None:
        while True:
            await call.send(b"0123456789" * 100)

    @operation("counter.tick", permission="clock")
    async def tick(self, call: Call[Any]) -> None:
        while True:
            await deferLater(call.clock, 1.0)
            await call.send(b"tick\n")

    @operation("counter.sum", permission="counter")
    async def sum(self, call: Call[Any]) -> int:
        total = 0
        async for piece in call.body:
            total += sum(piece)
        return total

    @operation("counter.wait", permission="clock")
    def wait(self, call: Call[Any]) -> Deferred[str]:
        return deferLater(call.clock, 2.0, lambda: "waited")

    @operation("counter.hello", permission=None)
    def hello(self, call: Call[Any]) -> str:
        call.send_last(b"hello")
        return "done"


EXAMPLES = (
    Example("counter.count", {"up_to": 9, "step": 2}),
    Example("counter.count", CountArguments(1_500)),
    Example("counter.endless", ends=False),
    Example("counter.tick", ends=False),
    Example("counter.sum", body=bytes(range(256)) * 100),
    Example("counter.wait"),
    Example("counter.hello"),
)


class TestCounter(ServiceConformance):
    examples = EXAMPLES
    open_to_all = ("counter.hello",)

    def make_service(self) -> Service:
        return Counter()


def test_the_same_as_one_call() -> None:
    one_each = {example.op: example for example in reversed(EXAMPLES)}.values()
    check_service(Counter, tuple(one_each), open_to_all=("counter.hello",))


def test_no_service_no_checks() -> None:
    with pytest.raises(NotImplementedError):
        ServiceConformance().make_service()


class Empty(Service):
    """Nothing at all."""


class OpenToAll(Service):
    @operation("op", permission=None)
    def op(self, call: Call[Any]) -> None:
        """Everybody may call this."""


class NotOpenToAll(Service):
    @operation("op", permission="op")
    def op(self, call: Call[Any]) -> None:
        """Not everybody may call this."""


class Failing(Service):
    @operation("op", permission="op")
    def op(self, call: Call[Any]) -> None:
        raise InvalidArgument("never")


class Endless(Service):
    @operation("op", permission="op")
    def op(self, call: Call[Any]) -> Deferred[None]:
        return Deferred()


class Stubborn(Service):
    """Does not stop when it is cancelled."""

    @operation("op", permission="op")
    async def op(self, call: Call[Any]) -> None:
        while True:
            try:
                await deferLater(call.clock, 1.0)
            except CancelledError:
                continue


class Greedy(Service):
    """Does not wait for its sends."""

    @operation("op", permission="op")
    async def op(self, call: Call[Any]) -> None:
        for _ in range(100):
            Deferred.fromCoroutine(call.send(bytes(1000))).addErrback(lambda failure: None)
            await deferLater(call.clock, 0.01)


class Framer(Service):
    """Takes the borders of the pieces for borders of messages."""

    @operation("op", permission="op")
    async def op(self, call: Call[Any]) -> int:
        return len([piece async for piece in call.body])


@attrs.frozen
class Anything:
    values: dict[str, Any] = attrs.field(factory=dict)


class Unnamed(Service):
    """Refuses arguments without saying which."""

    @operation("op", args=Anything, permission="op")
    def op(self, call: Call[Anything]) -> None:
        """Not reached."""

    def operations(self) -> dict[str, Any]:
        found = super().operations()
        for one in found.values():
            one.decode = self._refuse  # type: ignore[method-assign]  # that is the mistake
        return found

    def _refuse(self, arguments: Any) -> Any:
        raise InvalidArgument("no")


PLAIN = Example("op")
ENDLESS = Example("op", ends=False)


@pytest.mark.parametrize(
    ("service", "example", "check", "message"),
    [
        (Empty, PLAIN, "every_operation_has_an_example", "no operations"),
        (NotOpenToAll, Example("other"), "every_operation_has_an_example", "without an example"),
        (OpenToAll, PLAIN, "every_operation_names_its_permission", "not in open_to_all"),
        (Failing, PLAIN, "examples_are_answered", "failed: InvalidArgument"),
        (Endless, PLAIN, "examples_are_answered", "goes on"),
        (NotOpenToAll, ENDLESS, "examples_are_answered", "has ended"),
        (Stubborn, ENDLESS, "a_cancelled_call_ends", "still runs, though the caller cancelled"),
        (Stubborn, ENDLESS, "a_lost_connection_ends_the_call", "the connection was lost"),
        (Stubborn, ENDLESS, "a_deadline_ends_the_call", "its deadline has passed"),
        (Stubborn, ENDLESS, "revocation_ends_the_call", "the caller was revoked"),
        (Greedy, PLAIN, "a_slow_reader_pauses_the_source", "is a call.send not awaited?"),
        (Framer, Example("op", body=b"0123456789"), "fragments_make_no_difference", "differs"),
        (Unnamed, PLAIN, "unknown_arguments_are_refused", "names no argument"),
        (Unnamed, PLAIN, "wrong_arguments_are_refused", "does not name values"),
    ],
)
def test_a_fault_is_found(
    service: type[Service], example: Example, check: str, message: str
) -> None:
    class Checks(ServiceConformance):
        examples = (example,)

        def make_service(self) -> Service:
            return service()

    with pytest.raises(AssertionError, match=message):
        getattr(Checks(), f"test_{check}")()
