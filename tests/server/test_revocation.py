"""Who is revoked, or may do less than before, in the middle of what they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from sockserv.client import Client, OutgoingCall
from sockserv.errors import (
    CallCancelled,
    ConnectionEnded,
    GoodbyeCode,
    PermissionDenied,
    UnknownOperation,
)
from sockserv.services import Call, Service, operation
from sockserv.testing import OWNER, Link, MemoryServer
from sockserv.trust import FilesAccess, FilesGrant, Identity
from sockserv.trust.audit import Event
from tests.net.probe import open_frame
from tests.server.test_audited import Sink

GRANTS = frozenset({"files", "exec", "move"})
ALICE = Identity(
    "alice",
    GRANTS,
    exec=("uptime",),
    files=FilesGrant("reports", FilesAccess.READ_WRITE),
)
BOB = Identity("bob", GRANTS)
REVOKED = "was revoked, or has expired"


class Streams(Service):
    """Operations that go on until they are stopped, and what has become of them."""

    def __init__(self) -> None:
        self.memory: MemoryServer | None = None
        self.ends: list[str] = []
        self.taken = 0
        self.current: Callable[[Identity], Identity | None] = lambda identity: None

    @operation("both", permission="move")
    async def both(self, call: Call[Any]) -> None:
        """Sends as much as it is sent."""
        await self._until_stopped(call, self._echo(call))

    @operation("download", permission="files")
    async def download(self, call: Call[Any]) -> None:
        await self._until_stopped(call, self._send(call))

    @operation("upload", permission="files")
    async def upload(self, call: Call[Any]) -> None:
        await self._until_stopped(call, self._take(call))

    @operation("run", permission="exec")
    async def run(self, call: Call[Any]) -> None:
        await self._until_stopped(call, deferLater(call.clock, 1000))

    @operation("run uptime", permission="exec")
    async def run_uptime(self, call: Call[Any]) -> None:
        """Needs this rule, and says so."""
        call.goes_on_while(lambda identity: "uptime" in identity.exec)
        await self._until_stopped(call, deferLater(call.clock, 1000))

    @operation("run whatever", permission="exec")
    async def run_whatever(self, call: Call[Any]) -> None:
        """Breaks when it is asked what it needs."""
        call.goes_on_while(lambda identity: identity.exec.index("nothing") > 0)
        await self._until_stopped(call, deferLater(call.clock, 1000))

    @operation("wait", permission=None)
    async def wait(self, call: Call[Any]) -> None:
        await self._until_stopped(call, deferLater(call.clock, 1000))

    @operation("stubborn", permission="move")
    async def stubborn(self, call: Call[Any]) -> str:
        """Will not be stopped."""
        for _ in range(3):
            try:
                await Deferred()
            except CancelledError:
                self.ends.append("cancelled")
                break
        return "done all the same"

    @operation("slow end", permission="move")
    async def slow_end(self, call: Call[Any]) -> None:
        try:
            await Deferred()
        finally:
            await deferLater(call.clock, 3)
            self.ends.append(call.identity.name)

    @operation("deferred", permission="move")
    def deferred(self, call: Call[Any]) -> Deferred[None]:
        return Deferred(lambda _: self.ends.append("deferred"))

    @operation("broken", permission="move")
    def broken(self, call: Call[Any]) -> Deferred[None]:
        return Deferred(lambda _: [][0])  # breaks

    @operation("revoke", permission="move")
    async def revoke(self, call: Call[Any]) -> str:
        """Revokes everybody, whoever asks as well, and goes on."""
        assert self.memory is not None
        self.memory.server.reconsider(self.current)
        if call.whole_body == b"wait":
            await self._until_stopped(call, Deferred())
        return "revoked"

    async def _until_stopped(self, call: Call[Any], work: Any) -> None:
        try:
            await work
        except BaseException as error:
            self.ends.append(type(error).__name__)
            raise

    async def _echo(self, call: Call[Any]) -> None:
        async for piece in call.body:
            await call.send(piece)

    async def _send(self, call: Call[Any]) -> None:
        while True:
            await call.send(bytes(100_000))

    async def _take(self, call: Call[Any]) -> None:
        async for piece in call.body:
            self.taken += len(piece)


@pytest.fixture
def streams() -> Streams:
    return Streams()


def serve(streams: Streams, **fields: Any) -> MemoryServer:
    streams.memory = MemoryServer([streams], **fields)
    return streams.memory


def begin(memory: MemoryServer, client: Client, op: str) -> OutgoingCall:
    call = memory.run(client.open(op))
    memory.flush()
    return call


def reconsider(memory: MemoryServer, **now: Identity | None) -> None:
    """Those who are named are now somebody else, or nobody; the others are who they were."""
    memory.server.reconsider(lambda identity: now.get(identity.name, identity))
    memory.flush()


def failure(memory: MemoryServer, call: OutgoingCall) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # which one is what is looked at
        memory.run(call.result())
    return caught.value


# Revoked altogether


@pytest.mark.parametrize(
    "op", ["both", "download", "upload", "run", "wait", "stubborn", "deferred"]
)
def test_a_running_call_ends(streams: Streams, op: str) -> None:
    with serve(streams) as memory:
        client = memory.connect(ALICE)
        call = begin(memory, client, op)
        sending = Deferred.fromCoroutine(call.send(bytes(300_000)))
        sending.addErrback(lambda _: None)
        memory.flush()
        reconsider(memory, alice=None)
        error = failure(memory, call)
        assert type(error) is PermissionDenied
        assert str(error) == f"the login of alice {REVOKED}"
        assert len(streams.ends) == 1, "the handler was stopped"
        assert memory.server.connections == 0


def test_streaming_both_ways(streams: Streams) -> None:
    with serve(streams) as memory:
        client = memory.connect(ALICE)
        call = begin(memory, client, "both")
        memory.run(call.send(b"x" * 100_000))
        memory.flush()
        reconsider(memory, alice=None)
        with pytest.raises(PermissionDenied, match="revoked"):
            memory.run(call.send(b"y"))
        assert memory.read(call) == b"x" * 100_000, "what was sent before comes first"
        with pytest.raises(PermissionDenied, match="revoked"):
            memory.read(call)
        assert streams.ends == ["PermissionDenied"]


def test_what_goes_over_the_wire(streams: Streams) -> None:
    with serve(streams) as memory:
        raw = memory.connect_raw(ALICE)
        for number, op in [(3, "wait"), (5, "download")]:
            raw.send(open_frame(number, op, end=True))
        memory.flush()
        raw.take_frames()
        reconsider(memory, alice=None)
        *errors, goodbye = raw.take_frames()
        assert {one["call"]: one["code"] for one in errors} == dict.fromkeys(
            (3, 5), "permission-denied"
        )
        assert goodbye.header == {
            "type": "goodbye",
            "code": GoodbyeCode.REVOKED,
            "message": f"the login of alice {REVOKED}",
        }
        assert raw.is_closed


def test_others_do_not_notice(streams: Streams) -> None:
    with serve(streams) as memory:
        alice, bob = memory.connect(ALICE), memory.connect(BOB)
        begin(memory, alice, "run")
        call = begin(memory, bob, "both")
        reconsider(memory, alice=None)
        memory.run(call.send(b"still here"))
        memory.flush()
        assert memory.read(call) == b"still here"
        call.cancel()


def test_all_connections_of_somebody(streams: Streams) -> None:
    with serve(streams) as memory:
        calls = [begin(memory, memory.connect(ALICE), "run") for _ in range(5)]
        reconsider(memory, alice=None)
        assert {type(failure(memory, call)) for call in calls} == {PermissionDenied}
        assert memory.server.connections == 0


def test_a_client_without_calls_learns_why(streams: Streams) -> None:
    with serve(streams) as memory:
        client = memory.connect(ALICE)
        reconsider(memory, alice=None)
        with pytest.raises(ConnectionEnded, match=rf"{REVOKED} \(revoked\)"):
            memory.run(client.call("wait"))


def test_calls_that_come_after_the_goodbye_are_not_read(streams: Streams) -> None:
    link = Link()
    with serve(streams) as memory:
        raw = memory.connect_raw(ALICE, link=link)
        link.to_client.stall()
        reconsider(memory, alice=None)
        raw.send(open_frame(3, "wait", end=True))
        memory.flush()
        memory.advance(10)
        assert streams.ends == []
        assert memory.server.connections == 0, "who does not take the goodbye is cut off"


def test_a_connection_that_ends_already(streams: Streams) -> None:
    """The server stops, and waits for the last call of somebody who is revoked then."""
    with serve(streams) as memory:
        call = begin(memory, memory.connect(ALICE), "run")
        stopping = memory.server.stop()
        memory.flush()
        reconsider(memory, alice=None)
        assert isinstance(failure(memory, call), PermissionDenied)
        memory.run(stopping)
        assert memory.clock.seconds() == 0


def test_a_handler_that_takes_its_time_to_end(streams: Streams) -> None:
    with serve(streams) as memory:
        call = begin(memory, memory.connect(ALICE), "slow end")
        reconsider(memory, alice=None)
        assert isinstance(failure(memory, call), PermissionDenied)
        assert memory.server.connections == 0
        memory.advance(3)
        assert streams.ends == ["alice"]


def test_a_handler_that_breaks_when_it_is_cancelled(streams: Streams) -> None:
    with serve(streams) as memory:
        calls = [begin(memory, memory.connect(who), "broken") for who in (ALICE, BOB, ALICE)]
        reconsider(memory, alice=None, bob=None)
        assert {type(failure(memory, call)) for call in calls} == {PermissionDenied}
        assert memory.server.connections == 0


def test_nobody_yet_is_nobody_to_revoke(streams: Streams) -> None:
    asked: list[Identity] = []

    def current(identity: Identity) -> None:
        asked.append(identity)

    with serve(streams) as memory:
        raw = memory.connect_raw()
        raw.send_hello()
        memory.flush()
        memory.server.reconsider(current)
        memory.flush()
        assert not raw.is_closed
        assert asked == []


@pytest.mark.parametrize("body", [b"", b"wait"])
def test_who_revokes_oneself(streams: Streams, body: bytes) -> None:
    with serve(streams) as memory:
        client, other = memory.connect(ALICE), memory.connect(BOB)
        calling = client.call("revoke", body=body)
        if body:
            with pytest.raises(PermissionDenied):
                memory.run(calling)
            assert streams.ends == ["CancelledError"]
        else:
            assert memory.run(calling).result == "revoked"
        memory.flush()
        assert memory.server.connections == 0
        with pytest.raises(ConnectionEnded):
            memory.run(other.call("wait"))


def test_the_last_word_counts(streams: Streams) -> None:
    with serve(streams) as memory:
        memory.connect(ALICE)
        memory.server.reconsider(lambda identity: None)
        reconsider(memory)
        assert memory.server.connections == 1


def test_a_server_that_is_stopped_meanwhile(streams: Streams) -> None:
    with serve(streams) as memory:
        memory.connect(ALICE)
        memory.run(memory.server.stop())
        memory.server.reconsider(lambda identity: None)
        memory.run(memory.server.stop())


def test_who_cannot_be_asked_about_hinders_nobody(streams: Streams) -> None:
    def current(identity: Identity) -> Identity | None:
        if identity.name == "alice":
            raise OSError("the disk is on fire")
        return None

    with serve(streams) as memory:
        for _ in range(3):
            memory.connect(ALICE)
            memory.connect(BOB)
        memory.server.reconsider(current)
        memory.flush()
        assert memory.server.connections == 3


# Changed


@pytest.mark.parametrize(
    ("now", "ended"),
    [
        (attrs.evolve(ALICE, exec=("uptime",)), []),
        (attrs.evolve(ALICE, permissions=GRANTS | {"chat"}, chat=("lobby",)), []),
        (attrs.evolve(ALICE, exec=("uptime", "df")), ["run"]),
        (attrs.evolve(ALICE, files=FilesGrant("reports", FilesAccess.READ_ONLY)), ["download"]),
        (attrs.evolve(ALICE, permissions=frozenset({"exec", "move"})), ["download"]),
        (attrs.evolve(ALICE, permissions=frozenset()), ["download", "run", "both"]),
        # All and more than before: what was held has changed all the same.
        (attrs.evolve(OWNER, name="alice"), ["download", "run"]),
    ],
)
def test_a_change_ends_the_calls_that_need_what_has_changed(
    streams: Streams, now: Identity, ended: list[str]
) -> None:
    with serve(streams) as memory:
        client = memory.connect(ALICE)
        calls = {op: begin(memory, client, op) for op in ("download", "run", "both", "wait")}
        reconsider(memory, alice=now)
        for op in ended:
            error = failure(memory, calls.pop(op))
            assert type(error) is PermissionDenied
            permission = {"download": "files", "run": "exec", "both": "move"}[op]
            assert error.details == {"permission": permission, "revoked": True}
        assert len(streams.ends) == len(ended)
        for call in calls.values():
            call.cancel()
            with pytest.raises(CallCancelled):
                memory.run(call.result())


@pytest.mark.parametrize("audit", [None, Sink()], ids=["unaudited", "audited"])
@pytest.mark.parametrize(
    ("now", "goes_on"),
    [
        (attrs.evolve(ALICE, exec=("df", "uptime")), True),
        (attrs.evolve(OWNER, name="alice", exec=("uptime",)), True),
        (attrs.evolve(ALICE, exec=("df",)), False),
        (attrs.evolve(ALICE, permissions=GRANTS - {"exec"}), False),
        (None, False),
    ],
)
def test_a_call_that_says_what_it_needs(
    streams: Streams, now: Identity | None, audit: Sink | None, *, goes_on: bool
) -> None:
    with serve(streams, audit=audit) as memory:
        client = memory.connect(ALICE)
        call = begin(memory, client, "run uptime")
        reconsider(memory, alice=now)
        assert len(streams.ends) == (not goes_on)
        if goes_on:
            call.cancel()
        assert type(failure(memory, call)) is (CallCancelled if goes_on else PermissionDenied)


def test_one_that_breaks_when_it_is_asked_ends_and_the_others_are_asked(streams: Streams) -> None:
    with serve(streams) as memory:
        client = memory.connect(ALICE)
        broken, run, uptime = (
            begin(memory, client, op) for op in ("run whatever", "run", "run uptime")
        )
        reconsider(memory, alice=attrs.evolve(ALICE, exec=("uptime", "df")))
        assert [type(failure(memory, call)) for call in (broken, run)] == [PermissionDenied] * 2
        uptime.cancel()
        assert type(failure(memory, uptime)) is CallCancelled


def test_who_is_no_admin_any_more_reaches_nothing_of_others(streams: Streams) -> None:
    with serve(streams) as memory:
        client = memory.connect(attrs.evolve(ALICE, permissions=GRANTS | {"admin"}))
        run, wait = begin(memory, client, "run"), begin(memory, client, "wait")
        reconsider(memory, alice=ALICE)
        assert type(failure(memory, run)) is PermissionDenied
        assert len(streams.ends) == 1
        reconsider(memory, alice=attrs.evolve(ALICE, permissions=GRANTS | {"admin"}))
        again = begin(memory, client, "run")
        memory.flush()
        assert len(streams.ends) == 1
        for call in (wait, again):
            call.cancel()
            with pytest.raises(CallCancelled):
                memory.run(call.result())


def test_new_calls_are_checked_by_what_is_true_now(streams: Streams) -> None:
    with serve(streams) as memory:
        client = memory.connect(attrs.evolve(ALICE, permissions=frozenset()))
        with pytest.raises(PermissionDenied):
            memory.run(client.call("run"))
        reconsider(memory, alice=ALICE)
        call = begin(memory, client, "run")
        call.cancel()
        reconsider(memory, alice=BOB)
        memory.flush()
        assert streams.ends == ["CancelledError"]


# The audit log


def test_what_waits_for_the_audit_log_is_not_begun(streams: Streams) -> None:
    sink = Sink()
    with serve(streams, audit=sink) as memory:
        sink.is_slow = True
        call = begin(memory, memory.connect(ALICE), "revoke")
        reconsider(memory, alice=None)
        sink.is_slow = False
        sink.flush()
        memory.flush()
        assert isinstance(failure(memory, call), PermissionDenied)
        assert streams.ends == []
        begun, revoked, ended = (each for each in sink.records if each.event is not Event.LOGIN)
        assert (begun.event, revoked.event, ended.event) == (
            Event.BEGIN,
            Event.REVOKED,
            Event.END,
        )
        assert ended.outcome == "permission-denied"


def test_the_audit_log_is_told(streams: Streams) -> None:
    sink = Sink()
    with serve(streams, audit=sink) as memory:
        alice = memory.connect(ALICE)
        begin(memory, alice, "download")
        begin(memory, alice, "wait")
        memory.connect(BOB)
        less = attrs.evolve(ALICE, permissions=frozenset())
        reconsider(memory, alice=less)
        reconsider(memory, alice=None)
        told = [each for each in sink.records if each.event is Event.REVOKED]
        assert [(each.identity, each.why) for each in told] == [
            ("alice", "download: what alice may do by the permission 'files' was changed"),
            ("alice", f"the login of alice {REVOKED}"),
        ]


# What a service cannot bring in


class Undeclared(Service):
    """Operations that nobody has said the permission of."""

    def operations(self) -> dict[str, Any]:
        return {"open door": self.open_door}

    async def open_door(self, call: Call[Any]) -> str:
        return "come in"


class Talkative(Service):
    """Methods that are not declared, beside one that is."""

    @operation("declared", permission=None)
    async def declared(self, call: Call[Any]) -> str:
        return await self.undeclared(call)

    async def undeclared(self, call: Call[Any]) -> str:
        return "not for peers"


class Quieter(Talkative):
    """Replaces an operation by a method that is none."""

    async def declared(self, call: Call[Any]) -> str:
        return "no operation any more"


@pytest.mark.parametrize("service", [Talkative, Quieter])
@pytest.mark.parametrize("op", ["undeclared", "Talkative.undeclared", "operations", "__init__"])
def test_a_method_that_is_not_declared_is_nothing_to_call(service: type[Service], op: str) -> None:
    with MemoryServer([service()]) as memory:
        client = memory.connect()
        with pytest.raises(UnknownOperation):
            memory.run(client.call(op))
        if service is Quieter:
            with pytest.raises(UnknownOperation):
                memory.run(client.call("declared"))


def test_an_operation_without_a_declaration_is_an_error_at_the_start() -> None:
    with pytest.raises(TypeError, match="Undeclared has .*for the operation 'open door': declare"):
        MemoryServer([Undeclared()])
