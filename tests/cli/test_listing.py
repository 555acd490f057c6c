"""`sockserv ls`, `stat`, `mkdir`, `mv`, `rm`, `digest` and `usage`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click
import pytest
from twisted.internet.defer import Deferred

from sockserv.files.errors import Exists, NotEmpty, NotFound
from sockserv.testing import MemoryServer
from tests.cli.fakes import Written, assert_hung_up, session_with, work_of
from tests.client.files.fake_files import FakeFiles


@pytest.fixture
def service() -> FakeFiles:
    return FakeFiles({"b": b"12", "a\x1b[31m\n": b"", "照片/1.jpg": b"x" * 1234})


@pytest.fixture
def memory(service: FakeFiles) -> Iterator[MemoryServer]:
    with MemoryServer([service]) as memory:
        yield memory


@pytest.fixture(autouse=True)
def timezone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def run(memory: MemoryServer, *arguments: str, **options: Any) -> str:
    output = Written()
    session = session_with(memory, output=output, **options)
    memory.run(Deferred.fromCoroutine(work_of(arguments)[1](session)))
    assert_hung_up(memory)
    return output.content.decode()


def test_ls(memory: MemoryServer) -> None:
    assert run(memory, "ls") == "a\\x1b[31m\\n\nb\n照片/\n"
    assert run(memory, "ls", "照片") == "1.jpg\n"
    assert run(memory, "ls", "/照片/") == "1.jpg\n"
    assert run(memory, "ls", "-R") == "a\\x1b[31m\\n\nb\n照片/\n照片/1.jpg\n"
    assert run(memory, "ls", "b") == "b\n"


def test_ls_with_all_there_is_to_know(memory: MemoryServer, service: FakeFiles) -> None:
    service.files["照片/1.jpg"].mtime_ns = 2**62
    assert run(memory, "ls", "-l", "b") == "-rw-r--r--  2  2023-11-14 22:13:20  b\n"
    assert run(memory, "ls", "-lR").splitlines()[-1].startswith("-rw-r--r--  1234  2116-")
    assert run(memory, "ls", "-l").splitlines()[-1].startswith("drwxr-xr-x  0  ")


def test_ls_for_programs(memory: MemoryServer) -> None:
    lines = [json.loads(line) for line in run(memory, "ls", json=True).splitlines()]
    assert {line["name"] for line in lines} == {"a\x1b[31m\n", "b", "照片"}
    (b,) = [line for line in lines if line["name"] == "b"]
    assert b == {
        "name": "b",
        "type": "file",
        "size": 2,
        "mtime_ns": 1_700_000_000_000_000_000,
        "mode": 0o644,
        "etag": "v1",
        "unnameable": False,
    }


def test_stat(memory: MemoryServer) -> None:
    assert run(memory, "stat", "照片/1.jpg", "照片").splitlines() == [
        "照片/1.jpg: file, 1234 bytes (1.2 kB), -rw-r--r--, 2023-11-14 22:13:20",
        "照片: directory, drwxr-xr-x, 1970-01-01 00:00:00",
    ]
    assert json.loads(run(memory, "stat", "照片/1.jpg", json=True))["path"] == "照片/1.jpg"


def test_mkdir(memory: MemoryServer, service: FakeFiles) -> None:
    run(memory, "mkdir", "-p", "x/y", "z")
    assert {"x", "x/y", "z"} <= service.folders
    with pytest.raises(Exists):
        run(memory, "mkdir", "z")


def test_mv(memory: MemoryServer, service: FakeFiles) -> None:
    run(memory, "mv", "b", "照片/")
    run(memory, "mv", "照片/b", "c")
    with pytest.raises(Exists):
        run(memory, "mv", "c", "照片/1.jpg")
    run(memory, "mv", "-f", "c", "照片/1.jpg")
    assert service.files["照片/1.jpg"].content == b"12"


def test_rm(memory: MemoryServer, service: FakeFiles) -> None:
    with pytest.raises(NotEmpty):
        run(memory, "rm", "照片")
    run(memory, "rm", "-r", "照片", "b")
    assert [*service.files] == ["a\x1b[31m\n"]
    with pytest.raises(NotFound):
        run(memory, "rm", "b")


@pytest.mark.parametrize("path", ["/", ".", "", "x/.."])
def test_rm_does_not_take_everything(path: str) -> None:
    with pytest.raises(click.UsageError):
        work_of(["rm", "-r", path])


def test_digest(memory: MemoryServer) -> None:
    assert run(memory, "digest", "-a", "md5", "b") == "c20ad4d76fe97759aa27a0c99bff6710  b\n"
    assert len(run(memory, "digest", "b").split()[0]) == 64
    assert json.loads(run(memory, "digest", "b", json=True)).keys() == {
        "path",
        "digest",
        "size",
        "etag",
    }


def test_usage(memory: MemoryServer) -> None:
    assert run(memory, "usage") == "1.2 kB used, 1.0 TB free on the disk\n"
    assert json.loads(run(memory, "usage", json=True)) == {
        "used_bytes": 1236,
        "quota_bytes": None,
        "free_bytes": 10**12,
    }
