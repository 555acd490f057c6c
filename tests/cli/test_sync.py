"""`sockserv sync`: what it does, and what it would do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from sockserv.cli.session import Session
from sockserv.client.files import Incomplete
from sockserv.testing import MemoryServer
from tests.cli.fakes import Written, assert_hung_up, session_with, work_of
from tests.client.files.fake_files import FakeFiles


def work(session: Session, *arguments: str) -> Deferred[None]:
    return Deferred.fromCoroutine(work_of(["sync", *arguments])[1](session))


@pytest.fixture
def service() -> FakeFiles:
    return FakeFiles({"there/same": b"same", "there/old": b"old", "there/extra/x": b"x"})


@pytest.fixture
def memory(service: FakeFiles) -> Iterator[MemoryServer]:
    with MemoryServer([service]) as memory:
        yield memory


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "here"
    folder.mkdir()
    for name, content in {"same": "same", "old": "newer", "new": "new"}.items():
        (folder / name).write_text(content)
    (folder / "link").symlink_to("same")
    return folder


PUSHED = {"there/same": b"same", "there/old": b"newer", "there/new": b"new"}


def test_push(memory: MemoryServer, service: FakeFiles) -> None:
    output, errors = Written(), Written()
    memory.run(work(session_with(memory, output=output, errors=errors), "here", "there"))
    assert service.contents == PUSHED | {"there/extra/x": b"x"}
    assert output.content == b""
    assert errors.content == b"link: left out, it is a link, a device or the like\n"
    assert_hung_up(memory)


def test_push_and_remove(memory: MemoryServer, service: FakeFiles) -> None:
    memory.run(work(session_with(memory), "--delete", "here", "/there/"))
    assert service.contents == PUSHED
    assert service.folders == {"", "there"}


def test_pull_and_remove(memory: MemoryServer, here: Path) -> None:
    memory.run(work(session_with(memory), "--pull", "--delete", "here", "there"))
    names = sorted(str(path.relative_to(here)) for path in here.rglob("*"))
    assert names == ["extra", "extra/x", "link", "old", "same"]
    assert (here / "old").read_text() == "old"


@pytest.mark.parametrize("option", ["-n", "--dry-run"])
def test_what_would_be_done(memory: MemoryServer, service: FakeFiles, option: str) -> None:
    before = service.contents
    output, errors = Written(), Written()
    session = session_with(memory, output=output, errors=errors)
    memory.run(work(session, option, "--delete", "here", "there"))
    assert output.content.decode().splitlines() == [
        "put there/new",
        "put there/old",
        "rm there/extra/x",
        "rm there/extra",
    ]
    assert errors.content == b"link: left out, it is a link, a device or the like\n"
    assert service.contents == before
    assert not {"put", "remove", "mkdir"} & {operation for operation, _ in service.asked}


def test_what_would_be_done_here(memory: MemoryServer, here: Path) -> None:
    output = Written()
    memory.run(
        work(session_with(memory, output=output), "-n", "--pull", "--delete", "here", "there")
    )
    assert output.content.decode().splitlines() == [
        "get there/extra/x",
        "get there/old",
        "rm here/new",
    ]
    assert len([*here.iterdir()]) == 4


def test_what_would_be_done_for_programs(memory: MemoryServer) -> None:
    output = Written()
    memory.run(work(session_with(memory, output=output, json=True), "-n", "here", "there"))
    assert [json.loads(line) for line in output.content.splitlines()] == [
        {"action": "put", "path": "there/new", "local": "here/new", "size": 3},
        {"action": "put", "path": "there/old", "local": "here/old", "size": 5},
    ]


def test_what_could_not_be_done(memory: MemoryServer, here: Path) -> None:
    """It ends as doing it would: with an error, and nothing removed."""
    (here / "extra" / "x").mkdir(parents=True)
    output = Written()
    with pytest.raises(
        Incomplete, match="^1 of 3 could not be done: extra/x: it is a file at one end and"
    ):
        memory.run(
            work(session_with(memory, output=output), "-n", "--pull", "--delete", "here", "there")
        )
    assert not any(line.startswith(b"rm ") for line in output.content.splitlines())
