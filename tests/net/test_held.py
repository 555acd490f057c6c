"""What a server holds for all its peers: what counts, who is cut when it is too much, and who is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, succeed

from sockserv.limits import Limits
from sockserv.net.held import held_bytes
from sockserv.services import Call, Service, operation
from sockserv.testing import MemoryServer, RawPeer
from sockserv.trust import Identity
from sockserv.trust.audit import Record

ALICE, BOB = Identity("alice", frozenset({"hold"})), Identity("bob", frozenset({"hold"}))
MOST = 100_000


@attrs.frozen
class What:
    """How much of a body is kept; with `more`, which says nothing, the arguments are as long as somebody wants."""

    count: int
    more: str = ""


class Holding(Service):
    """Keeps what it is given, in some way."""

    @operation("hold.ignore", permission="hold")
    async def ignore(self, call: Call[Any]) -> None:
        """Never look at the body."""
        await Deferred()

    @operation("hold.begin", permission="hold")
    async def begin(self, call: Call[Any]) -> None:
        """Take the first piece of the body only."""
        await call.body.take()
        await Deferred()

    @operation("hold.take", permission="hold")
    async def take(self, call: Call[Any]) -> None:
        """Take all of the body, and go on."""
        await call.body.read(max_bytes=10**9)
        await Deferred()

    @operation("hold.keep", args=What, permission="hold")
    async def keep(self, call: Call[What]) -> None:
        """Take all of the body, and keep as much of it as is wanted."""
        await call.body.read(max_bytes=10**9)
        call.keeps(call.args.count)
        await Deferred()

    @operation("hold.say", permission="hold")
    async def say(self, call: Call[Any]) -> None:
        """Have more to say than is read."""
        await call.send(bytes(50_000))
        await Deferred()


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer([Holding()], limits=Limits(max_held_bytes=MOST)) as memory:
        yield memory


def holding(
    memory: MemoryServer, who: Identity, *sizes: int, op: str = "hold.ignore", end: bool = False
) -> RawPeer:
    """A connection of somebody, with calls that hold so many bytes each."""
    raw = memory.connect_raw(who)
    for call, size in zip(range(3, 1000, 2), sizes, strict=False):
        raw.send({"type": "open", "call": call, "op": op})
        raw.send({"type": "data", "call": call, "end": end}, bytes(size))
    memory.flush()
    raw.take_frames()
    return raw


def codes(raw: RawPeer) -> list[str]:
    return [one["code"] for one in raw.take_frames() if one["type"] == "goodbye"]


@pytest.mark.parametrize(
    ("op", "end", "held"),
    [
        ("hold.ignore", False, 60_000),
        ("hold.ignore", True, 60_000),
        ("hold.begin", False, 20_000),
        ("hold.take", False, 0),
        ("hold.take", True, 0),
        ("hold.say", False, 60_000 + 50_000 - 1000),
    ],
)
def test_what_counts(op: str, end: bool, held: int) -> None:
    with MemoryServer([Holding()]) as memory:
        raw = memory.connect_raw()
        raw.send_hello(window_bytes=1000)
        token = memory.token_of(ALICE)
        raw.send(
            {"type": "open", "call": 1, "op": "auth.token", "args": {"token": token}, "end": True}
        )
        raw.send({"type": "open", "call": 3, "op": op})
        memory.flush()
        for size, is_last in ((40_000, False), (20_000, True)):
            raw.send({"type": "data", "call": 3, "end": end and is_last}, bytes(size))
            memory.flush()
        (peer,) = memory.server._peers
        assert held_bytes(peer) == held


@pytest.mark.parametrize(
    ("op", "end", "held"),
    [
        ("hold.ignore", False, 50_000),
        ("hold.ignore", True, 50_000),
        ("hold.begin", False, 0),
        # A body that is complete with its request is there for its handler to the end.
        ("hold.take", True, 50_000),
    ],
)
def test_what_comes_with_the_request_counts(op: str, end: bool, held: int) -> None:
    with MemoryServer([Holding()]) as memory:
        raw = memory.connect_raw(ALICE)
        raw.send({"type": "open", "call": 3, "op": op, "end": end}, bytes(50_000))
        memory.flush()
        (peer,) = memory.server._peers
        assert held_bytes(peer) == held


class Log:
    """An audit log that is written at once."""

    def record(self, record: Record) -> None:
        """Take a record."""

    def write(self, record: Record) -> Deferred[None]:
        return succeed(None)


@pytest.mark.parametrize("audit", [None, Log()], ids=["plain", "audited"])
def test_what_a_handler_says_that_it_keeps_counts_and_its_arguments(audit: Any) -> None:
    with MemoryServer([Holding()], audit=audit) as memory:
        raw = memory.connect_raw(ALICE)
        args = {"count": 7_000, "more": "x" * 20_000}
        raw.send({"type": "open", "call": 3, "op": "hold.keep", "args": args})
        raw.send({"type": "data", "call": 3, "end": True}, bytes(50_000))
        memory.flush()
        (peer,) = memory.server._peers
        assert held_bytes(peer) == 7_000 + len('{"count":7000,"more":""}') + 20_000


@pytest.mark.parametrize("past", [0, 1], ids=["at", "one past"])
def test_the_bound(memory: MemoryServer, past: int) -> None:
    alice = holding(memory, ALICE, 30_000, 20_000)
    bob = holding(memory, BOB, 50_000 + past)
    memory.advance(2.0)
    assert codes(alice) == []
    assert codes(bob) == ["too-much-held"] * past
    assert memory.server.connections == 2 - past


def test_control_messages_count(memory: MemoryServer) -> None:
    raw = memory.connect_raw(ALICE)
    (peer,) = memory.server._peers
    assert held_bytes(peer) == 0
    raw.pause_reading()
    for _ in range(30_000):
        raw.send({"type": "ping", "token": 1})
    memory.flush()
    assert held_bytes(peer) > 100_000


def test_who_holds_the_most_in_all_is_cut(memory: MemoryServer) -> None:
    """Not somebody with one connection that is larger than each of theirs."""
    many = [holding(memory, ALICE, size) for size in (20_000, 21_000, 22_000, 23_000)]
    one = holding(memory, BOB, 30_000)
    idle = memory.connect(BOB)
    memory.advance(2.0)
    assert codes(one) == []
    assert [codes(raw) for raw in many] == [[], [], [], ["too-much-held"]]
    memory.run(idle.ping())


def test_it_goes_on_until_there_is_room(memory: MemoryServer) -> None:
    raws = [holding(memory, ALICE, 60_000) for _ in range(5)]
    memory.advance(2.0)
    assert sum(codes(raw) == ["too-much-held"] for raw in raws) == 4
    memory.advance(2.0)
    assert memory.server.connections == 1
