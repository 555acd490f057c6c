"""Who may do what in which folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sockserv.errors import CallError, PermissionDenied
from sockserv.files.errors import Exists, FilesDenied, NotADirectory, NotFound, ReadOnly
from sockserv.testing import OWNER
from sockserv.trust import FilesAccess, FilesGrant, Identity
from tests.disk.services.files.kit import BIG, FilesServer, digest, somebody
from tests.disk.services.files.test_put import break_off, kept

Operations = dict[str, dict[str, Any]]

READING: Operations = {
    "get": {"path": "a"},
    "stat": {"path": "a"},
    "list": {},
    "digest": {"path": "a"},
    "usage": {},
}
ADDING: Operations = {
    "put": {"path": "new", "size": 0, "digest": digest(b"")},
    "partial": {"path": "new", "upload": "x"},
}
CHANGING: Operations = {
    "put": {"path": "a", "size": 0, "digest": digest(b""), "overwrite": "always"},
    "mkdir": {"path": "folder"},
    "move": {"source": "a", "target": "b"},
    "remove": {"path": "b"},
}


def test_every_operation_is_here(files: FilesServer) -> None:
    named = {f"files.{name}" for name in (*READING, *ADDING, *CHANGING)}
    # Who may send files to whom is tried in test_offering.
    named |= {"files.offer", "files.offered"}
    assert named == files.service.operations().keys()
    assert {operation.permission for operation in files.service.operations().values()} == {"files"}


def refused(files: FilesServer, operations: Operations, who: Identity) -> set[Any]:
    errors: set[Any] = set()
    for op, args in operations.items():
        try:
            files.call(op, args, who=who)
        except CallError as error:
            errors.add(type(error))
        else:
            errors.add(None)
    return errors


def test_reading_and_writing(files: FilesServer) -> None:
    files.put("a", b"1")
    for who in (OWNER, somebody(FilesAccess.READ_WRITE)):
        for operations in (READING, ADDING, CHANGING):
            assert refused(files, operations, who) == {None}
        files.put("a", b"1")
        files.call("remove", {"path": "new"})
        files.call("remove", {"path": "folder"})


def test_only_reading(files: FilesServer) -> None:
    files.put("a", b"1")
    who = somebody(FilesAccess.READ_ONLY)
    assert refused(files, READING, who) == {None}
    assert refused(files, ADDING, who) == refused(files, CHANGING, who) == {ReadOnly}
    assert files.names() == ["a"]


def test_only_dropping(files: FilesServer) -> None:
    files.put("a", b"1")
    who = somebody(FilesAccess.DROP)
    assert refused(files, READING, who) == refused(files, CHANGING, who) == {FilesDenied}
    assert refused(files, ADDING, who) == {None}
    assert files.names() == ["a", "new"]
    with pytest.raises(Exists) as caught:
        files.put("a", b"2", who=who)
    assert caught.value.details == {"path": "a"}, "what it is is not told"
    with pytest.raises(FilesDenied):
        files.put("a", b"2", who=who, overwrite="0" * 24)
    files.put("b/c", b"3", who=who, parents=True)


def test_dropping_goes_on(files: FilesServer) -> None:
    who = somebody(FilesAccess.DROP)
    break_off(files, 1000, who=who)
    assert kept(files, who=who)["offset"] == 1000
    files.stream("a", BIG, who=who, upload="x", offset=1000)
    assert files.get("a")[1] == BIG


def test_without_a_folder(files: FilesServer) -> None:
    for who, kind in (
        (Identity("a", frozenset({"files"})), FilesDenied),
        (Identity("b", files=FilesGrant(".", FilesAccess.READ_WRITE)), PermissionDenied),
    ):
        for operations in (READING, ADDING, CHANGING):
            assert refused(files, operations, who) == {kind}
    assert files.names() == []


def test_folders_of_ones_own(files: FilesServer) -> None:
    alice = somebody(FilesAccess.READ_WRITE, root="people/alice", name="alice")
    bob = somebody(FilesAccess.READ_WRITE, root="./people//bob/", name="bob")
    for who in (alice, bob):
        files.put("a", who.name.encode(), who=who)
    assert files.names() == [
        "people",
        "people/alice",
        "people/alice/a",
        "people/bob",
        "people/bob/a",
    ]
    assert files.get("a", who=bob)[1] == b"bob"
    assert files.get("people/bob/a")[1] == b"bob"
    with pytest.raises(NotFound):
        files.get("people/bob/a", who=alice)


def test_a_folder_elsewhere(files: FilesServer, tmp_path: Path) -> None:
    who = somebody(FilesAccess.READ_WRITE, root=str(tmp_path / "elsewhere"))
    with pytest.raises(NotFound):
        files.put("a", b"1", who=who)
    (tmp_path / "elsewhere").mkdir()
    files.put("a", b"1", who=who)
    assert (tmp_path / "elsewhere" / "a").read_bytes() == b"1"
    assert not files.root.exists()


@pytest.mark.parametrize("root", ["..", "a/../..", "\0", "x" * 300, "a/.sockserv-partial-x"])
def test_a_grant_that_is_none(files: FilesServer, root: str) -> None:
    with pytest.raises(FilesDenied):
        files.call("list", who=somebody(FilesAccess.READ_WRITE, root=root))


def test_the_folder_of_one_is_no_link_that_another_makes(
    files: FilesServer, tmp_path: Path
) -> None:
    files.root.mkdir()
    (files.root / "alice").symlink_to(tmp_path)
    with pytest.raises(NotADirectory):
        files.call("list", who=somebody(FilesAccess.READ_WRITE, root="alice"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_what_the_account_may_not(files: FilesServer) -> None:
    files.put("a", b"1", mode=0)
    with pytest.raises(FilesDenied):
        files.get("a")
