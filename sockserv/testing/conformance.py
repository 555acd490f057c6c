"""What every service has to keep to, as tests that anybody can run on a service of their own.

::

    class TestTicker(ServiceConformance):
        examples = [Example("ticker.once"), Example("ticker.run", {"count": 3})]

        def make_service(self) -> Service:
            return Ticker()

pytest collects that as it stands; for unittest and trial let the class derive from a TestCase, too.
`check_service` runs the same checks from anywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, ClassVar, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockserv.client import Client, OutgoingCall
from sockserv.errors import (
    ConnectionEnded,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    SockservError,
)
from sockserv.limits import Limits
from sockserv.services import Operation, Service
from sockserv.testing.fragments import RandomSizes
from sockserv.testing.link import Link
from sockserv.testing.network import MemoryNetwork
from sockserv.testing.server import MemoryServer
from sockserv.testing.watching import Watched
from sockserv.trust import Identity

__all__ = ["Example", "ServiceConformance", "check_service"]

_WINDOW_BYTES: Final = 16 * 1024
_READ_BYTES: Final = 4 * _WINDOW_BYTES
_TIGHT: Final = Limits(window_bytes=_WINDOW_BYTES, send_buffer_bytes=_WINDOW_BYTES, max_calls=1)
"""So little that a short example fills it, and that a call which is not freed is in the way."""

_WRONG_VALUES: Final[Sequence[Any]] = (None, [[]], {"": {}}, -0.5, "\x00", True)


@attrs.frozen
class Example:
    """A call that the service answers with success, for the checks to make.

    `op`, `args` and `body` are the request's. `ends` says whether the answer comes to an end by itself,
    `repeats` whether it is the same each time.
    """

    op: str
    args: Any = None
    body: bytes = b""
    ends: bool = attrs.field(default=True, kw_only=True)
    repeats: bool = attrs.field(default=True, kw_only=True)


class ServiceConformance:
    """The checks; subclass it, make your service, and give at least one example for each operation.

    `open_to_all` names the operations that need no permission, on purpose, and `also_held` permissions that
    operations look for besides their own. `patience_seconds` is how much time passes on the clock for answers
    that come slowly, and for handlers that need some to end after a cancellation. `clock` is what the calls of the
    next service go by that is made.
    """

    examples: ClassVar[Sequence[Example]] = ()
    open_to_all: ClassVar[Collection[str]] = ()
    also_held: ClassVar[Collection[str]] = ()
    patience_seconds: ClassVar[float] = 10.0
    clock = Clock()

    def make_service(self) -> Service:
        """A new service, for one check."""
        raise NotImplementedError

    # What is declared

    def test_every_operation_has_an_example(self) -> None:
        """What has no example is not checked."""
        operations = self.make_service().operations().keys()
        shown = {example.op for example in self.examples}
        assert operations, "the service has no operations"
        assert operations == shown, f"without an example: {sorted(operations - shown)}"

    def test_every_operation_names_its_permission(self) -> None:
        """Or is said to be open to all."""
        for operation in self.make_service().operations().values():
            if operation.name in self.open_to_all:
                assert operation.permission is None, f"{operation} is not open to all"
            else:
                assert operation.permission, f"{operation} is open to all, and not in open_to_all"

    def test_examples_are_answered(self) -> None:
        """Each ends with a result, or goes on, as it says."""
        for example in self.examples:
            with _Run(self) as run:
                answer = run.answer(example)
                assert answer.failure is None, f"{example} failed: {answer.failure!r}"
                assert answer.has_ended == example.ends, (
                    f"{example} {'has ended' if answer.has_ended else 'goes on'}"
                )

    # What is refused

    def test_without_its_permission_an_operation_is_refused(self) -> None:
        """All the other permissions of the service do not help."""
        for operation, example in self._operations():
            if operation.permission is not None:
                with _Run(self, without=operation.permission) as run:
                    run.expect(PermissionDenied, example.op, example.args)

    def test_unknown_arguments_are_refused(self) -> None:
        """They may be a misspelt optional one."""
        for operation, example in self._operations():
            with _Run(self) as run:
                args = {**_plain(example.args), "no_such_argument": 1}
                error = run.expect(InvalidArgument, operation.name, args)
                assert "no_such_argument" in str(error), f"{operation}: {error} names no argument"

    def test_missing_arguments_are_refused(self) -> None:
        """Those without a default have to be there."""
        for operation, example in self._operations():
            for field in attrs.fields(operation.args):
                if field.default is attrs.NOTHING:
                    args = _plain(example.args)
                    args.pop(field.name, None)
                    self._expect_invalid(operation, args, field.name)

    def test_wrong_arguments_are_refused(self) -> None:
        """A value of another type does not reach the handler."""
        for operation, example in self._operations():
            for field in attrs.fields(operation.args):
                for value in _WRONG_VALUES:
                    args = {**_plain(example.args), field.name: value}
                    if not _is_accepted(operation, args):
                        self._expect_invalid(operation, args, field.name)

    # How calls end

    def test_a_cancelled_call_ends(self) -> None:
        """Its handler stops, and the caller may make another call."""
        for example in self.examples:
            with _Run(self) as run:
                call = run.open(example)
                call.cancel()
                run.pass_time(self.patience_seconds)
                run.check_ended(example, "the caller cancelled")
                run.open(example)
                assert run.service.entered == 2, f"{example}: a cancelled call is still in the way"

    def test_a_lost_connection_ends_the_call(self) -> None:
        """Nobody is there any more to answer to."""
        for example in self.examples:
            link = Link()
            with _Run(self, link=link) as run:
                call = run.open(example)
                link.cut()
                run.pass_time(self.patience_seconds)
                run.check_ended(example, "the connection was lost")
                failure = run.outcome_of(call.raw_result())
                assert failure is None or isinstance(failure, ConnectionEnded), repr(failure)

    def test_a_deadline_ends_the_call(self) -> None:
        """On the server's side, too, when the caller cannot say so."""
        for example in self.examples:
            link = Link()
            with _Run(self, link=link) as run:
                call = run.open(example, timeout_seconds=5.0)
                link.to_server.stall()
                run.pass_time(5.0 + self.patience_seconds)
                run.check_ended(example, "its deadline has passed")
                failure = run.outcome_of(call.raw_result())
                assert failure is None or isinstance(failure, DeadlineExceeded), repr(failure)

    def test_revocation_ends_the_call(self) -> None:
        """Who may not be here any more does nothing more."""
        for example in self.examples:
            with _Run(self) as run:
                call = run.open(example)
                run.revoke()
                run.pass_time(self.patience_seconds)
                run.check_ended(example, "the caller was revoked")
                failure = run.outcome_of(call.raw_result())
                assert failure is None or isinstance(failure, PermissionDenied), repr(failure)

    # What goes over the wire

    def test_a_slow_reader_pauses_the_source(self) -> None:
        """A caller that does not read costs one window, not the whole answer."""
        for example in self.examples:
            with _Run(self) as run:
                run.open(example, end=True)
                run.pass_time(self.patience_seconds)
                service = run.service
                bound = 2 * _WINDOW_BYTES + 2 * service.largest_piece
                assert service.sent_bytes <= bound, (
                    f"{example}: {service.sent_bytes} bytes were sent to a caller that reads "
                    f"nothing; at most {bound} fit: is a call.send not awaited?"
                )

    def test_fragments_make_no_difference(self) -> None:
        """Nor does it matter how the network cuts the request and the answer."""
        for example in self.examples:
            with _Run(self) as run:
                expected = run.answer(example)
            for fragments in _FRAGMENTS:
                with _Run(self, link=Link(fragments=fragments())) as run:
                    answer = run.answer(example)
                assert answer.failure is None, f"{example}, in fragments: {answer.failure!r}"
                if example.repeats:
                    answer.check_same(expected, example)

    def _operations(self) -> Iterable[tuple[Operation, Example]]:
        operations = self.make_service().operations()
        examples = {example.op: example for example in reversed(self.examples)}
        return [(operations[name], examples[name]) for name in examples]

    def _expect_invalid(self, operation: Operation, args: Mapping[str, Any], field: str) -> None:
        with _Run(self) as run:
            error = run.expect(InvalidArgument, operation.name, args)
            assert field in str(error), f"{operation}: {error} does not name {field}"


def check_service(
    make_service: Callable[[], Service],
    examples: Sequence[Example],
    *,
    open_to_all: Collection[str] = (),
    patience_seconds: float = 10.0,
) -> None:
    """Run all checks of `ServiceConformance` on a service; raises `AssertionError` for the first breach.

    Parameters as the attributes there.
    """
    checks = ServiceConformance()
    checks.make_service = make_service  # type: ignore[method-assign]  # that is what it is for
    checks.examples = examples  # type: ignore[misc]  # this instance's own
    checks.open_to_all = open_to_all  # type: ignore[misc]
    checks.patience_seconds = patience_seconds  # type: ignore[misc]
    for name in dir(checks):
        if name.startswith("test_"):
            getattr(checks, name)()


_FRAGMENTS: Final[Sequence[Callable[[], Iterable[int]]]] = (
    # The first bytes one by one, hello and login among them.
    lambda: chain(repeat(1, 4096), RandomSizes(0)),
    lambda: RandomSizes(1),
    lambda: RandomSizes(2, 256),
)


@attrs.define
class _Answer:
    """What came of an example: as much of the body as was read, and the result if it ended."""

    body: bytearray = attrs.field(factory=bytearray)
    result: bytes | None = None
    failure: Exception | None = None

    @property
    def has_ended(self) -> bool:
        return self.result is not None or self.failure is not None

    def check_same(self, other: _Answer, example: Example) -> None:
        if example.ends:
            assert self.body == other.body, f"{example}: the body differs"
            assert self.result == other.result, f"{example}: the result differs"
        else:
            size = min(len(self.body), len(other.body))
            assert self.body[:size] == other.body[:size], f"{example}: the body differs"


class _Run:
    """One client of the service in memory, under observation."""

    def __init__(
        self, checks: ServiceConformance, *, without: str | None = None, link: Link | None = None
    ) -> None:
        network = MemoryNetwork()
        checks.clock = network.clock
        self.service = Watched(checks.make_service())
        self._patience_seconds = checks.patience_seconds
        permissions = {
            operation.permission
            for operation in self.service.operations().values()
            if operation.permission not in (None, without)
        }
        held = frozenset(filter(None, permissions)).union(checks.also_held)
        identity = Identity("somebody", held)
        self._memory = MemoryServer([self.service], limits=_TIGHT, network=network)
        self._client: Client = self._memory.connect(identity, link=link, limits=_TIGHT)

    def __enter__(self) -> _Run:
        self._memory.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._memory.__exit__(*error)

    def revoke(self) -> None:
        self._memory.server.reconsider(lambda identity: None)

    def pass_time(self, seconds: float) -> None:
        self._memory.advance(seconds)

    def open(
        self, example: Example, *, end: bool = False, timeout_seconds: float | None = None
    ) -> OutgoingCall:
        """Make the call, and read nothing of the answer; without `end` the body has no end."""
        call = self._memory.run(
            self._client.open(example.op, example.args, timeout_seconds=timeout_seconds)
        )
        self.outcome_of(_send(call, example.body, end=end), wait=False)
        self._memory.flush()
        return call

    def answer(self, example: Example) -> _Answer:
        """Make the call, and read what comes of it: all, or a few windows of what does not end."""
        call = self._memory.run(self._client.open(example.op, example.args))
        self.outcome_of(_send(call, example.body, end=True), wait=False)
        answer = _Answer()
        reading = _read(call, answer, None if example.ends else _READ_BYTES)
        answer.failure = self.outcome_of(reading)
        return answer

    def expect(self, kind: type[SockservError], op: str, args: Any) -> Exception:
        """Make a call that is to be refused before its handler is entered."""
        failure = self.outcome_of(self._client.call(op, args))
        assert isinstance(failure, kind), f"{op} with {args}: {failure!r}, and not {kind.__name__}"
        assert not self.service.entered, f"{op} with {args}: refused, but its handler was entered"
        return failure

    def check_ended(self, example: Example, why: str) -> None:
        assert not self.service.running, f"{example}: its handler still runs, though {why}"

    def outcome_of(self, awaitable: Awaitable[Any], *, wait: bool = True) -> Exception | None:
        """What an awaitable raises; None if nothing, or if it still waits when time is up."""
        failures: list[Exception] = []

        async def watch() -> None:
            try:
                await awaitable
            except SockservError as error:
                failures.append(error)

        Deferred.fromCoroutine(watch())
        if wait:
            self._memory.advance(self._patience_seconds)
        return failures[0] if failures else None


async def _send(call: OutgoingCall, body: bytes, *, end: bool) -> None:
    if body:
        await call.send(body)
    if end:
        call.end()


async def _read(call: OutgoingCall, answer: _Answer, max_bytes: int | None) -> None:
    async for piece in call.body:
        answer.body += piece
        if max_bytes is not None and len(answer.body) >= max_bytes:
            return
    answer.result = bytes(await call.raw_result())


def _plain(args: Any) -> dict[str, Any]:
    """Arguments as the JSON object that they become."""
    if args is None:
        return {}
    plain: dict[str, Any] = msgspec.to_builtins(args)
    return plain


def _is_accepted(operation: Operation, args: Mapping[str, Any]) -> bool:
    try:
        operation.decode(msgspec.Raw(msgspec.json.encode(args)))
    except InvalidArgument:
        return False
    return True
