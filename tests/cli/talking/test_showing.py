"""What is shown of a chat, as rows of a terminal."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.chat.facts import Message
from sockserv.cli.talking.showing import (
    MAX_ROWS,
    Kind,
    Line,
    Row,
    as_plain,
    clock_time,
    rows_of,
    said_line,
)
from sockserv.cli.talking.visible import columns_of

NOON = datetime(2026, 11, 23, 12, 4, 5)
AT = NOON.timestamp()


def message(text: str, sender: str = "alice", **facts: object) -> Line:
    return Line(kind=Kind.MESSAGE, text=text, sender=sender, at=AT, **facts)  # type: ignore[arg-type]


def texts(rows: list[Row]) -> list[str]:
    return ["".join(text for _, text in row) for row in rows]


def shown(line: Line, columns: int = 80) -> list[str]:
    return texts(rows_of(line, columns))


def test_a_message() -> None:
    assert shown(message("hello")) == ["12:04 alice         hello"]


def test_names_of_wide_characters_line_up() -> None:
    for name in ("alice", "王芳", "e\u0301va", "👍🏽"):
        (row,) = shown(message("x", name))
        assert columns_of(row) == 21


def test_a_text_that_goes_left_leaves_the_rest_where_it_is() -> None:
    (row,) = shown(message("مرحبا", "علي"))
    assert row == "12:04 علي\u200e           مرحبا\u200e"


def test_several_rows_have_a_margin() -> None:
    assert shown(message("one\n12:05 bob          I quit\n")) == [
        "12:04 alice         one",
        "                  │ 12:05 bob          I quit",
        "                  │ ",
    ]


def test_a_narrow_terminal() -> None:
    assert shown(message("hello to all of you"), 24) == [
        "12:04 alice",
        "│ hello to all of you",
    ]


def test_to_somebody() -> None:
    (row,) = shown(message("psst", to="you"))
    assert row == "12:04 alice → you   psst"


def test_a_long_name() -> None:
    (row, *_) = shown(message("x", "a" * 10_000))
    assert row == "12:04 " + "a" * 23 + "…  x"


def test_so_many_rows_of_a_message_and_one_more() -> None:
    assert len(shown(message("x\n" * (MAX_ROWS - 1) + "x"))) == MAX_ROWS
    rows = shown(message("x\n" * MAX_ROWS + "x"))
    assert len(rows) == MAX_ROWS + 1
    assert rows[-1].endswith("[… 1 more row]")


def test_notices_and_errors() -> None:
    assert shown(said_line("bob is here")) == ["* bob is here"]
    assert shown(said_line("too\nbad", kind=Kind.ERROR)) == ["! too", "  bad"]


def test_styles_of_names_last() -> None:
    (row,) = rows_of(message("x", "alice"), 80)
    (same,) = rows_of(message("y", "alice"), 80)
    assert row[1][0] == same[1][0] != "own"
    (own,) = rows_of(message("x", "alice", is_own=True), 80)
    assert own[1][0] == "own"


@given(st.text(), st.text(max_size=40), st.sampled_from(["", "you"]), st.integers(1, 100))
def test_every_row_has_room_and_what_others_say_stays_right(
    text: str, name: str, to: str, columns: int
) -> None:
    rows = shown(message(text, name, to=to), columns)
    assert all("\n" not in row and "\x1b" not in row for row in rows)
    assert all(row.startswith((" ", "│")) for row in rows[1:])
    if columns >= 16:
        assert all(columns_of(row) <= columns for row in rows)


def test_times_of_other_days() -> None:
    assert clock_time(AT, today=NOON) == clock_time(AT) == "12:04"
    assert clock_time(AT, today=NOON + timedelta(days=1)) == "11-23 12:04"


@pytest.mark.parametrize("at", [1e300, float("nan"), float("inf"), -1e300])
def test_times_that_are_none(at: float) -> None:
    assert clock_time(at) == "??:??"


def test_for_pipes() -> None:
    said = Message(
        id=1, to="lobby", sender="al\x1bice", device="d", number=1, text="a\n\u202eb\x1b[2J", at=AT
    )
    assert as_plain(said) == "2026-11-23 12:04:05 lobby al\\x1bice: a\\n\\u202eb\\x1b[2J"
