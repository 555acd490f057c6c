"""The round trip and the congestion window, by their formulas."""

from __future__ import annotations

import pytest

from sockserv.wire.datagrams.timing import (
    FIRST_WINDOW_BYTES,
    MAX_PATIENCE_SECONDS,
    MAX_WINDOW_BYTES,
    MIN_PATIENCE_SECONDS,
    MIN_WINDOW_BYTES,
    CongestionWindow,
    RoundTrip,
)


def patience(trip: RoundTrip, timeouts: int = 0) -> float:
    return trip.patience_seconds(timeouts=timeouts, ack_delay_seconds=0.0)


def test_the_first_sample() -> None:
    """RFC 6298, (2.2): SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR."""
    trip = RoundTrip()
    trip.add(0.3, 0.1)
    assert trip.smoothed_seconds == pytest.approx(0.2)
    assert patience(trip) == pytest.approx(0.6)


def test_the_next_sample() -> None:
    """RFC 6298, (2.3): alpha = 1/8, beta = 1/4."""
    trip = RoundTrip()
    trip.add(0.2, 0.0)
    trip.add(0.4, 0.0)
    assert trip.smoothed_seconds == pytest.approx(0.225)
    assert patience(trip) == pytest.approx(0.225 + 4 * (0.75 * 0.1 + 0.25 * 0.2))


def test_a_clock_that_goes_back_measures_nothing_negative() -> None:
    trip = RoundTrip()
    for elapsed in (-5.0, 0.1, -5.0):
        trip.add(elapsed, 3.0)
        assert trip.smoothed_seconds >= 0
        assert patience(trip) >= MIN_PATIENCE_SECONDS


def test_a_delay_that_is_made_up_makes_nothing_faster_than_it_was() -> None:
    trip = RoundTrip()
    trip.add(0.2, 0.0)
    trip.add(0.2, 6.0)
    assert trip.latest_seconds == pytest.approx(0.2)


@pytest.mark.parametrize("timeouts", [20, 100, 10**6])
def test_patience_has_an_end(timeouts: int) -> None:
    assert patience(RoundTrip(), timeouts) == MAX_PATIENCE_SECONDS


def test_patience_grows() -> None:
    trip = RoundTrip()
    assert patience(trip, 2) == pytest.approx(2.25 * patience(trip))


def test_what_was_only_late_widens_the_wait_up_to_a_bound() -> None:
    trip = RoundTrip()
    before = trip.reordering_seconds
    trip.note_spurious_loss()
    assert trip.reordering_seconds > before
    for _ in range(100):
        trip.note_spurious_loss()
    assert trip.reordering_seconds == pytest.approx(2 * trip.smoothed_seconds)


def test_the_window_doubles_in_a_round_trip_until_something_is_lost() -> None:
    window = CongestionWindow()
    window.on_acked(FIRST_WINDOW_BYTES, 0.0, FIRST_WINDOW_BYTES)
    assert window.size_bytes == 2 * FIRST_WINDOW_BYTES
    window.on_lost(0.0, 1.0)
    assert window.size_bytes == FIRST_WINDOW_BYTES
    window.on_acked(FIRST_WINDOW_BYTES, 2.0, FIRST_WINDOW_BYTES)
    assert window.size_bytes == FIRST_WINDOW_BYTES + 1200


def test_the_losses_of_one_round_trip_are_one() -> None:
    window = CongestionWindow()
    window.size_bytes = 100_000
    for _ in range(5):
        window.on_lost(1.0, 2.0)
    assert window.size_bytes == 50_000
    window.on_acked(1200, 1.5, 50_000)
    assert window.size_bytes == 50_000, "what was sent before the loss lets nothing grow"
    window.on_lost(2.5, 3.0)
    assert window.size_bytes == 25_000


def test_the_borders_of_the_window() -> None:
    window = CongestionWindow()
    for round_trip in range(50):
        window.on_lost(round_trip, round_trip + 0.5)
    assert window.size_bytes == MIN_WINDOW_BYTES
    for _ in range(100_000):
        window.on_acked(1200, 100.0, window.size_bytes)
    assert window.size_bytes == MAX_WINDOW_BYTES
    window.on_silence()
    assert window.size_bytes == MIN_WINDOW_BYTES


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = CongestionWindow()
    window.on_acked(1200, 0.0, FIRST_WINDOW_BYTES // 2 - 1)
    assert window.size_bytes == FIRST_WINDOW_BYTES
