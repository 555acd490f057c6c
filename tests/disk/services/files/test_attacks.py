"""Every way out of a directory that people have found, tried on every operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sockserv.errors import CallError, InvalidArgument
from sockserv.files.errors import FilesError
from sockserv.testing import OWNER
from sockserv.trust import FilesAccess
from tests.disk.services.files.kit import FilesServer, digest, somebody
from tests.files.attacks import ATTACKS, SECRET, Attack, Prison

NEW = b"put there by an attacker"

Use = Callable[["Attacker", str], Any]


class Attacker:
    """Somebody who has a folder, and a connection."""

    def __init__(self, files: FilesServer, root: str) -> None:
        self._files = files
        self._who = somebody(FilesAccess.READ_WRITE, root)

    def call(self, op: str, /, **args: Any) -> Any:
        reply = self._files.call(op, args, who=self._who)
        return reply.result, reply.body

    def put(self, path: str, **args: Any) -> Any:
        return self._files.put(path, NEW, who=self._who, **args)

    def stream(self, path: str, **args: Any) -> Any:
        return self._files.stream(path, NEW, who=self._who, **args)


OPERATIONS: dict[str, Use] = {
    "put": lambda attacker, path: attacker.put(path),
    "put, replacing": lambda attacker, path: attacker.put(path, overwrite="always"),
    "put, with parents": lambda attacker, path: attacker.put(path, parents=True),
    "put, streaming": lambda attacker, path: attacker.stream(path, overwrite="always"),
    "put, going on": lambda attacker, path: attacker.put(path, upload="x", offset=1),
    "partial": lambda attacker, path: attacker.call("partial", path=path, upload="x"),
    "get": lambda attacker, path: attacker.call("get", path=path),
    "stat": lambda attacker, path: attacker.call("stat", path=path),
    "list": lambda attacker, path: attacker.call("list", path=path),
    "list, recursive": lambda attacker, path: attacker.call("list", path=path, recursive=True),
    "digest": lambda attacker, path: attacker.call("digest", path=path, algorithm="md5"),
    "mkdir": lambda attacker, path: attacker.call("mkdir", path=path),
    "mkdir, with parents": lambda attacker, path: attacker.call("mkdir", path=path, parents=True),
    "move": lambda attacker, path: attacker.call("move", source=path, target="moved"),
    "move to": lambda attacker, path: attacker.call("move", source="file", target=path),
    "move to, replacing": lambda attacker, path: attacker.call(
        "move", source="file", target=path, overwrite="always"
    ),
    "move a directory to": lambda attacker, path: attacker.call(
        "move", source="folder", target=path
    ),
    "remove": lambda attacker, path: attacker.call("remove", path=path),
    "remove, recursive": lambda attacker, path: attacker.call("remove", path=path, recursive=True),
}

HARMLESS = {
    # A link is seen to be one, but where it leads is not told.
    "stat": "other",
    # What a directory is called is said by the one that it is in.
    "partial": "offset",
}


def test_every_operation_is_tried(files: FilesServer) -> None:
    tried = {f"files.{name.split(',')[0].split(' ')[0]}" for name in OPERATIONS}
    # The name of a file for somebody is no path: test_offering tries what it may be.
    takes_no_path = {"files.usage", "files.offer", "files.offered"}
    assert tried == files.service.operations().keys() - takes_no_path


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.title)
def test_an_attack(tmp_path: Path, attack: Attack) -> None:
    with FilesServer(tmp_path) as files:
        for number, (name, use) in enumerate(OPERATIONS.items()):
            prison = Prison(tmp_path / str(number))
            path = attack.set_up(prison)
            before = prison.seen_outside()
            try:
                answer = use(Attacker(files, f"{number}/root"), path)
            except (FilesError, InvalidArgument) as error:
                answer = error
                told = f"{error} {error.details}"
                assert str(tmp_path) not in told.replace(repr(path), "").replace(path, ""), name
                # Nothing comes of it, least of all something unfinished.
                assert not [*prison.root.rglob(".sockserv*")], name
            else:
                assert attack.is_name or name in HARMLESS, f"{name} has answered {answer}"
            assert SECRET.decode() not in repr(answer), name
            assert digest(SECRET) not in repr(answer), name
            assert prison.seen_outside() == before, name


@pytest.mark.parametrize("path", [b"\\ud800", b"a/\\udc80", b"\\ud800/x", b"\xed\xa0\x80", b"\xff"])
def test_what_is_no_text_does_not_arrive(files: FilesServer, path: bytes) -> None:
    raw = files.memory.connect_raw(OWNER)
    header = b'{"type":"open","call":3,"op":"files.stat","args":{"path":"%b"},"end":true}' % path
    raw.send_bytes(len(header).to_bytes(4, "big") + header)
    files.memory.flush()
    *_, last = raw.take_frames()
    assert last["code"] in ("bad-header", "invalid-argument", "files.refused-name")


def test_what_goes_through_links_in_a_tree(tmp_path: Path) -> None:
    """What works on whole trees meets links in them."""
    prison = Prison(tmp_path)
    (prison.root / "folder" / "link").symlink_to(prison.outside)
    (prison.root / "folder" / "file-link").symlink_to(prison.outside / "secret")
    before = prison.seen_outside()
    with FilesServer(prison.root) as files:
        entries = files.entries("", recursive=True)
        assert {entry["path"]: entry["type"] for entry in entries} == {
            "file": "file",
            "folder": "directory",
            "folder/file": "file",
            "folder/link": "other",
            "folder/file-link": "other",
        }
        usage = files.call("usage").result
        assert usage["used_bytes"] == 2 * len(b"inside")
        with pytest.raises(CallError) as caught:
            files.call("remove", {"path": "folder", "recursive": True})
        assert caught.value.wire_code == "files.not-a-file"
    assert prison.seen_outside() == before
