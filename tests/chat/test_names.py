"""Names of places, and the one form of each."""

from __future__ import annotations

import pytest

from sockserv.chat.errors import BadName
from sockserv.chat.names import MAX_NAME_CHARACTERS, Place, conversation_of, parse_place, room_key


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("lobby", "lobby"),
        ("Lobby", "lobby"),
        ("ＬＯＢＢＹ", "lobby"),  # noqa: RUF001  # wide letters are what it is about
        ("Straße", "strasse"),
        ("大厅", "大厅"),
        ("नमस्ते", "नमस्ते"),
        ("cafe\u0301", "café"),
        ("room-7_b.old", "room-7_b.old"),
        ("x" * MAX_NAME_CHARACTERS, "x" * MAX_NAME_CHARACTERS),
        ("日本語ルームabc", "日本語ルームabc"),
    ],
)
def test_a_room(written: str, key: str) -> None:
    assert room_key(written) == key
    assert room_key(key) == key
    assert parse_place(written) == Place(key)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "x" * (MAX_NAME_CHARACTERS + 1),
        "x" * 10_000,
        "ﷺ" * 60,
        "a b",
        "a\u00a0b",
        "a\nb",
        "a\x1b[31m",
        "a\u202eb",
        "a\u200bb",
        "a\u3164",
        "a\ufe0f",
        "a\u034fb",
        "a\U000e0100",
        "-a",
        "#a",
        "a/b",
        "😀",
        "l\u043ebby",
        "\u03b1bc",
        "\ud800",
    ],
)
def test_what_is_no_room(written: str) -> None:
    with pytest.raises(BadName) as raised:
        room_key(written)
    assert len(str(raised.value)) < 300
    assert str(raised.value).isprintable()


def test_a_member() -> None:
    assert parse_place("@alice") == Place("alice", is_member=True)
    assert parse_place("@Cafe\u0301") == Place("Café", is_member=True)
    assert str(parse_place("@alice")) == "@alice"


@pytest.mark.parametrize("written", ["@", "@a b", "@a\n", "@" + "x" * 257])
def test_what_is_no_member(written: str) -> None:
    with pytest.raises(BadName):
        parse_place(written)


def test_conversations() -> None:
    assert conversation_of(Place("lobby"), "alice") == "#lobby"
    bob, alice = Place("bob", is_member=True), Place("alice", is_member=True)
    assert conversation_of(bob, "alice") == conversation_of(alice, "bob") == "@alice bob"
    assert conversation_of(bob, "bob") == "@bob bob"
