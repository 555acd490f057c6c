"""Where things stand in a TOML text."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.trust.toml_places import Place, Places

TEXT = '''\
# a comment with [brackets] = "and quotes
top = 1.5
dotted.key = 2026-12-01 00:00:00

[alice]  # [no]
plain = "a # [b]\\""
"quo.ted" = 'lit\\'
numbers = [ # comment
    1,

    { deep = [true,
              false] },
]
text = """
[not a header]
key = "value" """"
literal = \'\'\'
[neither]\'\'\'
files = { root = "x", access = "y" }

  ["张三".more]
a.b.c = 1

[[alice.tokens]]
sha256 = "1"
[[alice.tokens]]
sha256 = "2"
[alice.tokens.inner]
x = 1
[[alice.tokens.list]]
y = 1
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("top",), 2),
        (("dotted", "key"), 3),
        (("alice",), 5),
        (("alice", "plain"), 6),
        (("alice", "quo.ted"), 7),
        (("alice", "numbers"), 8),
        (("alice", "numbers", 0), 9),
        (("alice", "numbers", 1), 11),
        (("alice", "numbers", 1, "deep", 0), 11),
        (("alice", "numbers", 1, "deep", 1), 12),
        (("alice", "text"), 14),
        (("alice", "literal"), 17),
        (("alice", "files", "access"), 19),
        (("张三",), 21),
        (("张三", "more", "a", "b", "c"), 22),
        (("alice", "tokens", 0, "sha256"), 25),
        (("alice", "tokens", 1), 26),
        (("alice", "tokens", 1, "sha256"), 27),
        (("alice", "tokens", 1, "inner", "x"), 29),
        (("alice", "tokens", 1, "list", 0, "y"), 31),
        (("alice", "not there", 7), 5),
        (("nobody",), 1),
        ((), 1),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_line_of_a_place(place: Place, line: int, newline: str) -> None:
    assert tomllib.loads(TEXT)["alice"]["text"].endswith('"value" "')
    assert Places(TEXT.replace("\n", newline)).line_of(place) == line


@pytest.mark.parametrize(
    ("above", "kept"),
    [
        ("", ""),
        ("\n", ""),
        ("# c\n", "# c\n"),
        ("# c\n\n# d\n  # e\n", "# d\n  # e\n"),
        ("k = 1  # c\n", ""),
        ("k = 1  # c\n# d\n", "# d\n"),
        ("[u] # c\n# d\n", "# d\n"),
        ('k = """\n# c"""\n', ""),
        ('k = """\n# c"""\n# d\n', "# d\n"),
        ("k = [\n# c\n]\n", ""),
    ],
)
def test_a_header_begins_with_the_comments_right_above_it(above: str, kept: str) -> None:
    text = f"{above}[t]\n"
    assert text[Places(text).headers[-1].offset :] == f"{kept}[t]\n"


def test_the_headers() -> None:
    found = [
        (header.table, TEXT[header.offset :].splitlines()[0]) for header in Places(TEXT).headers
    ]
    assert found == [
        (("alice",), "[alice]  # [no]"),
        (("张三", "more"), '  ["张三".more]'),
        (("alice", "tokens", 0), "[[alice.tokens]]"),
        (("alice", "tokens", 1), "[[alice.tokens]]"),
        (("alice", "tokens", 1, "inner"), "[alice.tokens.inner]"),
        (("alice", "tokens", 1, "list", 0), "[[alice.tokens.list]]"),
    ]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment", "[a]", "a=1"])
def test_short_texts(text: str) -> None:
    assert Places(text).line_of(("a",)) == 1


VALUES = st.sampled_from(
    [
        *("1", "1.5", "true", "1979-05-27 07:32:00Z", "'#['", '"\\"]"', '"""\n[x]\n""""', "{}"),
        *("[\n[1],\n]", "{ k = '=' }", "[ # ]\n{ k = [\n'[x]'] }, # [\n]"),
    ]
)
LINES = st.sampled_from(["", "# [c]", "  [t{}]  # [c]", "[[t{}]]", '["t{}".x]', "['[t{}]']"]) | (
    VALUES.map(lambda value: f"t{{}} = {_escaped(value)}  # = [")
    | VALUES.map(lambda value: f"'t{{}}' . \"[x]\" = {_escaped(value)}")
)


def _escaped(value: str) -> str:
    return value.replace("{", "{{").replace("}", "}}")


@given(st.lists(LINES, max_size=12))
def test_every_statement_has_its_line(lines: list[str]) -> None:
    """Each is told from the others by its number."""
    written = [line.format(number) for number, line in enumerate(lines)]
    text = "\n".join(written)
    places = Places(text)
    headers = [line for line in written if line.lstrip().startswith("[")]
    assert len(places.headers) == len(headers)
    assert tomllib.loads(text) is not None
    within: Place = ()
    for number, line in enumerate(written):
        if line.lstrip().startswith("["):
            within = places.headers[headers.index(line)].table
            place = within
        elif "=" in line:
            place = (*within, f"t{number}")
        else:
            continue
        begin = sum(len(before) + 1 for before in written[:number])
        assert places.line_of(place) == text.count("\n", 0, begin) + 1


@given(
    st.recursive(
        st.integers() | st.text(st.characters(codec="ascii", exclude_characters="\x7f")),
        lambda values: st.lists(values, max_size=4),
        max_leaves=20,
    )
)
def test_every_element_of_an_array_has_its_line(value: Any) -> None:
    """An element a line, as deep as it goes."""
    lines = [""]

    def write(value: Any, place: Place) -> None:
        if isinstance(value, list):
            lines[-1] += "["
            for number, element in enumerate(value):
                lines.append("")
                write(element, (*place, number))
                lines[-1] += ","
            lines[-1] += "]"
        else:
            expected[place] = len(lines)
            lines[-1] += _basic_string(value) if isinstance(value, str) else str(value)

    expected: dict[Place, int] = {}
    lines[-1] = "k = "
    write(value, ("k",))
    text = "\n".join(lines)
    assert tomllib.loads(text) == {"k": value}
    places = Places(text)
    assert {place: places.line_of(place) for place in expected} == expected


def _basic_string(text: str) -> str:
    return '"' + "".join(f"\\u{ord(character):04x}" for character in text) + '"'
