"""What broken uploads leave is removed, when nobody has gone on with it for a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from sockserv.files.names import RESERVED_PREFIX
from sockserv.trust import FilesAccess
from tests.disk.services.files.kit import FilesServer, somebody
from tests.disk.services.files.test_put import break_off, finish, kept, start

EXPIRY_SECONDS = 7 * 86_400


def sweep(files: FilesServer) -> int:
    return files.memory.run(_sweep(files))


async def _sweep(files: FilesServer) -> int:
    return await files.service.sweep(files.memory.network.in_thread)


def age(files: FilesServer, seconds: float) -> None:
    """Have all that is there be so old."""
    for name in files.names():
        then = files.now_ns[0] - int(seconds * 10**9)
        os.utime(files.root / name, ns=(then, then))


@pytest.mark.parametrize(("seconds", "removed"), [(EXPIRY_SECONDS, 0), (EXPIRY_SECONDS + 1, 1)])
def test_when_it_is_old(files: FilesServer, seconds: float, removed: int) -> None:
    files.put("old", b"1")
    files.put("a/b/old", b"1", parents=True)
    break_off(files, 100, path="a/b/c")
    age(files, seconds)
    assert sweep(files) == removed
    assert kept(files, path="a/b/c")["offset"] == (0 if removed else 100)
    assert files.entries("a/b")[0]["name"] == "old"


def test_not_while_the_upload_runs(files: FilesServer) -> None:
    call = start(files, "a", upload="x")
    age(files, EXPIRY_SECONDS + 1)
    assert sweep(files) == 0
    finish(files, call)
    assert files.names() == ["a"]


def test_a_clock_that_was_wrong(files: FilesServer) -> None:
    break_off(files, 100)
    age(files, -1_000_000)
    assert sweep(files) == 0
    files.now_ns[0] += (EXPIRY_SECONDS + 1) * 10**9
    assert sweep(files) == 1
    assert files.names() == []


def test_what_is_not_ours_stays(files: FilesServer) -> None:
    (files.root / f"{RESERVED_PREFIX}directory").mkdir(parents=True)
    (files.root / f"{RESERVED_PREFIX}link").symlink_to("nowhere")
    age_links = files.now_ns[0] - (EXPIRY_SECONDS + 1) * 10**9
    for name in files.names():
        os.utime(files.root / name, ns=(age_links, age_links), follow_symlinks=False)
    assert sweep(files) == 0
    assert len(files.names()) == 2


def test_folders_elsewhere_that_somebody_has_used(files: FilesServer, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    who = somebody(FilesAccess.READ_WRITE, root=str(elsewhere))
    break_off(files, 100, who=who)
    (partial,) = elsewhere.iterdir()
    os.utime(partial, ns=(0, 0))
    elsewhere.rename(tmp_path / "away")
    assert sweep(files) == 0
    (tmp_path / "away").rename(elsewhere)
    assert sweep(files) == 1


def test_it_stops_in_the_middle(files: FilesServer) -> None:
    sweeping = Deferred.fromCoroutine(_sweep(files))
    ended: list[Failure] = []
    sweeping.addErrback(ended.append)
    sweeping.cancel()
    files.memory.flush()
    assert ended[0].check(CancelledError)
