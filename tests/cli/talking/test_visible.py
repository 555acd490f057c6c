"""Text of others as a terminal may get it, and how wide it is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.cli.talking.visible import (
    columns_of,
    cut,
    from_left,
    visible,
    visible_name,
    wrapped,
)

FAMILY = "👨\u200d👩\u200d👧"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("\x9b31m", "\\x9b31m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb", "a\\rb"),
        ("a\bb\x7f", "a\\x08b\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066a\u2069\u200e\u200f", "\\u2066a\\u2069\\u200e\\u200f"),
        ("zero\u200bwidth\ufeff\u2060", "zero\\u200bwidth\\ufeff\\u2060"),
        ("a\u200db", "a\\u200db"),
        ("a\u200cb", "a\\u200cb"),
        ("\u3164\u115f\u2800\u034f", "\\u3164\\u115f\\u2800\\u034f"),
        ("\U000e0041\U000e0100", "\\U000e0041\\U000e0100"),
        ("A\ufe0f", "A\\ufe0f"),
        ("\ud800\ue000", "\\ud800\\ue000"),
        ("one\r\ntwo\u2028three\u2029four", "one\ntwo\nthree\nfour"),
        ("a\tb", "a    b"),
        ("a\xa0b\u2003c\u3000d", "a b c  d"),
        ("\u0301x", "◌\u0301x"),
        ("e" + 8 * "\u0301", "e" + 6 * "\u0301" + 2 * "\\u0301"),
    ],
    ids=range(19),
)
def test_what_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "plain text, 100 %",
        "Grüße, Ångström",
        "e\u0301",
        "你好世界",
        "한국어 조선말",
        "العربية مرحبا",
        "می\u200cخواهم",  # noqa: RUF001  # Persian, as it is written
        "क्\u200dष",
        FAMILY,
        "👍🏽 ❤\ufe0f 🇩🇪 1\ufe0f\u20e3",
        "🏳\ufe0f\u200d🌈 👩🏽\u200d🚀",
    ],
    ids=range(11),
)
def test_what_stays(text: str) -> None:
    assert visible(text) == text


def test_a_name_is_in_one_line() -> None:
    assert visible_name("a\nb\r\nc") == "a\\nb\\nc"


@given(st.text())
def test_nothing_commands_the_terminal(text: str) -> None:
    shown = visible(text)
    assert all(one == "\n" or one.isprintable() or one in "\u200c\u200d" for one in shown)


@given(st.text(), st.integers(2, 40))
def test_rows_have_room(text: str, columns: int) -> None:
    shown = visible(text)
    rows = [*wrapped(shown, columns)]
    assert all(columns_of(row) <= columns or len(row) == 1 for row in rows)
    assert "".join(rows).replace(" ", "") == shown.replace("\n", "").replace(" ", "")


@given(st.text(), st.integers(2, 20))
def test_a_cut_name_has_room(text: str, columns: int) -> None:
    shown = visible_name(text)
    short = cut(shown, columns)
    assert columns_of(short) <= columns
    assert short == shown or short.endswith("…")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("hello world foo", ["hello", "world", "foo"]),
        ("hello   world", ["hello", "world"]),
        ("aaaaaaa", ["aaaaa", "aa"]),
        ("a bbbbbbbb", ["a", "bbbbb", "bbb"]),
        ("中文字符", ["中文", "字符"]),
        ("    x", ["    x"]),
        ("", [""]),
        ("a\n\nb", ["a", "", "b"]),
        (f"ab{FAMILY}{FAMILY}", [f"ab{FAMILY}", FAMILY]),
    ],
    ids=range(9),
)
def test_where_rows_end(text: str, rows: list[str]) -> None:
    assert [*wrapped(text, 5)] == rows


@pytest.mark.parametrize(
    ("text", "columns", "short"),
    [
        ("alice", 5, "alice"),
        ("alice", 4, "ali…"),
        ("中文字", 6, "中文字"),
        ("中文字", 5, "中文…"),
        ("中文字", 4, "中…"),
        ("x" * 10_000, 3, "xx…"),
    ],
)
def test_cutting(text: str, columns: int, short: str) -> None:
    assert cut(text, columns) == short


def test_what_follows_a_text_that_goes_left() -> None:
    assert from_left("علي") == "\u200e"
    assert from_left("שלום") == "\u200e"
    assert from_left("王芳") == from_left("ali") == ""
