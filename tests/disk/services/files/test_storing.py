"""Small files that are stored at the same time: one turn of a thread for many, and none of them knows of the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from sockserv.client import Reply
from sockserv.files.errors import Busy, DigestMismatch, Exists, NotADirectory, NotFound
from sockserv.testing import OWNER
from sockserv.trust import FilesAccess, Identity
from tests.disk.services.files.kit import FilesServer, digest, somebody
from tests.disk.services.files.test_put import count_turns

CONTENT = b"hello"


def begin(
    files: FilesServer, path: str, *, who: Identity = OWNER, **args: Any
) -> Deferred[Reply[Any]]:
    args = {"path": path, "size": len(CONTENT), "digest": digest(CONTENT), **args}
    return files.client(who).call("files.put", args, body=CONTENT)


def outcomes(files: FilesServer, calls: Sequence[Deferred[Reply[Any]]]) -> list[Any]:
    """The result of each, or the class of its error."""
    found: list[Any] = []
    for call in calls:
        call.addCallbacks(lambda reply: reply.result, lambda failure: failure.type)
        found.append(files.memory.run(call))
    return found


def test_many_share_a_few_turns(files: FilesServer) -> None:
    files.client()
    turns = count_turns(files)
    with files.client().together():
        calls = [begin(files, f"{number:03}") for number in range(100)]
    results = outcomes(files, calls)
    assert all(result["digest"] == digest(CONTENT) for result in results)
    assert files.names() == [f"{number:03}" for number in range(100)]
    # At most 64 are open at a time.
    assert len(turns) == 2


def test_what_goes_wrong_with_one_stops_none(files: FilesServer) -> None:
    files.put("there", b"old")
    with files.client().together():
        calls = [
            begin(files, "a"),
            begin(files, "b", digest=digest(b"other")),
            begin(files, "there"),
            begin(files, "missing/c"),
            begin(files, "there/d", parents=True),
            begin(files, "e"),
            begin(files, "new/f", parents=True),
        ]
    a, *wrong, e, f = outcomes(files, calls)
    assert wrong == [DigestMismatch, Exists, NotFound, NotADirectory]
    assert a["digest"] == e["digest"] == f["digest"]
    assert files.names() == ["a", "e", "new", "new/f", "there"]
    assert (files.root / "there").read_bytes() == b"old"


def test_one_of_those_that_want_a_name_gets_it(files: FilesServer) -> None:
    with files.client().together():
        calls = [begin(files, "a") for _ in range(5)]
    first, *others = outcomes(files, calls)
    assert first["etag"]
    assert others == [Exists] * 4
    assert files.names() == ["a"]


def test_the_root_has_no_name_though_it_is_open(files: FilesServer) -> None:
    for path in (".", "", "a/..", ".."):
        with files.client().together():
            calls = [begin(files, "a", overwrite="always"), begin(files, path)]
        stored, refused = outcomes(files, calls)
        assert stored["etag"]
        assert isinstance(refused, type)
    assert files.names() == ["a"]


def test_who_is_cancelled_before_the_turn_is_left_out(files: FilesServer) -> None:
    files.client()
    with files.client().together():
        calls = [begin(files, name) for name in "abc"]
    # The requests have arrived, and the thread has not begun.
    files.memory.network.step()
    calls[1].cancel()
    assert outcomes(files, calls)[1] is CancelledError
    files.memory.flush()
    assert "a" in files.names()
    assert "c" in files.names()


def test_each_folder_has_its_own_turn(files: FilesServer) -> None:
    alice = somebody(FilesAccess.READ_WRITE, root="alice", name="alice")
    bob = somebody(FilesAccess.READ_WRITE, root="bob", name="bob")
    for who in (alice, bob):
        files.client(who)
    turns = count_turns(files)
    calls = [begin(files, "a", who=who) for who in (alice, bob)]
    assert all(result["etag"] for result in outcomes(files, calls))
    assert len(turns) == 2


def test_no_descriptor_stays_open(files: FilesServer) -> None:
    files.put("a", CONTENT)
    before = open_descriptors()
    with files.client().together():
        calls = [begin(files, path) for path in ("a", "x/b", "c", "d")]
    outcomes(files, calls)
    assert open_descriptors() == before


def open_descriptors() -> int:
    """How many this process has, as far as the system tells."""
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0


def test_without_threads_everybody_hears_of_it(files: FilesServer) -> None:
    files.client()

    def in_thread(function: Any, *args: Any) -> Any:
        raise Busy("there are no threads")

    object.__setattr__(files.memory.server._settings, "in_thread", in_thread)
    calls = [begin(files, name) for name in "ab"]
    assert outcomes(files, calls) == [Busy, Busy]
    assert files.names() == []
