"""What has come: taken once, and told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.wire.datagrams.drops import DatagramDropped, DropReason
from sockserv.wire.datagrams.layout import REPLAY_WINDOW, Ack, decode_content
from sockserv.wire.datagrams.receipts import Receipts


def ack_of(receipts: Receipts, now: float = 0.0) -> Ack:
    ack = decode_content(receipts.take_ack(now)).ack
    assert ack is not None
    return ack


def told(ack: Ack) -> set[int]:
    return {ack.largest - i for i in range(ack.bits.bit_length()) if ack.bits >> i & 1}


def refused(receipts: Receipts, counter: int) -> DropReason | None:
    try:
        receipts.check(counter)
    except DatagramDropped as dropped:
        return dropped.reason
    return None


@given(st.lists(st.integers(0, 3000), max_size=60))
def test_each_counter_is_taken_once(counters: list[int]) -> None:
    receipts = Receipts(1.0)
    taken: set[int] = set()
    for counter in counters:
        reason = refused(receipts, counter)
        if counter in taken and counter > max(taken) - REPLAY_WINDOW:
            assert reason is DropReason.REPLAYED
        elif taken and counter <= max(taken) - REPLAY_WINDOW:
            assert reason is DropReason.TOO_OLD
        else:
            assert reason is None
            receipts.add(counter, 0.0, asks_for_ack=True)
            taken.add(counter)
            assert counter in told(ack_of(receipts))


def test_the_borders_of_the_window() -> None:
    receipts = Receipts(1.0)
    receipts.add(5000, 0.0, asks_for_ack=True)
    assert refused(receipts, 5000 - REPLAY_WINDOW + 1) is None
    assert refused(receipts, 5000 - REPLAY_WINDOW) is DropReason.TOO_OLD
    receipts.add(5000 - REPLAY_WINDOW + 1, 0.0, asks_for_ack=True)
    assert told(ack_of(receipts)) == {5000, 5000 - REPLAY_WINDOW + 1}


@pytest.mark.parametrize("ahead", [REPLAY_WINDOW - 1, REPLAY_WINDOW, REPLAY_WINDOW + 1, 2**28])
def test_a_jump_ahead_costs_nothing(ahead: int) -> None:
    receipts = Receipts(1.0)
    receipts.add(0, 0.0, asks_for_ack=True)
    receipts.add(ahead, 0.0, asks_for_ack=True)
    assert refused(receipts, ahead) is DropReason.REPLAYED
    assert (refused(receipts, 0) is DropReason.REPLAYED) == (ahead < REPLAY_WINDOW)
    assert receipts._bits.bit_length() <= REPLAY_WINDOW


def test_an_ack_waits_a_little_and_not_for_many() -> None:
    receipts = Receipts(0.025)
    receipts.add(0, 1.0, asks_for_ack=False)
    assert not receipts.is_due(100.0)
    receipts.add(1, 1.0, asks_for_ack=True)
    receipts.add(2, 1.01, asks_for_ack=True)
    assert receipts.ack_at == 1.025
    assert [receipts.is_due(now) for now in (1.02, 1.025)] == [False, True]
    receipts.add(3, 1.01, asks_for_ack=True)
    receipts.add(4, 1.01, asks_for_ack=True)
    assert receipts.is_due(1.01)
    assert ack_of(receipts, 1.02).delay_seconds == pytest.approx(0.01, abs=0.0001)
    assert receipts.ack_at is None


def test_an_ack_is_told_again_by_what_goes_out_anyway() -> None:
    receipts = Receipts(0.025)
    receipts.add(0, 0.0, asks_for_ack=True)
    acks = 0
    while receipts.has_news:
        assert told(ack_of(receipts)) == {0}
        acks += 1
    assert acks == 3


def test_a_whole_batch_is_told_at_once() -> None:
    receipts = Receipts(0.025)
    for counter in range(900):
        receipts.add(counter, 0.0, asks_for_ack=True)
    assert told(ack_of(receipts)) == set(range(900))
