"""How commands look."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.execution.shown import MAX_SHOWN_CHARACTERS, in_one_line


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["ls", "-l"], "ls -l"),
        (["echo", "two words", ""], "echo 'two words' ''"),
        (["echo", "中文"], "echo '中文'"),
        (["sh", "-c", "ls\npwd\x1b[2J\x9b"], "sh -c 'ls\\npwd\\x1b[2J\\x9b'"),
        (["x", "\u202e\ud800"], "x '\\u202e\\ud800'"),
        ([], ""),
    ],
)
def test_words(argv: list[str], line: str) -> None:
    assert in_one_line(argv) == line


def test_what_is_long_is_cut() -> None:
    assert len(in_one_line(["x" * MAX_SHOWN_CHARACTERS])) == MAX_SHOWN_CHARACTERS
    cut = in_one_line(["x" * (MAX_SHOWN_CHARACTERS + 1)])
    assert len(cut) == MAX_SHOWN_CHARACTERS
    assert cut.endswith("x…")


@given(st.lists(st.text(st.characters())))
def test_it_never_commands_a_terminal(argv: list[str]) -> None:
    line = in_one_line(argv)
    assert line.isprintable()
    assert len(line) <= MAX_SHOWN_CHARACTERS
