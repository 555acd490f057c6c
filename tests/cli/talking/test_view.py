"""What stands around the line that is typed."""

from __future__ import annotations

import pytest

from sockserv.cli.talking.shielding import shield
from sockserv.cli.talking.view import View, bar_of, prompt_of
from sockserv.cli.talking.visible import columns_of


def bar(view: View, columns: int = 80) -> str:
    return "".join(text for _, text in bar_of(view, columns))


@pytest.mark.parametrize(
    ("here", "columns", "prompt"),
    [
        ("lobby", 80, "lobby> "),
        ("", 80, "-> "),
        ("@王芳", 80, "@王芳> "),
        ("lobby", 9, "lo…> "),
        ("x" * 64, 80, "x" * 23 + "…> "),
        ("a\x1bb", 80, "a\\x1bb> "),
    ],
)
def test_prompt(here: str, columns: int, prompt: str) -> None:
    assert prompt_of(View(here=here), columns) == prompt


def test_bar() -> None:
    view = View(crowd="with bob", outlook="sent", unread=(("ops", 3),), is_connected=False)
    assert bar(view) == " no connection │ ops 3 │ sent │ with bob"
    assert bar(View()) == ""


def test_many_unread_places() -> None:
    view = View(unread=tuple((f"room{number}", 1) for number in range(7)))
    assert bar(view).endswith("room4 1 │ 2 more rooms")


@pytest.mark.parametrize("columns", range(1, 45))
def test_a_narrow_bar(columns: int) -> None:
    view = View(crowd="with bob", outlook="delivered to 王芳", unread=(("中文字符", 3),))
    assert columns_of(bar(view, columns)) < max(columns, 1) or bar(view, columns) == ""


def test_what_is_typed() -> None:
    assert shield("a\u202eb") == ("a\\u202eb", [0, 1, 7, 8])
    assert shield("中") == ("中", [0, 1])
