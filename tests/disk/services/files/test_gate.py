"""What is being written is bounded, also when nobody waits for it any more."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from sockserv.services.files.gate import Gate


def enter(gate: Gate, count: int) -> Deferred[None]:
    return Deferred.fromCoroutine(gate.enter(count))


async def wait_for(written: Deferred[str]) -> str:
    return await written


def test_at_the_bound_and_one_past_it() -> None:
    gate = Gate(10)
    written: Deferred[str] = Deferred()
    assert enter(gate, 4).called
    assert gate.has_room(6)
    assert not gate.has_room(7)
    told = gate.write(4, wait_for(written))
    waiting, after = enter(gate, 7), enter(gate, 1)
    # Who comes first goes first.
    assert [waiting.called, after.called] == [False, False]
    written.callback("written")
    assert told.result == "written"
    assert [waiting.called, after.called] == [True, True]


def test_one_that_is_larger_goes_alone() -> None:
    gate = Gate(10)
    assert enter(gate, 11).called
    assert not enter(gate, 1).called


def test_who_gives_up_while_it_is_written_makes_no_room() -> None:
    gate = Gate(10)
    written: Deferred[str] = Deferred()
    enter(gate, 10)
    told = gate.write(10, wait_for(written))
    told.addErrback(lambda failure: failure.trap(CancelledError) and None)
    told.cancel()
    waiting = enter(gate, 1)
    assert not waiting.called
    written.callback("written")
    assert waiting.called


def test_who_gives_up_waiting_lets_others_in() -> None:
    gate = Gate(10)
    enter(gate, 5)
    large, small = enter(gate, 10), enter(gate, 5)
    large.addErrback(lambda failure: failure.trap(CancelledError) and None)
    large.cancel()
    assert small.called


def test_what_fails_makes_room() -> None:
    gate = Gate(10)
    enter(gate, 10)
    failing: Deferred[str] = Deferred()
    told = gate.write(10, wait_for(failing))
    waiting = enter(gate, 10)
    failing.errback(OSError("the disk"))
    assert waiting.called
    with pytest.raises(OSError, match="the disk"):
        told.result.raiseException()  # type: ignore[attr-defined]
    told.addErrback(lambda _: None)
