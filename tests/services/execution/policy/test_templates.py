"""Words with places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.services.execution.policy.templates import TemplateError, Word


@pytest.mark.parametrize(
    ("text", "places", "filled"),
    [
        ("", (), ("",)),
        ("x", (), ("x",)),
        ("{a}", ("a",), ("1", "2")),
        ("--a={a}", ("a",), ("--a=1",)),
        ("{a}{b}", ("a", "b"), ("1{b}",)),
        ("{{a}}", (), ("{a}",)),
        ("{{{a}}}", ("a",), ("{1}",)),
        ("}}{{", (), ("}{",)),
    ],
)
def test_words(text: str, places: tuple[str, ...], filled: tuple[str, ...]) -> None:
    word = Word.parse(text)
    assert word.places == places
    assert word.filled({"a": ("1", "2"), "b": ("{b}",)}) == filled


@pytest.mark.parametrize("text", ["{", "}", "{a", "a}", "{}", "{A}", "{a b}", "{a}}", "{a!r}"])
def test_what_is_no_word(text: str) -> None:
    with pytest.raises(TemplateError):
        Word.parse(text)


@given(st.text())
def test_doubled_braces_stand_for_themselves(text: str) -> None:
    word = Word.parse(text.replace("{", "{{").replace("}", "}}"))
    assert word.filled({}) == (text,)


@given(st.text("{}ab"), st.text("{}ab"))
def test_a_value_is_never_looked_into(value: str, other: str) -> None:
    word = Word.parse("x{a}y{b}")
    assert word.filled({"a": (value,), "b": (other,)}) == (f"x{value}y{other}",)
