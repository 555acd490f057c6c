"""What the audit log is told of calls, and who waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from twisted.internet.defer import Deferred, fail, succeed

from sockserv.errors import (
    AuditUnavailable,
    CallError,
    InvalidArgument,
    PermissionDenied,
    UnknownOperation,
)
from sockserv.services import Audit, Call, NoArguments, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import OWNER, Link, MemoryServer
from sockserv.trust import Identity, Login, Origin
from sockserv.trust.audit import Event, Record

ALICE = Identity("alice", frozenset({"work", "echo"}), login=Login("token", "token:12345678"))


class Sink:
    """An audit log in the test's hands."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.error: Exception | None = None
        self.is_slow = False
        self.waiting: list[Deferred[None]] = []

    def record(self, record: Record) -> None:
        self.records.append(record)

    def write(self, record: Record) -> Deferred[None]:
        if self.error is not None:
            return fail(self.error)
        self.records.append(record)
        if not self.is_slow:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            if not each.called:
                each.callback(None)

    def take(self) -> list[dict[str, Any]]:
        """What was recorded since the last time, without logins; what is the same in all of them left out."""
        taken, self.records = self.records, []
        lines = [msgspec.to_builtins(each) for each in taken if each.event is not Event.LOGIN]
        same = ("identity", "origin", "connection", "call")
        return [{k: v for k, v in line.items() if k not in same} for line in lines]


@attrs.frozen
class WorkArguments:
    how: str = "well"
    password: str | None = attrs.field(default=None, metadata={"secret": True})


class Jammed(CallError):
    code = "work.jammed"


class Work(Service):
    """Operations that end in every way."""

    def __init__(self) -> None:
        self.entered = 0

    @operation("work", args=WorkArguments, permission="work")
    async def work(self, call: Call[WorkArguments]) -> str:
        self.entered += 1
        match call.args.how:
            case "badly":
                raise Jammed("the paper is jammed, says swordfish")
            case "unforeseen":
                raise RuntimeError("swordfish")
            case "for ever":
                await Deferred()
        body = await call.body.read(max_bytes=100)
        await call.send(b"1234567")
        call.note(rule="uptime", pid=12, long="x" * 1000)
        return f"{len(body)} bytes"

    @operation("work.plain", permission="work")
    def plain(self, call: Call[NoArguments]) -> None:
        call.send_last(b"abc")

    @operation("work.deferred", permission="work")
    def deferred(self, call: Call[NoArguments]) -> Deferred[str]:
        return succeed("done")

    @operation("work.look", permission="work", audit=Audit.READS, args=WorkArguments)
    def look(self, call: Call[WorkArguments]) -> Any:
        if call.args.how == "badly":
            raise Jammed("no")
        if call.args.how == "later":
            return self._look(call)
        if call.args.how == "deferred":
            return Deferred.fromCoroutine(self._look(call))
        call.send_last(call.whole_body or b"")
        return "seen"

    async def _look(self, call: Call[WorkArguments]) -> str:
        async for piece in call.body:
            await call.send(piece)
        return "seen later"

    @operation("work.whoever", permission=None)
    def whoever(self, call: Call[NoArguments]) -> None:
        """Everybody may."""


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def work() -> Work:
    return Work()


BEGIN = {"event": "begin", "op": "work", "rule": "work", "credential": "token:12345678"}


def ended(**fields: Any) -> dict[str, Any]:
    none = {"received_bytes": 0, "sent_bytes": 0, "seconds": 0.0}
    return {**BEGIN, "event": "end", "outcome": "ok", **none, **fields}


def test_a_change(sink: Sink, work: Work) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        reply = memory.run(client.call("work", {"password": "swordfish"}, body=b"12345"))
        assert (reply.result, reply.body) == ("5 bytes", b"1234567")
        assert sink.take() == [
            {**BEGIN, "args": {"how": "well", "password": "<secret>"}},
            ended(
                rule="uptime",
                received_bytes=5,
                sent_bytes=7,
                facts={"pid": 12, "long": "x" * 256 + "... (1000 characters)"},
            ),
        ]


def test_who_it_was(sink: Sink, work: Work) -> None:
    origin = Origin("192.0.2.7", 4711)
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE, link=Link(origin=origin))
        memory.run(client.call("work.plain"))
        memory.run(client.call("work.plain"))
        owner_link = Link(origin=Origin(uid=1000))
        memory.run(memory.connect(OWNER, link=owner_link).call("work.plain"))
    who = [
        (r.event, r.identity, r.credential, r.origin, r.connection, r.call) for r in sink.records
    ]
    alice = ("alice", "token:12345678", "192.0.2.7 port 4711", 1)
    owner = ("owner", None, "a local socket of the account 1000", 2)
    assert who == [
        (Event.LOGIN, *alice, None),
        (Event.BEGIN, *alice, 3),
        (Event.END, *alice, 3),
        (Event.BEGIN, *alice, 5),
        (Event.END, *alice, 5),
        (Event.LOGIN, *owner, None),
        (Event.BEGIN, *owner, 3),
        (Event.END, *owner, 3),
    ]


def test_which_rule_it_was(sink: Sink, work: Work) -> None:
    with MemoryServer([work], audit=sink) as memory:
        memory.run(memory.connect(ALICE).call("work.plain"))
        memory.run(memory.connect(OWNER).call("work.plain"))
        memory.run(memory.connect(ALICE).call("work.whoever"))
    rules = [record.rule for record in sink.records if record.event is Event.END]
    assert rules == ["work", "*", "everybody"]


@pytest.mark.parametrize("op", ["work.plain", "work.deferred"])
def test_a_change_by_a_plain_function(sink: Sink, work: Work, op: str) -> None:
    with MemoryServer([work], audit=sink) as memory:
        memory.run(memory.connect(ALICE).call(op))
        sent = 3 if op == "work.plain" else 0
        assert sink.take() == [
            {**BEGIN, "op": op, "args": {}},
            ended(op=op, sent_bytes=sent),
        ]


def test_nothing_happens_before_it_is_written(sink: Sink, work: Work) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.is_slow = True
        calling = client.call("work")
        memory.flush()
        assert work.entered == 0
        sink.flush()
        memory.flush()
        assert work.entered == 1
        assert not calling.called
        sink.flush()
        assert memory.run(calling).result == "0 bytes"


def test_an_error(sink: Sink, work: Work) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.is_slow = True
        calling = client.call("work", {"how": "badly"})
        memory.flush()
        sink.flush()
        memory.flush()
        assert not calling.called
        sink.flush()
        with pytest.raises(Jammed):
            memory.run(calling)
        # The operation has secrets, and its error might tell them.
        assert sink.take()[1] == ended(outcome="work.jammed")


def test_an_unforeseen_failure(sink: Sink, work: Work) -> None:
    with MemoryServer([work], audit=sink) as memory:
        client = memory.connect(ALICE)
        with pytest.raises(CallError, match="failed unexpectedly"):
            memory.run(client.call("work", {"how": "unforeseen"}))
        assert sink.take()[1] == ended(outcome="internal")
        memory.take_failures()


class TestTheCallerIsGone:
    @pytest.mark.parametrize(
        ("how", "outcome"),
        [("cancel", "cancelled"), ("cut", "disconnected"), ("deadline", "deadline-exceeded")],
    )
    @pytest.mark.parametrize("where", ["before", "within"])
    def test_while_it_runs(
        self, sink: Sink, work: Work, how: str, outcome: str, where: str
    ) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(ALICE)
            sink.is_slow = where == "before"
            call = memory.run(client.open("work", {"how": "for ever"}, timeout_seconds=5.0))
            memory.flush()
            match how:
                case "cancel":
                    call.cancel()
                case "cut":
                    memory.network.links[0].cut()
                case "deadline":
                    memory.advance(5.0)
            memory.flush()
            assert work.entered == (where == "within")
            end = sink.take()[1]
            seconds = 5.0 if how == "deadline" else 0.0
            assert end == ended(outcome=outcome, seconds=seconds)

    def test_when_it_has_ended_and_is_not_answered(self, sink: Sink, work: Work) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(ALICE)
            call = memory.run(client.open("work.deferred"))
            memory.flush()
            sink.take()
            sink.is_slow = True
            call = memory.run(client.open("work.deferred"))
            memory.flush()
            sink.flush()
            memory.flush()
            call.cancel()
            memory.flush()
            sink.flush()
            memory.flush()
            assert [line["outcome"] for line in sink.take()[1:]] == ["ok"]


class TestALogThatCannotBeWritten:
    def test_a_change_is_refused(self, sink: Sink, work: Work) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(ALICE)
            sink.error = AuditUnavailable("the disk is full")
            with pytest.raises(AuditUnavailable, match="the disk is full") as caught:
                memory.run(client.call("work"))
            assert caught.value.details == {}
            assert work.entered == 0
            assert [line["outcome"] for line in sink.take()] == ["audit-unavailable"]

    def test_a_read_goes_on(self, sink: Sink, work: Work) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(ALICE)
            sink.error = AuditUnavailable("the disk is full")
            assert memory.run(client.call("work.look")).result == "seen"

    @pytest.mark.parametrize("how", ["well", "badly"])
    def test_what_was_done_is_said_to_be(self, sink: Sink, work: Work, how: str) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(ALICE)
            sink.is_slow = True
            calling = client.call("work", {"how": how})
            memory.flush()
            sink.error = AuditUnavailable("the disk is full")
            sink.flush()
            with pytest.raises(AuditUnavailable, match="work was carried out, but how") as caught:
                memory.run(calling)
            assert caught.value.details == {"done": True}
            assert work.entered == 1


class TestReads:
    def test_one_record_when_it_has_ended(self, sink: Sink, work: Work) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(ALICE)
            assert memory.run(client.call("work.look", body=b"abc")).body == b"abc"
            look = {"op": "work.look", "args": {"how": "well", "password": None}}
            assert sink.take() == [ended(**look, received_bytes=3, sent_bytes=3)]

    @pytest.mark.parametrize("how", ["later", "deferred"])
    def test_one_that_takes_its_time(self, sink: Sink, work: Work, how: str) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(ALICE)
            call = memory.run(client.open("work.look", {"how": how}, body=b"ab"))
            memory.advance(1.5)
            assert sink.take() == []
            memory.run(call.send(b"cde"))
            call.end()
            assert memory.run(call.result()) == "seen later"
            (line,) = sink.take()
            assert (line["received_bytes"], line["sent_bytes"], line["seconds"]) == (5, 5, 1.5)

    @pytest.mark.parametrize("how", ["later", "deferred"])
    def test_one_that_is_cut(self, sink: Sink, work: Work, how: str) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(ALICE)
            memory.run(client.open("work.look", {"how": how}))
            memory.flush()
            memory.network.links[0].cut()
            memory.flush()
            assert [line["outcome"] for line in sink.take()] == ["disconnected"]

    def test_one_that_fails(self, sink: Sink, work: Work) -> None:
        with MemoryServer([work], audit=sink) as memory:
            with pytest.raises(Jammed):
                memory.run(memory.connect(ALICE).call("work.look", {"how": "badly"}))
            assert [line["outcome"] for line in sink.take()] == ["work.jammed"]


class Files(Service):
    def __init__(self, file: int) -> None:
        self._file = file

    @operation("get", permission="work", audit=Audit.READS)
    async def get(self, call: Call[NoArguments]) -> int:
        await call.send(b"head")
        return await call.send_file(self._file)


class TestAFile:
    SIZE = 5_000_000

    @pytest.fixture
    def files(self, tmp_path: Path) -> Iterator[Files]:
        path = tmp_path / "file"
        path.write_bytes(bytes(self.SIZE))
        with path.open("rb") as file:
            yield Files(file.fileno())

    def test_all_of_it(self, sink: Sink, files: Files) -> None:
        with MemoryServer([files], audit=sink) as memory:
            memory.run(memory.connect(ALICE).call("get"))
            assert sink.take()[0]["sent_bytes"] == self.SIZE + 4

    def test_as_much_as_went_before_it_was_cut(self, sink: Sink, files: Files) -> None:
        with MemoryServer([files], audit=sink) as memory:
            client = memory.connect(ALICE)
            memory.run(client.open("get"))
            memory.flush()
            memory.network.links[0].cut()
            memory.flush()
            (line,) = sink.take()
            assert line["outcome"] == "disconnected"
            # A window, and what may wait to be sent.
            assert 1_000_000 < line["sent_bytes"] < 2_000_000


class TestRefusals:
    def test_without_the_permission(self, sink: Sink, work: Work) -> None:
        nobody = Identity("nobody", login=Login("token", "token:0"))
        with MemoryServer([work, Echo()], audit=sink) as memory:
            client = memory.connect(nobody)
            for op in ("work", "echo"):
                with pytest.raises(PermissionDenied):
                    memory.run(client.call(op))
            first, second = sink.take()
            assert first == {
                "event": "refused",
                "credential": "token:0",
                "op": "work",
                "rule": "work",
                "outcome": "permission-denied",
            }
            assert second["rule"] == "echo"
            assert second["why"] == "nobody may not call echo: that needs the permission 'echo'"
            assert work.entered == 0

    def test_an_operation_that_is_not_there(self, sink: Sink, work: Work) -> None:
        with MemoryServer([work], audit=sink) as memory:
            with pytest.raises(UnknownOperation):
                memory.run(memory.connect(ALICE).call("x" * 500))
            (line,) = sink.take()
            assert (line["op"], line["outcome"]) == ("x" * 80, "unknown-operation")
            assert "rule" not in line

    def test_a_wrong_argument(self, sink: Sink, work: Work) -> None:
        """Its words may have the value, which may be a secret."""
        with MemoryServer([work, Echo()], audit=sink) as memory:
            client = memory.connect(ALICE)
            for op, args in (("work", {"password": 5}), ("work.plain", {"x": 1})):
                with pytest.raises(InvalidArgument):
                    memory.run(client.call(op, args))
            first, second = sink.take()
            assert (first["outcome"], first.get("why")) == ("invalid-argument", None)
            assert second["why"] == "work.plain has no argument x"

    def test_a_wrong_argument_of_what_is_never_told(self, sink: Sink) -> None:
        with MemoryServer([Echo()], audit=sink) as memory:
            with pytest.raises(InvalidArgument):
                memory.run(memory.connect(ALICE).call("echo", {"x": 1}))
            assert sink.take() == []


class TestManyRefusals:
    """They cost the caller nothing, and are not to drive all else out of the log."""

    @pytest.mark.parametrize(("calls", "told"), [(60, 60), (61, 60), (1000, 60)])
    def test_some_are_told_and_the_others_counted(
        self, sink: Sink, work: Work, calls: int, told: int
    ) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(Identity("nobody"))
            for _ in range(calls):
                with pytest.raises(PermissionDenied):
                    memory.run(client.call("work"))
            assert len(sink.take()) == told
            memory.run(client.close())
            memory.advance(3.0)
            others = [{"event": "refused", "facts": {"others": calls - told}}]
            assert sink.take() == (others if calls > told else [])

    def test_after_a_minute_they_are_told_again(self, sink: Sink, work: Work) -> None:
        with MemoryServer([work], audit=sink) as memory:
            client = memory.connect(Identity("nobody"))
            for seconds in (0.0, 10.0, 49.9):
                memory.advance(seconds)
                for _ in range(40):
                    with pytest.raises(PermissionDenied):
                        memory.run(client.call("work"))
            assert len(sink.take()) == 60
            memory.advance(0.1)
            with pytest.raises(PermissionDenied):
                memory.run(client.call("work"))
            summary, refused = sink.take()
            assert summary == {"event": "refused", "facts": {"others": 60}}
            assert refused["op"] == "work"

    def test_each_connection_by_itself(self, sink: Sink, work: Work) -> None:
        with MemoryServer([work], audit=sink) as memory:
            for client in (memory.connect(Identity("nobody")), memory.connect(Identity("other"))):
                for _ in range(61):
                    with pytest.raises(PermissionDenied):
                        memory.run(client.call("work"))
            assert len(sink.take()) == 120


class Proxy(Service):
    """Its work is done by another daemon, whose disk is full."""

    @operation("proxy", permission="work")
    async def proxy(self, call: Call[NoArguments]) -> None:
        raise AuditUnavailable("over there")


def test_an_error_of_the_same_kind_from_elsewhere(sink: Sink) -> None:
    with MemoryServer([Proxy()], audit=sink) as memory:
        client = memory.connect(ALICE)
        sink.is_slow = True
        calling = client.call("proxy")
        memory.flush()
        sink.flush()
        memory.flush()
        assert not calling.called
        sink.flush()
        with pytest.raises(AuditUnavailable, match="over there"):
            memory.run(calling)


def test_nothing_is_told_of_an_echo(sink: Sink) -> None:
    with MemoryServer([Echo()], audit=sink) as memory:
        client = memory.connect(ALICE)
        assert memory.run(client.call("echo", body=b"x")).body == b"x"
        assert memory.run(client.call("echo", body=bytes(300_000))).body == bytes(300_000)
        assert sink.take() == []


def test_without_a_log_nobody_is_told(work: Work) -> None:
    with MemoryServer([work]) as memory:
        client = memory.connect(ALICE)
        assert memory.run(client.call("work", body=b"12345")).result == "5 bytes"
        with pytest.raises(UnknownOperation):
            memory.run(client.call("nothing"))


def test_logins(sink: Sink) -> None:
    with MemoryServer([], audit=sink) as memory:
        memory.connect(ALICE)
        with pytest.raises(CallError):
            memory.network.run(memory.start_connecting(token="wrong"), max_seconds=5.0)
    login, failed = sink.records
    assert (login.event, login.identity, login.outcome) == (Event.LOGIN, "alice", "ok")
    assert login.facts == {"method": "token"}
    assert (failed.event, failed.identity, failed.outcome) == (
        Event.LOGIN_FAILED,
        None,
        "authentication-failed",
    )
    assert failed.why == "the token is not valid here"
    assert "wrong" not in str(failed)
