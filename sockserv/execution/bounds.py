"""How long a job may run and how much it may write, who has set that, and what is said of a job that went beyond."""

from __future__ import annotations

import attrs

__all__ = ["TimeLimit", "excess_message", "time_limit"]


@attrs.frozen
class TimeLimit:
    """A job may run for so many `seconds`; `message` is told of one that ran longer: whose limit it
    is, and what to do.
    """

    seconds: float
    message: str


def time_limit(
    *,
    rule: str,
    asked_seconds: float | None,
    decided_seconds: float | None,
    default_seconds: float | None = None,
    max_seconds: float | None = None,
) -> TimeLimit | None:
    """How long a job may run, None for as long as it likes.

    Its caller has asked for `asked_seconds`, of which `rule` has left `decided_seconds`. The server gives
    `default_seconds` where there is neither, and `max_seconds` to nobody more.
    """
    seconds = decided_seconds or default_seconds
    if max_seconds is not None and (seconds is None or max_seconds < seconds):
        return _time_limit(
            max_seconds,
            "that this server allows: who looks after it can allow more (max_timeout_seconds)",
        )
    if seconds is None:
        return None
    if decided_seconds is None:
        return _time_limit(
            seconds, "that this server gives where nobody asks for another timeout: ask for one"
        )
    if decided_seconds == asked_seconds:
        return _time_limit(seconds, "that it was given: start it with a longer timeout")
    return _time_limit(
        seconds,
        f"that the rule {rule} allows: who looks after the server can allow more (timeout_seconds in commands.toml)",
    )


def excess_message(*, rule: str, asked_bytes: int | None, limit_bytes: int) -> str:
    """What is told of a job that wrote more than `limit_bytes`; its caller has asked for `asked_bytes` at most."""
    unit = "byte" if limit_bytes == 1 else "bytes"
    what = f"it wrote more than the {limit_bytes} {unit}"
    if limit_bytes == asked_bytes:
        return (
            f"{what} that it was given, and the rest is lost: start it with a higher output limit"
        )
    return (
        f"{what} that the rule {rule} allows, and the rest is lost: who looks after the server can allow "
        "more (output_limit_bytes in commands.toml)"
    )


def _time_limit(seconds: float, whose: str) -> TimeLimit:
    unit = "second" if seconds == 1 else "seconds"
    return TimeLimit(seconds, f"it ran longer than the {seconds:g} {unit} {whose}")
