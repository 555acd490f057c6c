"""commands.toml on the disk, edited while the daemon runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from sockserv.services.execution.command_store import _FIRST_CONTENT, CommandStore
from sockserv.services.execution.policy.configuration import Configuration, parse_configuration
from sockserv.trust.edited_file import EditedFileError
from sockserv.trust.watching import FileWatch

UPTIME = '[commands.uptime]\nargv = ["/usr/bin/uptime"]\n'


class File:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "commands.toml"
        self.seconds = 0.0

    def write(self, text: str, mode: int = 0o600) -> None:
        self.path.write_text(text)
        self.path.chmod(mode)
        self.seconds = self.path.stat().st_mtime + 10

    def open(self) -> CommandStore:
        return CommandStore(self.path, file_clock=lambda: self.seconds)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


def test_the_first_file_says_nothing_and_shows_how(file: File) -> None:
    store = file.open()
    assert store.configuration == Configuration()
    assert file.path.stat().st_mode & 0o777 == 0o600
    example = _FIRST_CONTENT.partition("#\n")[2].replace("# ", "").replace("#\n", "\n")
    assert list(parse_configuration(example, file="x").commands) == ["backup"]


def test_a_file_that_is_there(file: File) -> None:
    file.write(UPTIME)
    assert list(file.open().configuration.commands) == ["uptime"]


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("[commands.x]", 0o600, "commands.toml line 1: commands.x.argv: is missing"),
        (UPTIME, 0o644, "mode 0644"),
        (UPTIME, 0o620, "mode 0620"),
    ],
)
def test_a_file_that_cannot_be_used(file: File, text: str, mode: int, why: str) -> None:
    file.write(text, mode)
    with pytest.raises(EditedFileError, match=why):
        file.open()


def test_an_edit(file: File) -> None:
    store = file.open()
    file.write(UPTIME)
    assert store.refresh()
    assert list(store.configuration.commands) == ["uptime"]
    assert not store.refresh()


def test_an_edit_with_a_mistake_changes_nothing(file: File) -> None:
    file.write(UPTIME)
    store = file.open()
    before = store.configuration
    file.write("[commands.x]")
    with pytest.raises(EditedFileError):
        store.refresh()
    assert not store.refresh()
    assert store.configuration is before
    file.path.unlink()
    with pytest.raises(EditedFileError):
        store.refresh()
    assert not store.refresh()
    assert store.configuration is before


def test_it_is_watched(file: File) -> None:
    clock = Clock()
    store = file.open()
    watch = FileWatch(clock, store.refresh, what="the commands", in_thread=execute)
    watch.start()
    with capturedLogs() as events:
        file.write(UPTIME)
        clock.pump([1.0] * 3)
        file.write("[commands.x]")
        clock.pump([1.0] * 3)
    watch.stop()
    assert [formatEvent(event) for event in events] == [
        "the commands have changed, and are read again",
        "commands.toml line 1: commands.x.argv: is missing; the commands stay as they were",
    ]
    assert list(store.configuration.commands) == ["uptime"]
    assert clock.getDelayedCalls() == []
