from __future__ import annotations

import os
import resource
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from twisted.internet.defer import Deferred

from sockserv.execution.arguments import Terminal
from sockserv.services.execution.guardian.pipes import Streams, close_all, open_streams
from tests.services.execution.guardian.fakes import WatchingClock

TERMINAL = Terminal(columns=100, rows=30)


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """No more files than these may be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.dup(0) for _ in range(count)]
    close_all(free)
    highest = max([*free, *map(int, os.listdir("/dev/fd"))])
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        while True:
            try:
                held.append(os.dup(0))
            except OSError:
                break
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        close_all(held)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def close(streams: Streams) -> None:
    streams.close()
    streams.close()
    close_all(streams.for_child)


def test_only_our_ends_do_not_block() -> None:
    streams = open_streams(WatchingClock(), None)
    ours = streams.stdin.fileno(), streams.stdout.fileno(), streams.stderr.fileno()
    assert [os.get_blocking(file) for file in ours] == [False] * 3
    assert [os.get_blocking(file) for file in streams.for_child] == [True] * 3
    assert not any(map(os.get_inheritable, [*ours, *streams.for_child]))
    close(streams)


def test_a_terminal_has_a_size_and_no_standard_error() -> None:
    streams = open_streams(WatchingClock(), TERMINAL)
    [there] = streams.for_child
    assert termios.tcgetwinsize(there) == (30, 100)
    streams.resize(columns=120, rows=40)
    assert termios.tcgetwinsize(there) == (40, 120)
    reading = Deferred.fromCoroutine(streams.stderr.read())
    assert reading.called
    close(streams)
    streams.resize(columns=1, rows=1)


@pytest.mark.parametrize("terminal", [None, TERMINAL], ids=["pipes", "terminal"])
@pytest.mark.parametrize("room", range(3))
def test_without_room_for_all_none_is_left(terminal: Terminal | None, room: int) -> None:
    before = sorted(os.listdir("/dev/fd"))
    with room_for(room), pytest.raises(OSError, match="Too many open files"):
        open_streams(WatchingClock(), terminal)
    assert sorted(os.listdir("/dev/fd")) == before
