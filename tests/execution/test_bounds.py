"""Whose limit a job has run into, and what can be done about that."""

from __future__ import annotations

import pytest

from sockserv.execution.bounds import excess_message, time_limit

GIVEN = "that it was given: start it with a longer timeout"
BY_THE_RULE = "that the rule flash allows: who looks after the server can allow more (timeout_seconds in commands.toml)"
BY_DEFAULT = "that this server gives where nobody asks for another timeout: ask for one"
AT_MOST = "that this server allows: who looks after it can allow more (max_timeout_seconds)"


@pytest.mark.parametrize(
    ("asked", "decided", "default", "most", "seconds", "whose"),
    [
        (5.0, 5.0, None, None, 5.0, GIVEN),
        (5.0, 5.0, 3.0, 5.0, 5.0, GIVEN),
        (5.0, 2.5, None, None, 2.5, BY_THE_RULE),
        (None, 60.0, 3.0, None, 60.0, BY_THE_RULE),
        (None, None, 7.0, None, 7.0, BY_DEFAULT),
        (None, None, 7.0, 7.0, 7.0, BY_DEFAULT),
        (None, None, 7.0, 6.0, 6.0, AT_MOST),
        (None, None, None, 600.0, 600.0, AT_MOST),
        (9.0, 9.0, None, 8.0, 8.0, AT_MOST),
    ],
)
def test_a_time(
    asked: float | None,
    decided: float | None,
    default: float | None,
    most: float | None,
    seconds: float,
    whose: str,
) -> None:
    limit = time_limit(
        rule="flash",
        asked_seconds=asked,
        decided_seconds=decided,
        default_seconds=default,
        max_seconds=most,
    )
    assert limit is not None
    assert limit.seconds == seconds
    assert limit.message == f"it ran longer than the {seconds:g} seconds {whose}"


def test_a_second() -> None:
    limit = time_limit(rule="any", asked_seconds=1.0, decided_seconds=1.0)
    assert limit is not None
    assert limit.message.startswith("it ran longer than the 1 second that")


def test_no_limit() -> None:
    assert time_limit(rule="any", asked_seconds=None, decided_seconds=None) is None


@pytest.mark.parametrize(
    ("asked", "limit", "said"),
    [
        (
            1000,
            1000,
            "it wrote more than the 1000 bytes that it was given, and the rest is lost: "
            "start it with a higher output limit",
        ),
        (
            1000,
            1,
            "it wrote more than the 1 byte that the rule flash allows, and the rest is lost: "
            "who looks after the server can allow more (output_limit_bytes in commands.toml)",
        ),
    ],
)
def test_an_output(asked: int | None, limit: int, said: str) -> None:
    assert excess_message(rule="flash", asked_bytes=asked, limit_bytes=limit) == said
