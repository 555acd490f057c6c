"""A thread that does one thing after the other, and hands the reactor what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from sockserv.errors import Unavailable
from sockserv.net.threads import OneThread, pool_of


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


def test_no_room_for_a_thread_is_told_and_tried_again(reactor: Reactor) -> None:
    problems = [RuntimeError("can't start new thread")] * 2

    def start(run: Callable[[], None], name: str) -> None:
        if problems:
            raise problems.pop()
        threading.Thread(target=run, name=name, daemon=True).start()

    one = OneThread(reactor, start=start)  # type: ignore[arg-type]  # all that it uses
    called: list[int] = []
    for _ in range(2):
        assert reactor.result_of(one(called.append, 1)).check(Unavailable)
    # The function is not called later all the same.
    reactor.result_of(one(called.append, 2))
    assert called == [2]
    one.stop()


def test_no_room_in_the_pool_is_told() -> None:
    class Full:
        def getThreadPool(self) -> Full:
            return self

        def callInThreadWithCallback(self, *args: Any) -> None:
            raise RuntimeError("can't start new thread")

    results: list[Any] = []
    pool_of(Full())(divmod, 7, 2).addErrback(results.append)
    assert results[0].check(Unavailable)


def test_it_ends_and_can_begin_again(reactor: Reactor) -> None:
    one = OneThread(reactor)  # type: ignore[arg-type]  # all that it uses
    one.stop()
    first = reactor.result_of(one(threading.current_thread))
    one.stop()
    first.join(timeout=10)
    assert not first.is_alive()
    assert reactor.result_of(one(threading.current_thread)) is not first
    one.stop()
