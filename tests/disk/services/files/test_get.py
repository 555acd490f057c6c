"""Sending files: all of what was asked for, of one content, or an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from sockserv.client import OutgoingCall
from sockserv.errors import ConnectionEnded, InvalidArgument
from sockserv.files.errors import Changed, NotAFile, NotFound
from sockserv.limits import Limits
from sockserv.testing import EVERY_BYTE, Link
from tests.disk.services.files.kit import BIG, FilesServer, digest

CONTENTS = [b"", b"hello", BIG, 4 * BIG]
SIZES = pytest.mark.parametrize("content", CONTENTS, ids=["empty", "small", "big", "bigger"])


def place(files: FilesServer, path: str, content: bytes) -> None:
    """Have a file there that the service knows nothing of."""
    files.root.mkdir(exist_ok=True)
    (files.root / path).write_bytes(content)


@SIZES
def test_all_of_it(files: FilesServer, content: bytes) -> None:
    place(files, "a", content)
    os.chmod(files.root / "a", 0o4751)
    os.utime(files.root / "a", ns=(1, 2))
    head, body, result = files.get("a")
    entry = files.call("stat", {"path": "a"}).result
    assert head == {"size": len(content), "etag": entry["etag"], "mtime_ns": 2, "mode": 0o751}
    assert body == content
    assert result == {"count": len(content), "etag": entry["etag"], "digest": digest(content)}
    assert files.get("a", etag=entry["etag"])[1] == content


@SIZES
@pytest.mark.parametrize("offset", [0, 1, 300_000])
def test_from_an_offset_on(files: FilesServer, content: bytes, offset: int) -> None:
    """Whoever goes on gets the digest of the whole, to check all that it has then."""
    place(files, "a", content)
    if offset > len(content):
        with pytest.raises(InvalidArgument, match="beyond the end"):
            files.get("a", offset=offset)
        return
    _, body, result = files.get("a", offset=offset)
    assert body == content[offset:]
    assert (result["count"], result["digest"]) == (len(content) - offset, digest(content))


@pytest.mark.parametrize("content", [b"hello", BIG], ids=["small", "big"])
def test_nothing_more_to_send(files: FilesServer, content: bytes) -> None:
    place(files, "a", content)
    _, body, result = files.get("a", offset=len(content))
    assert (body, result["digest"]) == (b"", digest(content))


@pytest.mark.parametrize(
    ("offset", "count"), [(0, 0), (0, 3), (2, 3), (4, 100), (1000, 290_000), (0, 10**9)]
)
def test_a_part(files: FilesServer, offset: int, count: int) -> None:
    place(files, "a", BIG)
    _, body, result = files.get("a", offset=offset, count=count)
    expected = BIG[offset : offset + count]
    assert (body, result["count"], result["digest"]) == (expected, len(expected), None)


def test_without_a_digest(files: FilesServer) -> None:
    place(files, "a", BIG)
    assert files.get("a", digest=False)[2]["digest"] is None


def test_another_file_than_was_meant(files: FilesServer) -> None:
    place(files, "a", b"old")
    etag = files.get("a")[0]["etag"]
    place(files, "a", b"other")
    with pytest.raises(Changed):
        files.get("a", etag=etag)
    with pytest.raises(Changed):
        files.get("a", etag="")


def test_what_is_no_file(files: FilesServer) -> None:
    files.call("mkdir", {"path": "a"})
    for path in ("a", ""):
        with pytest.raises(NotAFile):
            files.get(path)
    with pytest.raises(NotFound):
        files.get("b")


@pytest.mark.parametrize("content", [b"hello", BIG], ids=["small", "big"])
def test_what_is_known_is_not_digested_again(files: FilesServer, content: bytes) -> None:
    digests = files.service._store.digests
    files.put("put", content)
    place(files, "placed", content)
    os.utime(files.root / "placed", ns=(1, 1))
    assert digests.find((files.root / "put").stat()) == digest(content)
    files.get("placed")
    assert digests.find((files.root / "placed").stat()) == digest(content)
    # Whether it is believed shows best with one that is wrong.
    digests.learn_written((files.root / "put").stat(), "blake3:wrong")
    assert files.get("put")[2]["digest"] == "blake3:wrong"
    assert files.call("digest", {"path": "put"}).result["digest"] == "blake3:wrong"


def test_what_changes_while_its_digest_is_known_is_digested_again(files: FilesServer) -> None:
    files.put("a", b"hello")
    place(files, "a", b"HELLO")
    assert files.get("a")[2]["digest"] == digest(b"HELLO")


def begin(files: FilesServer, path: str, **args: Any) -> OutgoingCall:
    """Ask for a file, and read nothing of it."""
    call = files.memory.run(files.client().open("files.get", {"path": path, **args}, end=True))
    files.memory.flush()
    return call


async def read_all(call: OutgoingCall) -> bytes:
    body = b""
    while (taken := await call.body.take()) is not None:
        body += taken[1] if not taken[0] else b""
    return body


def in_place(change: Callable[[int], object]) -> Callable[[FilesServer], object]:
    def run(files: FilesServer) -> None:
        file = os.open(files.root / "a", os.O_RDWR)
        try:
            change(file)
        finally:
            os.close(file)

    return run


@pytest.mark.parametrize("with_digest", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        in_place(lambda file: os.truncate(file, 10**6)),
        in_place(lambda file: os.truncate(file, 0)),
        in_place(lambda file: os.pwrite(file, b"more", 10 * len(BIG))),
        in_place(lambda file: os.pwrite(file, b"other", 5)),
    ],
    ids=["shorter", "empty", "longer", "other"],
)
def test_it_changes_while_it_is_sent(
    files: FilesServer, change: Callable[[FilesServer], object], with_digest: bool
) -> None:
    place(files, "a", 10 * BIG)
    os.utime(files.root / "a", ns=(1, 1))
    call = begin(files, "a", digest=with_digest)
    change(files)
    with pytest.raises(Changed):
        files.memory.run(read_all(call))
    assert files.call("stat", {"path": "a"}).result["name"] == "a", "the connection goes on"
    assert not open_files(files)


@pytest.mark.parametrize("how", ["replaced", "removed", "moved", "renamed over"])
def test_its_name_changes_while_it_is_sent(files: FilesServer, how: str) -> None:
    content = 10 * BIG
    place(files, "a", content)
    call = begin(files, "a")
    if how == "replaced":
        files.put("a", b"new", overwrite="always")
    elif how == "removed":
        files.call("remove", {"path": "a"})
    elif how == "moved":
        files.call("move", {"source": "a", "target": "b"})
    else:
        place(files, "b", b"new")
        files.call("move", {"source": "b", "target": "a", "overwrite": "always"})
    assert files.memory.run(read_all(call)) == content


def open_files(files: FilesServer) -> list[str]:
    """What this process has open below the root."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith(str(files.root)):
            found.append(target)
    return found


def test_a_slow_reader_pauses_it(files: FilesServer) -> None:
    place(files, "a", 40 * BIG)
    link = Link()
    client = files.client(link=link)
    call = files.memory.run(client.open("files.get", {"path": "a"}, end=True))
    files.memory.flush()
    window = Limits().window_bytes
    assert link.to_client.delivered_bytes < 2 * window
    assert files.memory.run(read_all(call)) == 40 * BIG


@pytest.mark.parametrize("how", ["cancel", "cut"])
def test_who_goes_away_leaves_nothing_open(files: FilesServer, how: str) -> None:
    place(files, "a", 40 * BIG)
    link = Link()
    client = files.client(link=link)
    call = files.memory.run(client.open("files.get", {"path": "a"}, end=True))
    files.memory.flush()
    assert open_files(files)
    if how == "cancel":
        call.cancel()
    else:
        link.cut()
        with pytest.raises(ConnectionEnded):
            files.memory.run(call.result())
    files.memory.flush()
    assert not open_files(files)


def test_every_byte_by_itself(files: FilesServer) -> None:
    place(files, "a", b"hello")
    client = files.client(link=Link(fragments=EVERY_BYTE))

    async def take() -> bytes:
        call = await client.open("files.get", {"path": "a"}, end=True)
        return await read_all(call)

    assert files.memory.run(take()) == b"hello"


def test_one_turn_in_a_thread(files: FilesServer) -> None:
    place(files, "a", b"hello")
    files.client()
    turns: list[Any] = []
    in_thread = files.memory.network.in_thread

    def counted(function: Any, *args: Any) -> Any:
        turns.append(function)
        return in_thread(function, *args)

    object.__setattr__(files.memory.server._settings, "in_thread", counted)
    files.get("a")
    files.call("stat", {"path": "a"})
    files.call("digest", {"path": "a", "algorithm": "md5"})
    assert len(turns) == 3


def test_many_at_once(files: FilesServer) -> None:
    place(files, "a", 10 * BIG)
    calls = [begin(files, "a") for _ in range(50)]
    for call in calls[1:]:
        call.cancel()
    files.memory.flush()
    assert files.memory.run(read_all(calls[0])) == 10 * BIG
    assert not open_files(files)
