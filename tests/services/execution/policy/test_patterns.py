"""Patterns: they fit what `re` says they do, and never take long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.services.execution.policy.patterns import (
    MAX_PATTERN_CHARACTERS,
    MAX_POSITIONS,
    Pattern,
    PatternError,
)

ATOMS = st.sampled_from(
    [
        *"abc",
        ".",
        r"\.",
        "[ab]",
        "[^a]",
        "[a-c]",
        r"\d",
        r"\w",
        r"\S",
        "[]a]",
        r"[\]\d-]",
        "1",
        "-",
        "大",
    ]
)
REPEATS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{0}", "{1,2}", "{1,}", "{,2}", "{0,3}"])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.sampled_from(["(", "(?:"])
    return st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: f"(?:{a}|{b})", inner, inner),
        st.builds(lambda g, a, r: f"{g}{a}){r}", group, inner, REPEATS),
        st.builds(lambda a, b: f"{a}|{b}", inner, inner),
        st.builds(lambda a: f"(?:{a}|)", inner),
    )


PATTERNS = st.recursive(st.builds(lambda a, r: a + r, ATOMS, REPEATS), _larger, max_leaves=6)


@given(PATTERNS, st.lists(st.text("abc1-].大 é", max_size=6), max_size=8))
def test_it_fits_what_re_says(pattern: str, values: list[str]) -> None:
    ours, theirs = Pattern(pattern), re.compile(pattern, re.ASCII)
    for value in ("", "a", "ab", *values):
        assert ours.fits(value) == (theirs.fullmatch(value) is not None), value


@given(st.text("ab(){}[]*+?|^$.\\-,01:", max_size=12))
def test_any_text_is_a_pattern_of_re_or_none(text: str) -> None:
    try:
        pattern = Pattern(text)
    except PatternError:
        return
    theirs = re.compile(text, re.ASCII)
    for value in ("", "a", "ab", "ba", "0", "-"):
        assert pattern.fits(value) == (theirs.fullmatch(value) is not None)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("(a+)+b", "a" * 1000),
        ("(a|a)*b", "a" * 1000),
        ("(a|aa)+", "a" * 999 + "b"),
        ("(.*a){20}", "a" * 19 + "b" * 900),
        ("a*a*a*a*a*a*a*a*b", "a" * 1000),
        ("(a?){200}a{200}", "a" * 399 + "b"),
        ("(.?){500}x", "y" * 1000),
    ],
)
def test_no_pattern_takes_long(pattern: str, value: str) -> None:
    started = time.process_time()
    assert not Pattern(pattern).fits(value)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("^a", "leave ^ out"),
        ("a$", "leave $ out"),
        ("(a", "( without its )"),
        ("a)", ") without its ( at character 2"),
        ("[a", "[ without its ]"),
        ("[]", "[ without its ]"),
        ("[b-a]", "[b-a]: bad character range b-a"),
        ("[a[]", "write \\[ for ["),
        ("[a--b]", "write \\- for -"),
        ("[a&&b]", "write \\& for &"),
        ("*a", "nothing that * at character 1"),
        ("a{", "nothing that { at character 2"),
        ("a}", "nothing that } at character 2"),
        ("a{x}", "nothing that { at character 2"),
        ("a{}", "{} says no number"),
        ("a{,}", "{,} says no number"),
        ("a{2,1}", "the second number is the smaller one"),
        ("a**", "a repeat is not repeated"),
        ("a*?", "a repeat is not repeated"),
        ("a{2}{3}", "a repeat is not repeated"),
        ("a++", "a repeat is not repeated"),
        ("(?=a)", "there is only (?:...)"),
        ("(?P<x>a)", "there is only (?:...)"),
        ("(?i)a", "there is only (?:...)"),
        (r"(a)\1", r"there is no \1"),
        (r"\b", r"there is no \b"),
        (r"\Z", r"there is no \Z"),
        (r"[\b]", r"there is no \b"),
        (r"\x41", r"there is no \x"),
        ("\\", "there is no \\;"),
        ("(" * 21 + ")" * 21, "nested more than 20 deep"),
        ("a" * (MAX_PATTERN_CHARACTERS + 1), "more than 1000 characters"),
        ("a" * (MAX_POSITIONS + 1), "more than 512 characters"),
        (f"a{{{MAX_POSITIONS + 1}}}", "more than 512 characters"),
        ("(((a{99}){99}){99}){99}", "more than 512 characters"),
        ("((){999}){999}", "more than 512 characters"),
    ],
)
def test_what_is_no_pattern(text: str, why: str) -> None:
    with pytest.raises(PatternError) as caught:
        Pattern(text)
    assert why in str(caught.value)


def test_the_largest_patterns() -> None:
    assert Pattern("a" * MAX_POSITIONS).fits("a" * MAX_POSITIONS)
    assert Pattern(f"[ab]{{{MAX_POSITIONS}}}").fits("a" * MAX_POSITIONS)
    assert Pattern("(" * 20 + "a" + ")" * 20).fits("a")


@pytest.mark.parametrize("value", ["\u0663", "\uff13", "\u0430", "é"])
def test_digits_and_letters_are_those_of_ascii(value: str) -> None:
    assert not Pattern(r"[\w\d]").fits(value)
