"""What a service is made of: operations, and the calls that they answer.

::

    @attrs.frozen
    class CountArguments:
        up_to: int
        step: int = 1

    class Counter(Service):
        @operation("counter.count", args=CountArguments, permission="counter")
        async def count(self, call: Call[CountArguments]) -> dict[str, int]:
            for number in range(0, call.args.up_to, call.args.step):
                await call.send(b"%d\\n" % number)
            return {"last": number}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime

from sockserv.errors import InvalidArgument
from sockserv.trust.identities import Identity

__all__ = ["Audit", "Body", "Call", "NoArguments", "Operation", "Service", "operation"]

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
S = TypeVar("S", bound="Service")
T = TypeVar("T")

_DECLARATION: Final = "__sockserv_operation__"


class Audit(Enum):
    """What the audit log is told of the calls of an operation."""

    NEVER = "never"
    """Nothing, unless the caller lacks the permission: for what neither shows nor changes anything."""
    READS = "reads"
    """How each call has ended. Nobody waits until that is written."""
    CHANGES = "changes"
    """That a call begins, and how it has ended. Each is on the disk before things go on."""


Piece: TypeAlias = bytes | memoryview
"""What comes of a body at once."""


class Body(Protocol):
    """The bytes of a request, as they come: an asynchronous iterator of `bytes`, never empty ones.

    The caller may send one window ahead of what has been taken here. Iterating raises a
    `SockservError` when the request breaks off before its end.
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def read(self, *, max_bytes: int) -> bytes:
        """All that is left, in one piece; raises `BodyTooLarge` beyond `max_bytes`."""

    async def take(self) -> tuple[int, bytes] | None:
        """The next piece with the number of its stream; None at the end."""

    async def take_view(self) -> tuple[int, Piece] | None:
        """The same, but a large piece may be a view of what has come, of which nothing is copied.

        All that came with it, twice its size at most, stays in memory as long as any part of the view: who keeps a
        little of it makes that `bytes`. In tests in memory most pieces are too small to be views.
        """

    async def take_all(self) -> list[tuple[int, bytes]] | None:
        """All pieces that have come by now, at least one; None at the end. For who takes them to a thread."""

    def listen(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when a piece has come, and when no more will: for who would wait for long, beside many
        others.
        """

    def next_piece(self) -> bytes | None:
        """The next piece, if one has come, else None; raises as iterating does."""

    def discard(self) -> None:
        """Let go of what was not taken: nobody will read it, or what may still come."""

    @property
    def is_at_end(self) -> bool:
        """Whether all of it has come, and was taken."""


class Call(Protocol[A_co]):
    """One request, while it is being answered.

    What the operation returns is the result: None, or anything that JSON can express (attrs classes
    too). Raise a `CallError` to refuse. When the caller cancels, is gone, or its deadline has
    passed, whatever the operation awaits is cancelled.
    """

    @property
    def args(self) -> A_co:
        """The arguments, as the class that the operation declared."""

    @property
    def identity(self) -> Identity:
        """Who asks."""

    def become(self, identity: Identity) -> None:
        """Let the caller's connection be this identity's from now on: for an operation that changes how it has logged
        in.
        """

    @property
    def body(self) -> Body:
        """The bytes that the caller sends."""

    @property
    def clock(self) -> IReactorTime:
        """The clock to measure and wait with; in a test it is one that the test moves."""

    @property
    def seconds_left(self) -> float | None:
        """How long the caller still waits; None: for ever."""

    @property
    def ended_by(self) -> Exception | None:
        """Why the operation was stopped from outside, None as long as it was not.

        `CallCancelled` by the caller, `DeadlineExceeded`, `PermissionDenied` when that was taken away, or
        `ConnectionEnded`.
        """

    def goes_on_while(self, allows: Callable[[Identity], bool]) -> None:
        """Say whether this call may go on when its caller holds something else under the permission that it needs.

        `allows` is given who the caller is then, who still has the permission. Where nothing is said, the call ends.
        """

    def keeps(self, count: int) -> None:
        """Say how many bytes of what has come the operation keeps for now: they count for all that the server holds.

        For who takes much of a body before it can do anything with it. What was said last counts, until the call ends.
        """

    async def send(self, data: bytes, *, stream: int = 0) -> None:
        """Send the next bytes of the answer, of any size; waits while the caller takes no more.

        `stream` (0 to 255) tells several streams of one answer apart.
        """

    @property
    def whole_body(self) -> bytes | None:
        """The body, if all of it came with the request, as a small one does; else None."""

    def send_last(self, data: bytes) -> None:
        """Send the last bytes of the answer with the reply, without waiting."""

    async def send_file(self, file: int, *, offset: int = 0, count: int | None = None) -> int:
        """Send `count` bytes (None: all) of an open file from `offset` on; returns how many."""

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Call a blocking function in a thread, and wait for what it returns or raises."""

    def together(self) -> AbstractContextManager[None]:
        """What is sent to the caller within this block goes out when it ends: for who answers many calls at once."""

    def note(self, *, rule: str | None = None, **facts: Any) -> None:
        """Tell the audit log more about this call: the finer rule that allowed it, and any facts.

        They stand in the record of the call's end. Nothing secret; what is long will be cut.
        """


@attrs.frozen
class NoArguments:
    """The arguments of an operation that takes none."""


@attrs.frozen
class _Declaration:
    name: str
    args: type
    permission: str | None
    audit: Audit


class Operation:
    """An operation of a service, ready to be called.

    `permission` is what the caller has to hold, None if everybody may. `args` is the class of the
    arguments, and `defaults` an object of it for a call without any, None if some have to be given.
    `audit` is what the audit log is told. `handler` takes the call.
    """

    def __init__(self, declaration: _Declaration, handler: Callable[[Any], Any]) -> None:
        self.name = declaration.name
        self.permission = declaration.permission
        self.audit = declaration.audit
        self.handler = handler
        self.args = declaration.args
        self._decode: Callable[[msgspec.Raw], Any] = msgspec.json.Decoder(declaration.args).decode
        fields = attrs.fields(declaration.args)
        self.defaults = (
            None if any(field.default is attrs.NOTHING for field in fields) else declaration.args()
        )
        self._fields = {field.name for field in fields}

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def decode(self, arguments: msgspec.Raw) -> Any:
        """The object for the arguments of a call; empty where it came without any.

        Raises `InvalidArgument` that names the field.
        """
        arguments = arguments or _EMPTY
        try:
            given = msgspec.json.decode(arguments)
            if isinstance(given, dict) and not given.keys() <= self._fields:
                unknown = ", ".join(sorted(given.keys() - self._fields))
                raise InvalidArgument(f"{self.name} has no argument {unknown}")
            return self._decode(arguments)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"{self.name}: {error}") from None


_EMPTY: Final = msgspec.Raw(b"{}")


def operation(
    name: str,
    *,
    permission: str | None,
    args: type[A] = NoArguments,  # type: ignore[assignment]
    audit: Audit = Audit.CHANGES,
) -> Callable[[Callable[[S, Call[A]], T]], Callable[[S, Call[A]], T]]:
    """Declare a method to be an operation.

    `name` is what callers ask for, usually `service.verb`. `permission` is the name of what an identity needs to be
    permitted; None stands for everybody who is logged in, and has to be said. `args` is an attrs class: its fields,
    types and defaults are the arguments; what is secret among them has `attrs.field(metadata={"secret": True})`.
    `audit` is what the audit log is told of it: everything, if nothing is said.
    """
    if permission is not None and not (isinstance(permission, str) and permission):
        raise TypeError(
            f"the permission of the operation {name!r} has to be a name, or None for everybody who is "
            f"logged in, not {permission!r}"
        )
    if not attrs.has(args) or args.__setattr__ is object.__setattr__:
        raise TypeError(
            f"args of the operation {name!r} has to be a frozen attrs class, not {args!r}"
        )

    def declare(method: Callable[[S, Call[A]], T]) -> Callable[[S, Call[A]], T]:
        setattr(method, _DECLARATION, _Declaration(name, args, permission, audit))
        return method

    return declare


class Service:
    """Something that answers calls: subclass it, and declare methods with `operation`.

    A method may be `async def` or a plain function. One that is not declared is nothing that a peer could call.
    """

    def operations(self) -> dict[str, Operation]:
        """All operations of this service, by name; raises `ValueError` for a name that two of them have."""
        found: dict[str, Operation] = {}
        for attribute in dir(type(self)):
            declaration = getattr(getattr(type(self), attribute), _DECLARATION, None)
            if isinstance(declaration, _Declaration):
                if declaration.name in found:
                    raise ValueError(f"two methods are the operation {declaration.name!r}")
                found[declaration.name] = Operation(declaration, getattr(self, attribute))
        return found
