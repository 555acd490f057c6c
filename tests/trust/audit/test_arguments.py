"""What of an argument stands in the log."""

from __future__ import annotations

from enum import Enum
from typing import Any

import attrs
import msgspec
import pytest

from sockserv.trust.audit.arguments import SECRET, fitting, fitting_text, has_secrets


@attrs.frozen
class Inner:
    word: str = attrs.field(metadata={"secret": True})
    hint: str = "none"


@attrs.frozen
class Outer:
    name: str
    inner: Inner
    token: str | None = attrs.field(default=None, metadata={"secret": True})


class Color(Enum):
    RED = "red"
    NONE = None
    MIXED = ("red", 2)


class Word(str):
    pass


def test_secrets_are_hidden_at_every_depth() -> None:
    shown = fitting(Outer("x", Inner("swordfish"), "hunter2"))
    assert shown == {"name": "x", "inner": {"word": SECRET, "hint": "none"}, "token": SECRET}
    assert fitting([Outer("x", Inner("swordfish"))]) == [
        {"name": "x", "inner": {"word": SECRET, "hint": "none"}, "token": None}
    ]


def test_whether_a_class_has_secrets() -> None:
    assert has_secrets(Inner)
    assert has_secrets(Outer)
    assert not has_secrets(attrs.make_class("Plain", ["x"]))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (2**63 - 1, 2**63 - 1),
        (2**64, hex(2**64)),
        (b"12345", "<5 bytes>"),
        (Color.RED, "red"),
        (Color.NONE, None),
        (Color.MIXED, ["red", 2]),
        (Word("x" * 257), "x" * 256 + "... (257 characters)"),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 256 + "... (257 characters)"),
        ("\udcff", "\\udcff"),
        ({"a": (1, "b")}, {"a": [1, "b"]}),
        ({1: 2}, {"1": 2}),
        (frozenset({1}), [1]),
        (list(range(16)), list(range(16))),
        (list(range(20)), [*range(16), "... (4 more)"]),
        ([[[[[[1]]]]]], [[[[["... (1 values)"]]]]]),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_values(value: Any, shown: Any) -> None:
    assert fitting(value) == shown


class Unspeakable:
    def __str__(self) -> str:
        raise ValueError("no words for it")


def test_a_value_that_cannot_be_put_into_words() -> None:
    assert fitting({"x": Unspeakable()}) == {"x": "<Unspeakable: ValueError>"}


def test_no_record_is_long_however_much_there_is() -> None:
    wide: Any = "x" * 10_000
    for _ in range(10):
        wide = [wide] * 1000
    assert len(msgspec.json.encode(fitting(wide))) < 64 * 1024
    assert len(fitting({str(i) * 1000: "y" * 1000 for i in range(1000)})) == 17


def test_an_endless_value_comes_to_an_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert fitting(loop) == [[[[["... (1 values)"]]]]]


def test_a_text_with_its_length() -> None:
    assert fitting_text("a" * 300) == "a" * 256 + "... (300 characters)"
