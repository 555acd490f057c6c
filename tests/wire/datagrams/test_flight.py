"""Datagrams on their way: what is lost, what was only late, and when to ask again."""

from __future__ import annotations

from random import Random

import pytest

from sockserv.wire.datagrams.events import DeliveryState, OutgoingMessage
from sockserv.wire.datagrams.flight import Flight
from sockserv.wire.datagrams.layout import Ack
from sockserv.wire.datagrams.timing import MAX_PATIENCE_SECONDS, MIN_WINDOW_BYTES


def flight_of(count: int, *, every_seconds: float = 0.01) -> tuple[Flight, list[OutgoingMessage]]:
    """So many datagrams with one message each, sent one after the other."""
    flight = Flight(0.025, Random(1))
    flight.is_proved = True
    messages = []
    for number in range(count):
        message = OutgoingMessage(1, b"x", 0.0, number=number + 1, position=number)
        message.state = DeliveryState.SENT
        messages.append(message)
        flight.add(number, 100, [message], number * every_seconds)
    return flight, messages


def ack(*counters: int) -> Ack:
    largest = max(counters)
    return Ack(largest, 0.0, sum(1 << (largest - counter) for counter in counters))


def test_what_is_overtaken_is_lost_after_a_while() -> None:
    flight, messages = flight_of(3, every_seconds=0.0)
    assert flight.acknowledge(ack(1, 2), 0.1) == messages[1:]
    assert flight.again == []
    at = flight.next_timeout()
    assert at == pytest.approx(0.1125)
    flight.on_timeout(0.1125)
    assert flight.again == messages[:1]
    assert flight.is_empty
    assert flight.next_timeout() is None
    assert not flight.is_probe_due


def test_what_was_only_late_is_told_and_waited_for_longer_from_then_on() -> None:
    flight, messages = flight_of(3, every_seconds=0.0)
    flight.acknowledge(ack(1, 2), 0.2)
    flight.on_timeout(0.3)
    assert flight.again == messages[:1]
    before = flight.round_trip.reordering_seconds
    assert flight.acknowledge(ack(0, 1, 2), 0.31) == messages[:1]
    assert flight.round_trip.reordering_seconds > before
    assert flight.acknowledge(ack(0, 1, 2), 0.32) is None


def test_a_message_that_went_twice_is_lost_with_both() -> None:
    flight, (message, *_) = flight_of(2, every_seconds=0.0)
    flight.add(2, 100, [message], 0.5)
    flight.acknowledge(ack(1), 1.0)
    flight.on_timeout(5.0)
    assert flight.again == []
    assert message.copies == 1
    assert flight.acknowledge(ack(2), 5.1) == [message]


def test_an_acknowledgement_of_nothing_new_is_no_news() -> None:
    flight, _ = flight_of(2)
    assert flight.acknowledge(ack(0), 0.1) is not None
    assert flight.acknowledge(ack(0), 0.2) is None


def test_silence_is_asked_about_less_and_less_often() -> None:
    flight, messages = flight_of(1)
    now, pauses = 0.0, []
    for _ in range(8):
        at = flight.next_timeout()
        assert at is not None
        pauses.append(at - now)
        now = at
        flight.on_timeout(now)
        assert flight.is_probe_due
        assert flight.unacknowledged(1000) == messages
    assert pauses[0] < pauses[1] < pauses[2]
    assert pauses[-1] <= MAX_PATIENCE_SECONDS * 1.25
    assert flight.window.size_bytes == MIN_WINDOW_BYTES


def test_those_who_wait_do_not_all_ask_at_once() -> None:
    moments = set()
    for seed in range(20):
        flight = Flight(0.025, Random(seed))
        flight.add(0, 100, [], 0.0)
        flight.on_timeout(flight.next_timeout() or 0.0)
        moments.add(flight.next_timeout())
    assert len(moments) == 20


def test_as_much_as_fits_is_asked_about() -> None:
    flight, messages = flight_of(3)
    size = messages[0].size_bytes
    assert flight.unacknowledged(2 * size) == messages[:2]
    assert flight.unacknowledged(2 * size - 1) == messages[:1]
    assert flight.unacknowledged(size - 1) == []
