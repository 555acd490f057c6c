"""`sockserv get`: what goes where, what is said, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.cli.exits import EndedBySignal
from sockserv.cli.session import Session
from sockserv.client.files import TargetExists
from sockserv.files.errors import NotFound
from sockserv.testing import Link, MemoryServer
from tests.cli.fakes import FakeTerminal, Written, assert_hung_up, session_with, work_of
from tests.client.files.fake_files import FakeFiles

BIG = bytes(range(256)) * 10_000


def work(session: Session, *arguments: str) -> Deferred[None]:
    return Deferred.fromCoroutine(work_of(["get", *arguments])[1](session))


@pytest.fixture
def service() -> FakeFiles:
    names = ("a.txt", "b.txt", "照片/1.jpg", "照片/子/2.jpg")
    return FakeFiles({name: name.encode() for name in names} | {"big": BIG})


@pytest.fixture
def memory(service: FakeFiles) -> Iterator[MemoryServer]:
    with MemoryServer([service]) as memory:
        yield memory


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("arguments", "stored"),
    [
        ("a.txt", ["a.txt"]),
        ("/a.txt", ["a.txt"]),
        ("照片/1.jpg", ["1.jpg"]),
        ("a.txt new", ["new"]),
        ("a.txt new/", ["new/a.txt"]),
        ("a.txt folder", ["folder/a.txt"]),
        ("a.txt .", ["a.txt"]),
        ("a.txt b.txt folder", ["folder/a.txt", "folder/b.txt"]),
        ("--to folder a.txt b.txt", ["folder/a.txt", "folder/b.txt"]),
        ("--to . a.txt b.txt", ["a.txt", "b.txt"]),
        ("-r 照片", ["照片/1.jpg", "照片/子/2.jpg"]),
        ("-r 照片 new", ["new/1.jpg", "new/子/2.jpg"]),
        ("-r 照片 folder", ["folder/1.jpg", "folder/子/2.jpg"]),
        ("-r 照片 folder/", ["folder/照片/1.jpg", "folder/照片/子/2.jpg"]),
        ("-r / new", ["new/a.txt", "new/b.txt", "new/big", "new/照片/1.jpg", "new/照片/子/2.jpg"]),
    ],
)
def test_where_it_goes(memory: MemoryServer, here: Path, arguments: str, stored: list[str]) -> None:
    (here / "folder").mkdir()
    output, errors = Written(), Written()
    memory.run(work(session_with(memory, output=output, errors=errors), *arguments.split()))
    assert files_in(here) == stored
    assert (output.content, errors.content) == (b"", b"")
    assert_hung_up(memory)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("../x y", "not a path at the server"),
        ("a.txt b.txt -", "one file goes there"),
        ("-r a.txt -", "one file goes there"),
        ("--json a.txt -", "cannot hold a file and --json"),
    ],
)
def test_what_is_not_even_tried(arguments: str, message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        work_of(["get", *arguments.split()])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("照片", "照片 is a folder: -r fetches it"),
        ("-r /", "say what the folder of all files is to be called here"),
    ],
)
def test_what_is_not_done(memory: MemoryServer, here: Path, arguments: str, message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        memory.run(work(session_with(memory), *arguments.split()))
    assert files_in(here) == []
    assert_hung_up(memory)


def test_standard_output(memory: MemoryServer, here: Path) -> None:
    output = Written()
    memory.run(work(session_with(memory, output=output), "big", "-"))
    assert output.content == BIG
    assert files_in(here) == []


def test_whoever_reads_it_goes(memory: MemoryServer) -> None:
    output = Written(EndedBySignal(13), after_bytes=300_000)
    with pytest.raises(EndedBySignal):
        memory.run(work(session_with(memory, output=output), "big", "-"))
    assert_hung_up(memory)


def test_it_replaces_nothing_unasked(memory: MemoryServer, here: Path) -> None:
    (here / "a.txt").write_text("mine")
    with pytest.raises(TargetExists, match=r"a.txt is there already, and is another one"):
        memory.run(work(session_with(memory), "a.txt"))
    memory.run(work(session_with(memory), "-f", "a.txt"))
    assert (here / "a.txt").read_text() == "a.txt"
    memory.run(work(session_with(memory), "a.txt"))


def test_there_is_no_such_file(memory: MemoryServer) -> None:
    with pytest.raises(NotFound):
        memory.run(work(session_with(memory), "nothing"))
    assert_hung_up(memory)


def test_for_programs(memory: MemoryServer) -> None:
    output = Written()
    memory.run(work(session_with(memory, output=output, json=True), "big"))
    assert [json.loads(line) for line in output.content.splitlines()] == [
        {"action": "get", "path": "big", "local": "big", "size": len(BIG), "state": "done"},
        {"done": 1, "same": 0, "failed": 0, "sent_bytes": len(BIG), "seconds": 0.0},
    ]


def test_ctrl_c_and_on(memory: MemoryServer, here: Path) -> None:
    errors = Written()
    link = Link(delay_seconds=0.3)
    session = session_with(memory, errors=errors, link=link, terminal=FakeTerminal({2}))
    running = work(session, "big")
    while not sum(path.stat().st_size for path in here.iterdir()):
        memory.advance(0.1)
    running.cancel()
    with pytest.raises(CancelledError):
        memory.run(running, max_seconds=5.0)
    assert errors.content.decode().endswith("Stopped. The same command goes on from here.\n")
    assert_hung_up(memory)
    (partial,) = files_in(here)
    kept = (here / partial).stat().st_size
    assert kept
    output = Written()
    memory.run(work(session_with(memory, output=output, json=True), "big"))
    assert json.loads(output.content.splitlines()[-1])["sent_bytes"] == len(BIG) - kept
    assert files_in(here) == ["big"]
    assert (here / "big").read_bytes() == BIG
