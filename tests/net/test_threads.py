"""A thread that does one thing after the other, and hands the reactor what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from sockserv.net.threads import OneThread


class Reactor:
    """Takes what threads hand it when the test says so."""

    def __init__(self) -> None:
        self.handed: SimpleQueue[Callable[[], Any]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        self.handed.put(lambda: function(*args))

    def result_of(self, deferred: Deferred[Any]) -> Any:
        results: list[Any] = []
        deferred.addBoth(results.append)
        while not results:
            self.handed.get(timeout=10)()
        return results[0]


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def test_one_after_the_other_in_one_thread(reactor: Reactor) -> None:
    one = OneThread(reactor)  # type: ignore[arg-type]  # all that it uses
    seen: list[tuple[int, int]] = []
    last = [one(lambda n=n: seen.append((n, threading.get_ident()))) for n in range(100)][-1]
    reactor.result_of(last)
    assert [number for number, _ in seen] == list(range(100))
    threads = {thread for _, thread in seen}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    one.stop()


def test_what_is_returned_and_what_is_raised(reactor: Reactor) -> None:
    one = OneThread(reactor)  # type: ignore[arg-type]  # all that it uses
    assert reactor.result_of(one(divmod, 7, 2)) == (3, 1)
    failure = reactor.result_of(one(divmod, 7, 0))
    assert failure.check(ZeroDivisionError)
    one.stop()


def test_it_ends_and_can_begin_again(reactor: Reactor) -> None:
    one = OneThread(reactor)  # type: ignore[arg-type]  # all that it uses
    one.stop()
    first = reactor.result_of(one(threading.current_thread))
    one.stop()
    first.join(timeout=10)
    assert not first.is_alive()
    assert reactor.result_of(one(threading.current_thread)) is not first
    one.stop()
