"""Files that somebody sends to somebody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sockserv.errors import InvalidArgument, PermissionDenied
from sockserv.files.errors import (
    Changed,
    DigestMismatch,
    NoReceiver,
    QuotaExceeded,
    ReadOnly,
    RefusedName,
    TooLong,
)
from sockserv.files.facts import Offered
from sockserv.services.files import Files
from sockserv.services.files.offering import KnownOffers
from sockserv.testing import OWNER, MemoryServer
from sockserv.trust import FilesAccess, FilesGrant, Identity
from tests.disk.services.files.kit import BIG, FilesServer, digest
from tests.server.test_audited import Sink

MAX_FILES = 5
QUOTA_BYTES = 1_000_000


def person(
    name: str,
    access: FilesAccess | None = FilesAccess.READ_WRITE,
    *,
    inbox: bool | None = None,
    chats: bool = True,
    root: str | None = None,
) -> Identity:
    files = None if access is None else FilesGrant(root or name, access, inbox)
    held = {*(["files"] if files else []), *(["chat"] if chats else [])}
    return Identity(name, frozenset(held), files=files)


ALICE = person("alice")
BOB = person("bob")
PEOPLE = {
    one.name: one
    for one in (
        ALICE,
        BOB,
        OWNER,
        person("reader", FilesAccess.READ_ONLY),
        person("reads-mail", FilesAccess.READ_ONLY, inbox=True),
        person("dropper", FilesAccess.DROP),
        person("no-inbox", inbox=False),
        person("no-files", None),
        person("no-chat", chats=False),
        person("elsewhere", root="/nowhere/at/all"),
    )
}


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FilesServer]:
    with FilesServer(
        tmp_path / "files",
        identity_of=PEOPLE.get,
        max_inbox_files=MAX_FILES,
        quota_bytes=QUOTA_BYTES,
    ) as server:
        yield server


def offer(
    files: FilesServer,
    content: bytes = b"content",
    *,
    name: str = "report.pdf",
    to: str = "bob",
    who: Identity = ALICE,
    **args: Any,
) -> Any:
    args = {"to": to, "name": name, "size": len(content), "digest": digest(content), **args}
    return files.call("offer", args, content, who=who).result


def offered(files: FilesServer, upload: str, *, name: str = "report.pdf") -> Any:
    return files.call("offered", {"to": "bob", "name": name, "upload": upload}, who=ALICE).result


def begin(files: FilesServer, content: bytes, sent: int, *, upload: str) -> Any:
    async def send() -> Any:
        args = {"to": "bob", "name": "report.pdf", "size": len(content), "upload": upload}
        call = await files.client(ALICE).open("files.offer", args)
        await call.send(content[:sent])
        return call

    call = files.memory.run(send())
    files.memory.flush()
    return call


def break_off(files: FilesServer, content: bytes, sent: int, *, upload: str = "u") -> None:
    call = begin(files, content, sent, upload=upload)
    call.cancel()
    files.memory.flush()


@pytest.mark.parametrize("content", [b"", b"content", BIG], ids=["empty", "small", "big"])
def test_a_file_comes_into_the_inbox(files: FilesServer, content: bytes) -> None:
    result = offer(files, content)
    assert result["path"] == "inbox/report.pdf"
    assert (result["size"], result["digest"]) == (len(content), digest(content))
    assert files.get("inbox/report.pdf", who=BOB)[1] == content
    assert files.names() == ["bob", "bob/inbox", "bob/inbox/report.pdf"]


def test_nothing_is_replaced(files: FilesServer) -> None:
    paths = [offer(files, content)["path"] for content in (b"1", b"2", b"2")]
    assert paths == ["inbox/report.pdf", "inbox/report (2).pdf", "inbox/report (3).pdf"]
    assert files.get("inbox/report.pdf", who=BOB)[1] == b"1"


@pytest.mark.parametrize(
    "to",
    ["nobody", "reader", "dropper", "no-inbox", "no-files", "no-chat", "elsewhere", "bob\n", "."],
)
def test_who_takes_no_files(files: FilesServer, to: str) -> None:
    with pytest.raises(NoReceiver, match="nobody called|has no folder"):
        offer(files, to=to)
    assert files.names() == []


def test_who_may_only_read_can_be_given_an_inbox(files: FilesServer) -> None:
    assert offer(files, to="reads-mail")["path"] == "inbox/report.pdf"


@pytest.mark.parametrize(
    ("who", "error"),
    [
        (person("no-files", None), PermissionDenied),
        (person("no-chat", chats=False), PermissionDenied),
        (person("reader", FilesAccess.READ_ONLY), ReadOnly),
    ],
    ids=["without files", "without chat", "read-only"],
)
def test_who_may_not_send(files: FilesServer, who: Identity, error: type[Exception]) -> None:
    with pytest.raises(error):
        offer(files, who=who)
    assert files.names() == []


def test_who_may_only_drop_files_can_send_some(files: FilesServer) -> None:
    assert offer(files, who=person("dropper", FilesAccess.DROP))["path"] == "inbox/report.pdf"


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "a\0", "a\nb", "\u202efdp.exe"])
def test_names_that_are_none(files: FilesServer, name: str) -> None:
    with pytest.raises(RefusedName):
        offer(files, name=name)
    with pytest.raises(TooLong):
        offer(files, name="a" * 10_000)
    assert files.names() == []


def test_an_inbox_that_is_something_else(files: FilesServer, tmp_path: Path) -> None:
    (files.root / "bob").mkdir(parents=True)
    (files.root / "bob" / "inbox").symlink_to(tmp_path)
    with pytest.raises(NoReceiver):
        offer(files)
    (files.root / "bob" / "inbox").unlink()
    (files.root / "bob" / "inbox").write_bytes(b"I take none")
    with pytest.raises(NoReceiver):
        offer(files)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_an_inbox_at_its_limit_and_one_past_it(files: FilesServer) -> None:
    for _ in range(MAX_FILES):
        offer(files)
    with pytest.raises(QuotaExceeded, match="bob has no room"):
        offer(files)
    files.call("remove", {"path": "inbox/report.pdf"}, who=BOB)
    assert offer(files)["path"] == "inbox/report.pdf"


def test_beginnings_keep_nobody_out(files: FilesServer) -> None:
    for number in range(MAX_FILES + 2):
        break_off(files, BIG, 1000, upload=str(number))
        for path in (files.root / "bob/inbox").iterdir():
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 10**9))
    assert len(files.names()) == MAX_FILES + 2
    # The oldest have made room.
    assert [offered(files, str(number))["offset"] for number in range(MAX_FILES + 2)] == [
        0,
        0,
        *[1000] * MAX_FILES,
    ]
    assert offer(files, BIG)["path"] == "inbox/report.pdf"
    assert offered(files, "2")["offset"] == 0
    assert offered(files, "3")["offset"] == 1000


def test_what_is_being_sent_makes_no_room(tmp_path: Path) -> None:
    with FilesServer(tmp_path, identity_of=PEOPLE.get, max_inbox_files=MAX_FILES) as files:
        calls = [begin(files, BIG, 1000, upload=str(number)) for number in range(MAX_FILES)]
        with pytest.raises(QuotaExceeded):
            offer(files)
        calls[0].cancel()
        files.memory.flush()
        assert offer(files)["path"] == "inbox/report.pdf"


@pytest.mark.parametrize("to", ["bob", "owner"])
def test_the_receiver_has_to_have_room(files: FilesServer, to: str) -> None:
    offer(files, bytes(QUOTA_BYTES - 10), to=to)
    with pytest.raises(QuotaExceeded) as caught:
        offer(files, bytes(11), to=to)
    # How much others have is nobody's business.
    assert caught.value.details == {"to": to}
    assert str(QUOTA_BYTES) not in str(caught.value)
    assert offer(files, bytes(10), to=to)["path"] == "inbox/report (2).pdf"


def test_the_senders_own_quota_does_not_count(files: FilesServer) -> None:
    files.put("full", bytes(QUOTA_BYTES), who=ALICE)
    assert offer(files)["path"] == "inbox/report.pdf"


def test_it_is_the_senders_rate_that_counts(tmp_path: Path) -> None:
    with FilesServer(
        tmp_path, identity_of=PEOPLE.get, rate_bytes_per_second=len(BIG) // 4
    ) as files:
        begun = files.memory.clock.seconds()
        args = {"to": "bob", "name": "a", "size": len(BIG), "digest": digest(BIG)}
        files.call("offer", args, BIG, who=ALICE, max_seconds=10)
        assert files.memory.clock.seconds() - begun >= 4


def test_what_is_not_what_was_said(files: FilesServer) -> None:
    with pytest.raises(DigestMismatch):
        offer(files, BIG, digest=digest(b"other"))
    with pytest.raises(InvalidArgument):
        offer(files, BIG, size=3)
    with pytest.raises(InvalidArgument):
        offer(files, BIG, offset=1)
    assert files.names() == ["bob", "bob/inbox"]


def test_what_broke_off_goes_on(files: FilesServer) -> None:
    assert offered(files, "u")["offset"] == 0
    break_off(files, BIG, 100_000)
    assert [entry["name"] for entry in files.entries("bob/inbox")] == []
    kept = offered(files, "u")
    assert kept == {"offset": 100_000, "digest": digest(BIG[:100_000]), "offered": None}
    args = {"to": "bob", "name": "report.pdf", "size": len(BIG), "upload": "u", "offset": 100_000}
    rest = BIG[100_000:]
    reply = files.call("offer", {**args, "digest": digest(BIG)}, rest, who=ALICE)
    assert reply.result["path"] == "inbox/report.pdf"
    assert files.get("inbox/report.pdf", who=BOB)[1] == BIG
    # Nobody else's: not another sender's, and not that of another name.
    break_off(files, BIG, 100_000)
    assert offered(files, "other")["offset"] == 0
    assert offered(files, "u", name="other")["offset"] == 0


def test_who_has_not_heard_that_it_came_asks(files: FilesServer) -> None:
    result = offer(files, BIG, upload="u")
    kept = offered(files, "u")
    assert kept == {"offset": len(BIG), "digest": digest(BIG), "offered": result}
    # It has been taken out: then it may come again.
    files.call("move", {"source": result["path"], "target": "mine"}, who=BOB)
    assert offered(files, "u")["offered"] is None


def test_offers_are_known_for_a_while() -> None:
    known = KnownOffers(2)
    offers = [Offered(size=0, etag="", digest="", path=path) for path in "abc"]
    for one in (*offers[:2], offers[0], offers[2]):
        known.add((one.path,), one)
    assert [known.get((path,)) for path in "abc"] == [offers[0], None, offers[2]]


LATER: dict[str, tuple[Identity, type[Exception]]] = {
    "the sender may not chat": (person("alice", chats=False), PermissionDenied),
    "the receiver may not chat": (person("bob", chats=False), NoReceiver),
    "the receiver takes none": (person("bob", inbox=False), NoReceiver),
    "the receiver has no folder": (person("bob", None), NoReceiver),
    "the receiver has another folder": (person("bob", root="another"), Changed),
}


@pytest.mark.parametrize("size", [50_000, 2_000_000], ids=["small", "large"])
@pytest.mark.parametrize("what", LATER)
def test_what_may_not_come_any_more_when_it_is_there(tmp_path: Path, what: str, size: int) -> None:
    somebody, error = LATER[what]
    people = dict(PEOPLE)
    with FilesServer(tmp_path, identity_of=people.get) as files:
        content = bytes(size)
        call = begin(files, content, size // 2, upload="u")
        people[somebody.name] = somebody
        login = ALICE if somebody.name == "alice" else None
        files.memory.server.reconsider(lambda who: somebody if who == login else who)
        files.memory.flush()

        async def send_the_rest() -> Any:
            await call.send(content[size // 2 :])
            await call.send(b'{"digest": "%s"}' % digest(content).encode(), stream=1)
            call.end()
            return await call.result()

        with pytest.raises(error):
            files.memory.run(send_the_rest())
        assert not [name for name in files.names() if "inbox/" in name]


def test_what_is_changed_otherwise_does_not_matter(tmp_path: Path) -> None:
    people = dict(PEOPLE)
    with FilesServer(tmp_path, identity_of=people.get) as files:
        call = begin(files, BIG, 1000, upload="u")
        people["bob"] = Identity("bob", BOB.permissions | {"exec"}, files=BOB.files)

        async def send_the_rest() -> Any:
            await call.send(BIG[1000:])
            await call.send(b'{"digest": "%s"}' % digest(BIG).encode(), stream=1)
            call.end()
            return await call.result()

        assert files.memory.run(send_the_rest())["path"] == "inbox/report.pdf"


def test_where_nobody_is_known(tmp_path: Path) -> None:
    with FilesServer(tmp_path) as files, pytest.raises(NoReceiver):
        offer(files)


def test_what_is_written_down(tmp_path: Path) -> None:
    sink = Sink()
    with MemoryServer([Files(tmp_path, identity_of=PEOPLE.get)], audit=sink) as memory:
        args = {"to": "bob", "name": "a", "digest": digest(BIG), "size": len(BIG)}
        memory.run(memory.connect(ALICE).call("files.offer", args, body=BIG))
    begin, end = sink.take()
    assert begin["op"] == "files.offer"
    assert begin["args"]["to"] == "bob"
    assert begin["args"]["name"] == "a"
    assert (end["outcome"], end["rule"]) == ("ok", "files:rw alice, chat")
    assert end["facts"] == {"path": "inbox/a", "size": len(BIG), "digest": digest(BIG)}
    assert end["received_bytes"] == len(BIG)
