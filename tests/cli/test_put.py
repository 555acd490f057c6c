"""`sockserv put`: what goes where, what is said, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.cli.session import Session
from sockserv.cli.stdio import StreamError
from sockserv.client.files import Incomplete
from sockserv.errors import ConnectionEnded
from sockserv.files.errors import Exists
from sockserv.testing import Link, MemoryServer
from tests.cli.fakes import FakeTerminal, Pieces, Written, assert_hung_up, session_with, work_of
from tests.client.files.fake_files import FakeFiles

BIG = bytes(range(256)) * 10_000


def work(session: Session, *arguments: str) -> Deferred[None]:
    return Deferred.fromCoroutine(work_of(["put", *arguments])[1](session))


@pytest.fixture
def service() -> FakeFiles:
    return FakeFiles()


@pytest.fixture
def memory(service: FakeFiles) -> Iterator[MemoryServer]:
    with MemoryServer([service]) as memory:
        yield memory


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt", "照片/1.jpg", "照片/子/2.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "stored"),
    [
        ("a.txt", ["a.txt"]),
        ("./a.txt", ["a.txt"]),
        ("a.txt new", ["new"]),
        ("a.txt a.txt", ["a.txt"]),
        ("--to b.txt a.txt", ["b.txt"]),
        ("a.txt /new", ["new"]),
        ("a.txt x//./y", ["x/y"]),
        ("a.txt new/", ["new/a.txt"]),
        ("a.txt folder", ["folder/a.txt"]),
        ("a.txt .", ["a.txt"]),
        ("a.txt b.txt folder", ["folder/a.txt", "folder/b.txt"]),
        ("--to folder a.txt b.txt", ["folder/a.txt", "folder/b.txt"]),
        ("--to / a.txt b.txt", ["a.txt", "b.txt"]),
        ("-r 照片", ["照片/1.jpg", "照片/子/2.jpg"]),
        ("a.txt ./-", ["-"]),
        ("-r 照片/", ["照片/1.jpg", "照片/子/2.jpg"]),
        ("-r 照片/子/..", ["照片/1.jpg", "照片/子/2.jpg"]),
        ("-r 照片 new", ["new/1.jpg", "new/子/2.jpg"]),
        # Or it would be another place when the same command goes on.
        ("-r 照片 folder", ["folder/1.jpg", "folder/子/2.jpg"]),
        ("-r 照片 folder/", ["folder/照片/1.jpg", "folder/照片/子/2.jpg"]),
        ("-r 照片 a.txt folder", ["folder/a.txt", "folder/照片/1.jpg", "folder/照片/子/2.jpg"]),
    ],
)
def test_where_it_goes(
    memory: MemoryServer, service: FakeFiles, arguments: str, stored: list[str]
) -> None:
    service.folders.add("folder")
    output, errors = Written(), Written()
    memory.run(work(session_with(memory, output=output, errors=errors), *arguments.split()))
    assert sorted(service.files) == stored
    assert (output.content, errors.content) == (b"", b"")
    assert_hung_up(memory)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("照片", "照片 is a folder: -r sends it"),
        ("a.txt b.txt", "b.txt is a file here: is it to be sent, too"),
        ("a.txt b.txt ./b.txt", "b.txt is a file here: is it to be sent, too"),
        ("a.txt ../x", "not a path at the server"),
        ("a.txt x/../y", "not a path at the server"),
        ("a.txt .sockserv-partial-x", "not a path at the server"),
        ("-", "needs a name"),
        ("a.txt -", "a file of that name is ./-"),
        ("--to - a.txt", "a file of that name is ./-"),
        ("- folder/", "needs a name"),
        ("- a.txt x", "goes alone"),
    ],
)
def test_what_is_not_even_tried(arguments: str, message: str) -> None:
    with pytest.raises(click.UsageError, match=message):
        work_of(["put", *arguments.split()])


def test_standard_input(memory: MemoryServer, service: FakeFiles) -> None:
    pieces = Pieces([b"a", BIG])
    memory.run(work(session_with(memory, pieces=pieces), "-", "x/y"))
    assert service.contents == {"x/y": b"a" + BIG}


def test_standard_input_breaks_off(memory: MemoryServer, service: FakeFiles) -> None:
    pieces = Pieces([BIG], end=StreamError("cannot read standard input"))
    with pytest.raises(StreamError):
        memory.run(work(session_with(memory, pieces=pieces), "-", "x"))
    assert_hung_up(memory)
    assert service.contents == {}


def test_it_replaces_nothing_unasked(memory: MemoryServer, service: FakeFiles) -> None:
    service.store("a.txt", b"old")
    with pytest.raises(Exists, match=r"'a.txt' exists already"):
        memory.run(work(session_with(memory), "a.txt"))
    memory.run(work(session_with(memory), "-f", "a.txt"))
    assert service.contents == {"a.txt": b"a.txt"}
    memory.run(work(session_with(memory), "a.txt"))


def test_modes_when_asked(memory: MemoryServer, service: FakeFiles, here: Path) -> None:
    (here / "a.txt").chmod(0o600)
    memory.run(work(session_with(memory), "-p", "a.txt"))
    assert service.files["a.txt"].mode == 0o600


def test_for_programs(memory: MemoryServer, service: FakeFiles) -> None:
    service.store("照片/1.jpg", b"another")
    output, errors = Written(), Written()
    session = session_with(memory, output=output, errors=errors, json=True)
    with pytest.raises(Incomplete, match="1 of 2 could not be done: 照片/1.jpg: "):
        memory.run(work(session, "-r", "照片"))
    lines = [json.loads(line) for line in output.content.splitlines()]
    by_path = {line["path"]: line for line in lines[:-1]}
    assert by_path["照片/子/2.jpg"] == {
        "action": "put",
        "path": "照片/子/2.jpg",
        "local": "照片/子/2.jpg",
        "size": 16,
        "state": "done",
    }
    assert by_path["照片/1.jpg"]["state"] == "failed"
    assert by_path["照片/1.jpg"]["error"]["code"] == "files.exists"
    assert lines[-1] == {"done": 1, "same": 0, "failed": 1, "sent_bytes": 16, "seconds": 0.0}
    assert errors.content == b""


def test_whoever_reads_the_json_goes(memory: MemoryServer) -> None:
    output = Written(StreamError("it is closed"))
    with pytest.raises(StreamError):
        memory.run(work(session_with(memory, output=output, json=True), "-r", "照片"))


def test_on_a_terminal(memory: MemoryServer, service: FakeFiles, here: Path) -> None:
    (here / "照片/big\x1b[31m").write_bytes(BIG)
    errors = Written()
    session = session_with(
        memory, errors=errors, terminal=FakeTerminal({2}), link=Link(delay_seconds=0.3)
    )
    memory.run(work(session, "-r", "照片"), max_seconds=20.0)
    shown = errors.content.decode()
    assert "2.6 MB" in shown
    assert "big" in shown
    assert "\x1b[31m\x1b" not in shown
    assert "\\x1b[31m" in shown
    assert "3 done, 2.6 MB in " in shown.splitlines()[-1]
    assert_hung_up(memory)


@pytest.mark.parametrize("terminal", [FakeTerminal(), FakeTerminal({2})])
def test_ctrl_c_says_how_to_go_on(
    memory: MemoryServer, service: FakeFiles, here: Path, terminal: FakeTerminal
) -> None:
    (here / "big").write_bytes(BIG)
    errors = Written()
    link = Link(delay_seconds=0.3)
    running = work(session_with(memory, errors=errors, link=link, terminal=terminal), "big")
    while not service.partials:
        if not memory.network.step():
            memory.advance(0.1)
    running.cancel()
    with pytest.raises(CancelledError):
        memory.run(running, max_seconds=5.0)
    assert errors.content.decode().endswith("Stopped. The same command goes on from here.\n")
    assert_hung_up(memory)
    memory.run(work(session_with(memory), "big"))
    assert service.contents == {"big": BIG}


def test_the_connection_breaks_off(memory: MemoryServer, here: Path) -> None:
    (here / "big").write_bytes(BIG)
    errors = Written()
    link = Link()
    running = work(session_with(memory, errors=errors, link=link), "big")
    link.to_server.cut_after(1_000_000)
    with pytest.raises(ConnectionEnded):
        memory.run(running)
    assert errors.content == b"Stopped. The same command goes on from here.\n"


def test_many_failures_are_not_all_told(memory: MemoryServer, here: Path) -> None:
    (here / "many").mkdir()
    for number in range(150):
        (here / f"many/{number}").symlink_to("nowhere")
    errors = Written()
    memory.run(work(session_with(memory, errors=errors), "-r", "many"))
    lines = errors.content.decode().splitlines()
    assert len(lines) == 11
    assert lines[-1] == "and 140 more"
