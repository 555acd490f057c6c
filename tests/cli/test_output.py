"""How lines look."""

from __future__ import annotations

import json

from sockserv.cli.output import as_json_line, table


def test_a_table_is_as_wide_as_what_is_in_it() -> None:
    rows = [("alice", "x"), ("王小明", "y"), ("cafe\u0301", "zz")]
    assert table(("NAME", "MAY"), rows).splitlines() == [
        "NAME    MAY",
        "alice   x",
        "王小明  y",
        "cafe\u0301    zz",
    ]


def test_a_table_commands_no_terminal() -> None:
    assert table(("A",), [("\x1b[2J\n",)]) == "A\n\\x1b[2J\\n\n"


def test_no_line_ends_in_spaces() -> None:
    assert table(("NAME", "B"), [("x", "")]) == "NAME  B\nx\n"


def test_json_commands_no_terminal() -> None:
    value = {"name": "a\x1b\x00\x7f\x80\x9b31m\x9f\xa0é中"}
    line = as_json_line(value)
    assert json.loads(line) == value
    assert all(character.isprintable() for character in line.decode().replace("\xa0", " ").strip())
