"""Noticing that identities have changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from sockserv.errors import Unavailable
from sockserv.trust.grants import Grants
from sockserv.trust.store import IdentityStore
from sockserv.trust.watching import IdentityWatch
from tests.trust.edited import Edited, no_more_files


class Watched:
    """A watch, what it has told, and a thread that does things when it is told to."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.file = Edited(path / "identities.toml")
        self.store: IdentityStore = self.file.open()
        self.told = 0
        self.waiting: list[Deferred[None]] | None = None
        self.problem: Exception | None = None
        self.watch = IdentityWatch(self.clock, self.store, self._tell, in_thread=self._in_thread)

    def _tell(self) -> None:
        self.told += 1

    def _in_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        if self.problem is not None:
            return fail(self.problem)
        if self.waiting is None:
            return execute(function)
        waiting: Deferred[None] = Deferred()
        self.waiting.append(waiting)
        return waiting.addCallback(lambda _: function())

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.seconds(), UTC)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    watched.watch.start()
    yield watched
    watched.watch.stop()
    assert watched.clock.getDelayedCalls() == []


def test_nothing_is_told_when_nothing_has_changed(watched: Watched) -> None:
    watched.clock.pump([1.0] * 5)
    assert watched.told == 0


def test_an_edit_is_told_within_a_second(watched: Watched) -> None:
    watched.file.write("[alice]\nuids = [1]\n")
    watched.clock.advance(0.9)
    assert watched.told == 0
    watched.clock.advance(0.1)
    assert watched.told == 1
    assert watched.store.by_uid(1) is not None
    watched.clock.pump([1.0] * 5)
    assert watched.told == 1


def test_a_change_by_the_daemon_is_told_at_once_and_once(watched: Watched) -> None:
    watched.store.invite("alice", Grants())
    watched.watch.notice()
    watched.watch.notice()
    assert watched.told == 1
    watched.clock.advance(1.0)
    assert watched.told == 1


def test_a_change_that_nobody_has_mentioned_is_told_all_the_same(watched: Watched) -> None:
    """The call that made it may have been cancelled meanwhile."""
    watched.store.invite("alice", Grants())
    watched.clock.advance(1.0)
    assert watched.told == 1


def test_a_token_that_expires_is_told_once(watched: Watched) -> None:
    watched.store.invite("alice", Grants(), expires=watched.now() + timedelta(seconds=2.5))
    watched.watch.notice()
    watched.clock.pump([1.0, 1.0])
    assert watched.told == 1
    watched.clock.advance(1.0)
    assert watched.told == 2
    watched.clock.pump([1.0, 1.0])
    assert watched.told == 2


def test_a_broken_edit_is_logged_once_for_each_content(watched: Watched) -> None:
    with capturedLogs() as events:
        for text in ("[alice", "[alice", "[bob"):
            watched.file.write(text)
            watched.clock.pump([1.0] * 3)
        watched.file.write("[alice]")
        watched.clock.advance(1.0)
    said = [formatEvent(event) for event in events]
    why = "identities.toml line 1: is not TOML: expected ']' at the end of a table declaration"
    broken = f"{why}; the identities stay as they were"
    assert said == [broken] * 3 + ["the identities have changed, and are read again"]
    assert watched.told == 1


def test_what_cannot_be_read_is_tried_again_and_logged_once_for_each_time_that_lasts(
    watched: Watched,
) -> None:
    watched.file.write("[alice]\nuids = [1]\n")
    with capturedLogs() as events:
        for _ in range(2):
            with no_more_files():
                watched.clock.pump([1.0] * 3)
            assert watched.store.by_uid(1) is None
            watched.clock.advance(1.0)
            assert watched.store.by_uid(1) is not None
            watched.file.write("")
            watched.clock.advance(1.0)
            watched.file.write("[alice]\nuids = [1]\n")
    said = [(formatEvent(event) or "").split(": ")[-1] for event in events]
    again = "the identities have changed, and are read again"
    assert said == ["too many open files; the identities stay as they were", again, again] * 2


def test_where_there_is_no_room_for_a_thread_it_is_tried_again_and_logged_once(
    watched: Watched,
) -> None:
    watched.file.write("[alice]\nuids = [1]\n")
    watched.problem = Unavailable("there is no room for one more thread")
    with capturedLogs() as events:
        watched.clock.pump([1.0] * 3)
        watched.problem = None
        watched.clock.advance(1.0)
    assert watched.store.by_uid(1) is not None
    assert [formatEvent(event) for event in events] == [
        "there is no room for one more thread; the identities stay as they were",
        "the identities have changed, and are read again",
    ]


def test_what_it_did_not_foresee_does_not_end_it(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched.store, "refresh", lambda: 1 / 0)
    with capturedLogs() as events:
        watched.clock.pump([1.0] * 2)
    assert [type(event["log_failure"].value) for event in events] == [ZeroDivisionError] * 2
    monkeypatch.undo()
    watched.file.write("[alice]")
    watched.clock.advance(1.0)
    assert watched.told == 1


def test_a_slow_disk_is_asked_one_thing_at_a_time(watched: Watched) -> None:
    watched.waiting = []
    watched.clock.pump([1.0] * 5)
    assert len(watched.waiting) == 1
    watched.waiting.pop().callback(None)
    watched.clock.advance(1.0)
    assert len(watched.waiting) == 1
    watched.waiting.pop().callback(None)


def test_nothing_is_told_after_the_end(watched: Watched) -> None:
    watched.waiting = []
    watched.file.write("[alice]")
    watched.clock.advance(1.0)
    watched.watch.stop()
    watched.watch.stop()
    watched.waiting.pop().callback(None)
    watched.clock.advance(1.0)
    assert watched.told == 0
