from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.files.errors import FilesError, RefusedName, TooLong
from sockserv.files.names import MAX_NAME_BYTES, components
from sockserv.files.offers import numbered_name, offered_name, path_in_inbox


@pytest.mark.parametrize(
    "name",
    [
        "report.pdf",
        "two words.txt",
        "数据 (2).csv",
        "-rf",
        ".bashrc",
        "👨\u200d👩\u200d👧.png",
        "a" * 255,
    ],
)
def test_what_can_be_read_is_a_name(name: str) -> None:
    assert offered_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        " ",
        "\u3000",
        "a/b",
        "/etc/passwd",
        "../up",
        "a\0b",
        "a\nb",
        "a\x1b[2Jb",
        "a\x7f",
        "a\u202egnp.exe",
        "\u200d",
        "\u0301",
        " \ufe0f ",
        "\u3164",
        "a\u2800",
        "a\u2028b",
        "a\ufeff",
        "\ud800",
        ".sockserv-partial-x",
    ],
    ids=repr,
)
def test_what_cannot_be_read_is_none(name: str) -> None:
    with pytest.raises(RefusedName):
        offered_name(name)


def test_a_name_has_a_bound() -> None:
    with pytest.raises(TooLong):
        offered_name("a" * 256)
    with pytest.raises(TooLong):
        offered_name("a" * 10_000)


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("report.pdf", "report (2).pdf"),
        ("report", "report (2)"),
        (".bashrc", ".bashrc (2)"),
        ("a.tar.gz", "a.tar (2).gz"),
        ("a.", "a (2)."),
        ("a." + "x" * 33, "a." + "x" * 33 + " (2)"),
        ("a" * 255, "a" * 251 + " (2)"),
        ("数" * 85, "数" * 83 + " (2)"),
    ],
)
def test_a_number_stands_before_the_suffix(name: str, second: str) -> None:
    assert numbered_name(name, 1) == name
    assert numbered_name(name, 2) == second


@given(st.text(max_size=300), st.integers(1, 10_000))
def test_any_name_is_refused_or_can_be_numbered(name: str, number: int) -> None:
    try:
        offered_name(name)
    except FilesError:
        return
    path = path_in_inbox(numbered_name(name, number))
    assert components(path)[0] == "inbox"
    assert len(components(path)) == 2
    assert len(components(path)[1].encode()) <= MAX_NAME_BYTES
