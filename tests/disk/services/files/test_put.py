"""Storing files: whole, checked, and at once."""

from __future__ import annotations

import json
import os
import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from sockserv.errors import CallError, ConnectionEnded, InvalidArgument, SockservError
from sockserv.files.errors import (
    Busy,
    Changed,
    DigestMismatch,
    Exists,
    FilesDenied,
    NotADirectory,
    NotAFile,
    NotFound,
)
from sockserv.files.names import RESERVED_PREFIX
from sockserv.testing import EVERY_BYTE, OWNER, Link
from sockserv.trust import FilesAccess
from tests.disk.services.files.kit import BIG, FilesServer, digest, somebody

CONTENTS = [b"", b"hello", BIG]
SIZES = pytest.mark.parametrize("content", CONTENTS, ids=["empty", "small", "big"])


def read(files: FilesServer, path: str) -> bytes:
    return (files.root / path).read_bytes()


@SIZES
def test_with_the_digest_first(files: FilesServer, content: bytes) -> None:
    result = files.put("a", content)
    assert read(files, "a") == content
    entry = files.call("stat", {"path": "a"}).result
    assert result == {"size": len(content), "etag": entry["etag"], "digest": digest(content)}
    assert files.names() == ["a"]


@SIZES
@pytest.mark.parametrize("size", ["said", "unknown"])
def test_with_the_digest_last(files: FilesServer, content: bytes, size: str) -> None:
    args: dict[str, Any] = {} if size == "said" else {"size": None}
    assert files.stream("a", content, **args)["digest"] == digest(content)
    assert read(files, "a") == content
    assert files.names() == ["a"]


@pytest.mark.parametrize("content", [b"hello", BIG], ids=["small", "big"])
def test_in_small_pieces(files: FilesServer, content: bytes) -> None:
    content = content[:2000]
    client = files.client(link=Link(fragments=EVERY_BYTE))
    args = {"path": "a", "digest": digest(content)}
    files.memory.run(client.call("files.put", args, body=content))
    assert read(files, "a") == content


@pytest.mark.parametrize("piece_bytes", [4096, 300_000])
def test_what_comes_while_the_disk_is_slow_is_taken_up_to_a_bound(
    files: FilesServer, piece_bytes: int
) -> None:
    content = bytes(range(256)) * 4096 * 16
    files.client()
    held: list[Any] = []
    in_thread = files.memory.network.in_thread

    def slow(function: Any, *args: Any) -> Deferred[Any]:
        turn: Deferred[Any] = Deferred()
        held.append(turn)
        return turn.addCallback(lambda _: in_thread(function, *args))

    object.__setattr__(files.memory.server._settings, "in_thread", slow)

    async def send() -> Any:
        call = await files.client().open("files.put", {"path": "a", "size": len(content)})
        for start in range(0, len(content), piece_bytes):
            await call.send(content[start : start + piece_bytes])
        await call.send(json.dumps({"digest": digest(content)}).encode(), stream=1)
        call.end()
        return await call.result()

    sending = Deferred.fromCoroutine(send())
    files.memory.flush()
    turns = 0
    while held:
        held.pop(0).callback(None)
        files.memory.flush()
        turns += 1
    assert files.memory.run(sending)["digest"] == digest(content)
    assert read(files, "a") == content
    # To open it, at least one for so much as may be taken, and to end it.
    assert 2 + len(content) // (4 << 20) <= turns <= 4 + len(content) // (1 << 20)


def test_a_small_file_costs_one_turn_in_a_thread(files: FilesServer) -> None:
    files.client()
    turns = count_turns(files)
    files.put("a", b"hello")
    files.stream("b", b"hello")
    assert len(turns) == 2


def count_turns(files: FilesServer) -> list[Any]:
    turns: list[Any] = []
    in_thread = files.memory.network.in_thread

    def counted(function: Any, *args: Any) -> Any:
        turns.append(function)
        return in_thread(function, *args)

    # Where the connections have it from.
    object.__setattr__(files.memory.server._settings, "in_thread", counted)
    return turns


@SIZES
def test_another_digest(files: FilesServer, content: bytes) -> None:
    other = digest(b"other")
    with pytest.raises(DigestMismatch):
        files.put("a", content, digest=other)
    with pytest.raises(DigestMismatch):
        files.stream("a", content, trailer=json.dumps({"digest": other}).encode(), upload="x")
    assert files.names() == []


@pytest.mark.parametrize(
    "trailer",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"digest":"md5:x"}',
        b'{"digest":"blake3:%b"}' % (b"0" * 63),
        b"x" * 2000,
    ],
)
def test_a_trailer_that_is_none(files: FilesServer, trailer: bytes) -> None:
    for content in (b"hello", BIG):
        with pytest.raises(InvalidArgument):
            files.stream("a", content, trailer=trailer)
        assert files.names() == []


def test_a_stream_that_has_no_meaning(files: FilesServer) -> None:
    async def send() -> None:
        call = await files.client().open("files.put", {"path": "a", "size": 5})
        await call.send(b"hello", stream=2)
        await call.result()

    with pytest.raises(InvalidArgument, match="stream 2"):
        files.memory.run(send())


@pytest.mark.parametrize("size", [4, 6, 0, 10**6])
@pytest.mark.parametrize("upload", ["", "x"])
def test_another_size(files: FilesServer, size: int, upload: str) -> None:
    with pytest.raises(InvalidArgument):
        files.put("a", b"hello", size=size, upload=upload)
    with pytest.raises(InvalidArgument):
        files.stream("a", b"hello", size=size, upload=upload)
    with pytest.raises(InvalidArgument):
        files.put("a", BIG, size=len(BIG) + size - 5, upload=upload)
    assert files.names() == []


@SIZES
def test_what_is_there_stays_unless_told_otherwise(files: FilesServer, content: bytes) -> None:
    old = files.put("a", b"old")
    with pytest.raises(Exists):
        files.put("a", content)
    with pytest.raises(Exists):
        files.put("a", content, overwrite="never")
    with pytest.raises(Changed):
        files.put("a", content, overwrite="0" * 24)
    assert read(files, "a") == b"old"
    new = files.put("a", content, overwrite=old["etag"])
    assert read(files, "a") == content
    with pytest.raises(Changed):
        files.put("a", b"late", overwrite=old["etag"])
    files.put("a", b"last", overwrite="always")
    assert new["etag"] != old["etag"]
    assert files.names() == ["a"]
    assert read(files, "a") == b"last"


def test_what_was_to_be_replaced_is_gone(files: FilesServer) -> None:
    etag = files.put("a", b"old")["etag"]
    files.call("remove", {"path": "a"})
    with pytest.raises(Changed):
        files.put("a", b"new", overwrite=etag)
    files.put("a", b"new", overwrite="always")


@pytest.mark.parametrize("overwrite", ["never", "always"])
def test_a_directory_is_not_replaced(files: FilesServer, overwrite: str) -> None:
    files.call("mkdir", {"path": "a"})
    with pytest.raises(Exists if overwrite == "never" else NotAFile):
        files.put("a", b"new", overwrite=overwrite)
    files.put("b", b"")
    with pytest.raises(NotADirectory):
        files.put("b/c", b"new", overwrite=overwrite)


def test_directories_are_made_when_asked(files: FilesServer) -> None:
    with pytest.raises(NotFound):
        files.put("a/b/c", b"new")
    assert files.names() == []
    files.put("a/b/c", b"new", parents=True)
    files.put("a/b/d", b"new", parents=True)
    assert files.names() == ["a", "a/b", "a/b/c", "a/b/d"]


def test_modes_and_times(files: FilesServer) -> None:
    files.put("a", b"", mode=0o751, mtime_ns=-5)
    status = (files.root / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o751, -5)
    files.put("a", b"1", overwrite="always")
    assert stat.S_IMODE((files.root / "a").stat().st_mode) == 0o751, (
        "what it replaces had that mode"
    )
    umask = os.umask(0o027)
    try:
        files.put("b", b"")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((files.root / "b").stat().st_mode) == 0o640


def test_a_time_that_no_clock_has_shown(files: FilesServer) -> None:
    for mtime_ns in (2**62, -(2**62)):
        files.put("a", b"", mtime_ns=mtime_ns, overwrite="always")


def start(files: FilesServer, path: str, content: bytes = BIG, **args: Any) -> Any:
    """Begin an upload; the content has been sent, and its end has not."""

    async def send() -> Any:
        who = args.pop("who", OWNER)
        call = await files.client(who).open(
            "files.put", {"path": path, "size": len(content), **args}
        )
        await call.send(content[args.get("offset", 0) :])
        return call

    call = files.memory.run(send())
    files.memory.flush()
    return call


def finish(files: FilesServer, call: Any, content: bytes = BIG) -> Any:
    async def end() -> Any:
        await call.send(json.dumps({"digest": digest(content)}).encode(), stream=1)
        call.end()
        return await call.result()

    return files.memory.run(end())


def test_nobody_sees_a_part(files: FilesServer) -> None:
    files.put("a", b"old")
    call = start(files, "a", overwrite="always")
    assert files.get("a")[1] == b"old"
    assert [entry["name"] for entry in files.entries()] == ["a"]
    (partial,) = {*files.names()} - {"a"}
    assert partial.startswith(RESERVED_PREFIX)
    finish(files, call)
    assert files.get("a")[1] == BIG
    assert files.names() == ["a"]


def test_of_two_at_once_one_wins(files: FilesServer) -> None:
    first, second = start(files, "a"), start(files, "a", BIG[:-1])
    finish(files, second, BIG[:-1])
    with pytest.raises(Exists):
        finish(files, first)
    assert files.names() == ["a"]
    assert read(files, "a") == BIG[:-1]


def test_of_two_that_replace_the_same_one_wins(files: FilesServer) -> None:
    etag = files.put("a", b"old")["etag"]
    first = start(files, "a", overwrite=etag)
    second = start(files, "a", BIG[:-1], overwrite=etag)
    finish(files, second, BIG[:-1])
    with pytest.raises(Changed):
        finish(files, first)
    assert read(files, "a") == BIG[:-1]


def test_a_directory_that_goes_meanwhile(files: FilesServer) -> None:
    files.call("mkdir", {"path": "a"})
    call = start(files, "a/b")
    files.call("remove", {"path": "a", "recursive": True})
    with pytest.raises(NotFound):
        finish(files, call)
    assert files.names() == []


def test_a_directory_that_moves_meanwhile(files: FilesServer) -> None:
    files.call("mkdir", {"path": "a"})
    call = start(files, "a/b")
    files.call("move", {"source": "a", "target": "c"})
    finish(files, call)
    assert files.names() == ["c", "c/b"]


# What broke off


def break_off(files: FilesServer, count: int, content: bytes = BIG, **args: Any) -> None:
    """Send some bytes, and break off."""
    call = start(
        files,
        args.pop("path", "a"),
        content[:count],
        **{"upload": "x", "size": len(content), **args},
    )
    call.cancel()
    files.memory.flush()


def kept(files: FilesServer, upload: str = "x", path: str = "a", **args: Any) -> Any:
    return files.call("partial", {"path": path, "upload": upload}, **args).result


@pytest.mark.parametrize("count", [1, 1000, 300_000])
def test_it_goes_on_where_it_broke_off(files: FilesServer, count: int) -> None:
    break_off(files, count)
    assert files.entries() == []
    assert kept(files) == {"offset": count, "digest": digest(BIG[:count])}
    for offset in (count, count - 1):
        result = files.stream("a", BIG, upload="x", offset=offset, overwrite="always")
        assert result["digest"] == digest(BIG)
        assert read(files, "a") == BIG
        assert files.names() == ["a"]
        assert kept(files) == {"offset": 0, "digest": digest(b"")}
        break_off(files, count, overwrite="always")


@pytest.mark.parametrize("count", [1000, 300_000])
def test_it_goes_on_with_little(files: FilesServer, count: int) -> None:
    break_off(files, count)
    rest = BIG[count:]
    files.put("a", rest, size=len(BIG), offset=count, upload="x", digest=digest(BIG))
    assert read(files, "a") == BIG


def test_it_begins_again(files: FilesServer) -> None:
    break_off(files, 1000)
    files.stream("a", BIG, upload="x")
    assert files.names() == ["a"]
    assert read(files, "a") == BIG


def test_it_breaks_off_again_and_again(files: FilesServer) -> None:
    content = 4 * BIG
    offset = 0
    for count in (1, 300_000, 300_001, 900_000):
        call = start(files, "a", content[:count], upload="x", offset=offset, size=len(content))
        call.cancel()
        files.memory.flush()
        offset = kept(files)["offset"]
        assert offset == count
    files.stream("a", content, upload="x", offset=offset)
    assert read(files, "a") == content


def test_the_connection_breaks(files: FilesServer) -> None:
    link = Link()
    client = files.client(link=link)

    async def send() -> None:
        call = await client.open("files.put", {"path": "a", "size": len(BIG), "upload": "x"})
        await call.send(BIG[:300_000])
        await call.result()

    link.to_server.cut_after(link.to_server.delivered_bytes + 200_000)
    with pytest.raises(ConnectionEnded):
        files.memory.run(send())
    files.memory.flush()
    partial = kept(files)
    assert 100_000 < partial["offset"] < 200_000
    assert partial["digest"] == digest(BIG[: partial["offset"]])
    files.stream("a", BIG, upload="x", offset=partial["offset"])
    assert read(files, "a") == BIG


def test_without_a_name_nothing_is_kept(files: FilesServer) -> None:
    break_off(files, 1000, upload="")
    assert files.names() == []
    with pytest.raises(InvalidArgument):
        files.stream("a", BIG, offset=1000)


def test_more_than_was_kept(files: FilesServer) -> None:
    break_off(files, 1000)
    with pytest.raises(Changed) as caught:
        files.stream("a", BIG, upload="x", offset=1001)
    assert caught.value.details["offset"] == 1000
    assert kept(files)["offset"] == 1000
    with pytest.raises(Changed):
        files.stream("a", BIG, upload="y", offset=1)
    assert kept(files)["offset"] == 1000


def test_a_prefix_that_is_not_the_senders(files: FilesServer) -> None:
    break_off(files, 1000)
    (partial,) = files.names()
    (files.root / partial).write_bytes(b"0" * 1000)
    assert kept(files)["digest"] != digest(BIG[:1000])
    with pytest.raises(DigestMismatch):
        files.stream("a", BIG, upload="x", offset=1000)
    assert files.names() == [], "it would never become right"


def test_the_same_upload_twice_at_once(files: FilesServer) -> None:
    call = start(files, "a", upload="x")
    with pytest.raises(Busy):
        files.stream("a", BIG, upload="x")
    with pytest.raises(Busy):
        kept(files)
    finish(files, call)
    assert read(files, "a") == BIG


def test_what_is_kept_is_the_senders_alone(files: FilesServer) -> None:
    alice = somebody(FilesAccess.READ_WRITE, name="alice")
    bob = somebody(FilesAccess.READ_WRITE, name="bob")
    break_off(files, 1000, who=alice)
    (partial,) = files.names()
    assert kept(files, who=alice)["offset"] == 1000
    assert kept(files, who=bob)["offset"] == 0
    for op in ("stat", "remove", "digest"):
        with pytest.raises(SockservError):
            files.call(op, {"path": partial}, who=bob)
    with pytest.raises(SockservError):
        files.get(partial, who=bob)


@pytest.mark.parametrize("how", ["link", "hard link", "fifo", "directory"])
def test_a_partial_that_somebody_else_has_made(files: FilesServer, how: str) -> None:
    """Somebody with an account on the machine knows what it will be called."""
    break_off(files, 1000)
    (name,) = files.names()
    partial, outside = files.root / name, files.root.parent / "outside"
    partial.unlink()
    outside.write_bytes(BIG[:1000])
    if how == "link":
        partial.symlink_to(outside)
    elif how == "hard link":
        partial.hardlink_to(outside)
    elif how == "fifo":
        os.mkfifo(partial)
    else:
        partial.mkdir()
    assert kept(files)["offset"] == 0
    with pytest.raises(Changed):
        files.stream("a", BIG, upload="x", offset=1000)
    if how == "directory":
        with pytest.raises(NotAFile):
            files.stream("a", BIG, upload="x")
    else:
        files.stream("a", BIG, upload="x")
        assert read(files, "a") == BIG
    assert outside.read_bytes() == BIG[:1000]


def test_the_wrong_content_is_not_kept(files: FilesServer) -> None:
    with pytest.raises(CallError):
        files.put("a", BIG, upload="x", size=len(BIG) - 1)
    assert files.names() == []


def test_going_on_is_for_who_may_put(files: FilesServer) -> None:
    with pytest.raises(CallError):
        kept(files, who=somebody(FilesAccess.READ_ONLY))
    with pytest.raises(FilesDenied):
        files.put("a", b"", overwrite="always", who=somebody(FilesAccess.DROP))


@given(st.lists(st.integers(0, 5000), max_size=4), st.booleans())
def test_any_interruptions(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], is_big: bool
) -> None:
    content = BIG if is_big else BIG[:5000]
    with FilesServer(tmp_path_factory.mktemp("any") / "files") as files:
        offset = 0
        for cut in cuts:
            end = min(len(content), offset + cut * (60 if is_big else 1))
            call = start(files, "a", content[:end], upload="x", offset=offset, size=len(content))
            call.cancel()
            files.memory.flush()
            offset = kept(files)["offset"]
            # A small file is stored in one step, or not at all.
            assert offset <= end
        assert files.stream("a", content, upload="x", offset=offset)["size"] == len(content)
        assert files.names() == ["a"]
        assert read(files, "a") == content
