"""Values that many wait for."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from sockserv.services.execution.awaited import Awaited


def results(*deferreds: Deferred[Any]) -> list[Any]:
    """What has come of each, None for nothing yet."""
    found: list[Any] = [None] * len(deferreds)
    for number, deferred in enumerate(deferreds):

        def keep(result: Any, number: int = number) -> None:
            found[number] = result.value if isinstance(result, Failure) else result

        deferred.addBoth(keep)
    return found


def test_everybody_is_told_once() -> None:
    awaited: Awaited[int] = Awaited()
    first, second = awaited.wait(), awaited.wait()
    awaited.tell(3)
    awaited.tell(4)
    assert awaited.is_known
    assert results(first, second, awaited.wait()) == [3, 3, 3]


def test_who_gives_up_concerns_nobody_else() -> None:
    awaited: Awaited[int] = Awaited()
    first, second = awaited.wait(), awaited.wait()
    first.cancel()
    awaited.tell(3)
    cancelled, told = results(first, second)
    assert isinstance(cancelled, CancelledError)
    assert told == 3


def test_why_there_is_none() -> None:
    awaited: Awaited[int] = Awaited()
    waiting = awaited.wait()
    awaited.tell(Failure(ValueError("none")))
    assert [type(each) for each in results(waiting, awaited.wait())] == [ValueError] * 2


def test_who_gives_up_while_the_others_are_told() -> None:
    awaited: Awaited[int] = Awaited()
    first, second = awaited.wait(), awaited.wait()
    first.addCallback(lambda _: second.cancel())
    awaited.tell(3)
    with pytest.raises(CancelledError):
        raise results(second)[0]
