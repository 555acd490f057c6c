"""Names that files may have: all that text can be, but nothing that a system would make something else of."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.files import FilesError, components, shown
from sockserv.files.errors import RefusedName, TooLong
from sockserv.files.names import MAX_NAME_BYTES, MAX_PATH_BYTES, RESERVED_PREFIX


@pytest.mark.parametrize("path", ["", "."])
def test_the_root(path: str) -> None:
    assert components(path) == ()


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b",
        "照片/中文 名.jpg",
        "...",
        "..a",
        " ",
        "a.",
        "a\\..\\b",
        "a\nb",
        "C:",
        "~",
        "-rf",
        "%2e%2e",
        RESERVED_PREFIX[:-1],
        "x" * MAX_NAME_BYTES,
        "中" * (MAX_NAME_BYTES // 3),
        "/".join(["x" * 127] * (MAX_PATH_BYTES // 128)) + "/",
    ],
)
def test_what_a_file_may_be_called(path: str) -> None:
    path = path.rstrip("/")
    assert "/".join(components(path)) == path


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a",
        "//a",
        "a/",
        "a//b",
        "..",
        "../a",
        "a/..",
        "a/../b",
        "./a",
        "a/.",
        "a/./b",
        "a\0b",
        "\0",
        "a/\udce9",
        f"{RESERVED_PREFIX}x",
        f"a/{RESERVED_PREFIX}/b",
        f"{RESERVED_PREFIX.upper()}x",
        f"{RESERVED_PREFIX[:5]}\u200b{RESERVED_PREFIX[5:]}x",
        "\uff0esockserv-partial-x",
        ".\u017fockserv-partial-x",
    ],
)
def test_what_no_file_may_be_called(path: str) -> None:
    with pytest.raises(RefusedName):
        components(path)


@pytest.mark.parametrize(
    "path",
    [
        "x" * (MAX_NAME_BYTES + 1),
        "中" * (MAX_NAME_BYTES // 3 + 1),
        "/".join(["x" * 100] * 41),
    ],
)
def test_what_is_too_long(path: str) -> None:
    with pytest.raises(TooLong):
        components(path)


@given(st.text())
def test_any_text_is_names_or_refused(path: str) -> None:
    try:
        names = components(path)
    except FilesError as error:
        str(error).encode()
    else:
        assert not {"", ".", ".."} & {*names}
        assert "/".join(names) == ("" if path == "." else path)


@given(st.binary(min_size=1).filter(lambda name: not {0, 0x2F} & {*name}))
def test_any_name_on_a_disk_can_be_shown(name: bytes) -> None:
    text, can_be_asked_for = shown(os.fsdecode(name))
    text.encode()
    assert can_be_asked_for == (text.encode() == name)


def test_bytes_that_are_no_text() -> None:
    assert shown(os.fsdecode(b"caf\xe9.txt")) == ("caf\N{REPLACEMENT CHARACTER}e9.txt", False)
