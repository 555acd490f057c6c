"""Tables of a TOML file, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sockserv.tables import FieldError, converted


class Colours(msgspec.Struct, forbid_unknown_fields=True):
    wall: str
    shades: list[int] = []


def test_a_table_becomes_an_object() -> None:
    assert converted({"wall": "red"}, Colours) == Colours("red")


@pytest.mark.parametrize(
    ("content", "field", "problem"),
    [
        ({"wall": 1}, "wall", "expected str, got int"),
        ({"wall": "", "shades": 1}, "shades", "expected array, got int"),
        ({"wall": "", "shades": [1, "x"]}, "shades[1]", "expected int, got str"),
        ({}, "wall", "is missing"),
        ({"wal": ""}, "wal", "there is no such setting; did you mean wall?"),
        ({"x`y": ""}, "x`y", "there is no such setting; expected wall, shades"),
    ],
)
def test_what_is_wrong(content: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(FieldError) as caught:
        converted(content, Colours, where="house.")
    assert caught.value.field == f"house.{field}"
    assert str(caught.value) == f"house.{field}: {problem}"
