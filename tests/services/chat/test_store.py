"""The messages of a hub, as they are stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sockserv.services.chat.database import StoreError
from sockserv.services.chat.messages import NewMessage, StoredMessage
from sockserv.services.chat.store import ChatStore

LOBBY = "#lobby"
PAIR = "@alice bob"
ROOMS = ["#0", "#z", "#\U0010ffff", "#lobby", "#锅炉"]


@pytest.fixture
def store() -> Iterator[ChatStore]:
    store = ChatStore(None)
    yield store
    store.close()


def said(number: int, text: str = "hello", **more: Any) -> NewMessage:
    given = {"conversation": LOBBY, "sender": "alice", "device": "phone", "at": float(number)}
    return NewMessage(number=number, text=text, **{**given, **more})


def mail(number: int, text: str = "hello", **more: Any) -> NewMessage:
    return said(number, text, conversation=PAIR, members=("alice", "bob"), **more)


def ids(messages: list[StoredMessage]) -> list[int]:
    return [message.id for message in messages]


class TestOnce:
    def test_ids_count_up(self, store: ChatStore) -> None:
        assert store.add([said(1), said(2)]) == [1, 2]
        assert store.add([said(1, device="desk"), said(7, sender="bob")]) == [3, 4]
        assert store.last_id() == 4
        assert (store.last_number("alice", "phone"), store.last_number("bob", "phone")) == (2, 7)

    def test_again(self, store: ChatStore) -> None:
        store.add([said(1), said(2)])
        assert store.add([said(2, "other"), said(1), said(3), said(3)]) == [2, 1, 3, 3]
        texts = [
            message.text
            for message in store.messages(store.history(LOBBY, count=10), max_bytes=1000)
        ]
        assert texts == ["hello", "hello", "hello"]

    def test_ids_are_not_given_again(self, store: ChatStore) -> None:
        store.add([said(1), said(2)])
        store.trim(before=100.0, keep=100)
        assert store.last_id() == 0
        assert store.add([said(3)]) == [3]

    def test_again_after_it_was_removed(self, store: ChatStore) -> None:
        store.add([said(1), said(2), said(3)])
        store.trim(before=2.5, keep=100)
        assert store.add([said(2), said(3)]) == [0, 3]

    def test_nothing(self, store: ChatStore) -> None:
        assert store.add([]) == []


class TestWhatAMemberGets:
    def test_mail_and_rooms_in_order(self, store: ChatStore) -> None:
        store.add([said(1), mail(2), said(3, conversation="#other"), said(4), mail(5)])
        assert ids(store.since("bob", [LOBBY], after=0, count=10)) == [1, 2, 4, 5]
        assert ids(store.since("bob", [LOBBY], after=1, count=2)) == [2, 4]
        assert ids(store.since("alice", [], after=0, count=10)) == [2, 5]
        assert ids(store.since("carol", [LOBBY, "#other"], after=0, count=10)) == [1, 3, 4]

    def test_to_oneself(self, store: ChatStore) -> None:
        store.add([said(1, conversation="@bob bob", sender="bob", members=("bob", "bob"))])
        assert ids(store.since("bob", [], after=0, count=10)) == [1]

    def test_how_far_somebody_is(self, store: ChatStore) -> None:
        assert store.received("bob") == 0
        store.mark_received([("bob", 3), ("bob", 2), ("alice", 1)])
        assert (store.received("bob"), store.received("alice")) == (3, 1)

    def test_what_is_unread(self, store: ChatStore) -> None:
        store.add([said(1), said(2, sender="bob"), said(3), said(4)])
        assert (store.unread("bob", LOBBY), store.unread("alice", LOBBY)) == (3, 1)
        store.mark_read("bob", LOBBY, 3)
        store.mark_read("bob", LOBBY, 1)
        assert store.unread("bob", LOBBY) == 1

    def test_what_was_read_where_nothing_was_said(self, store: ChatStore) -> None:
        store.mark_read("bob", LOBBY, 3)
        store.add([said(1)])
        assert store.unread("bob", LOBBY) == 1

    def test_more_than_are_counted(self, store: ChatStore) -> None:
        store.add([said(number) for number in range(1, 1002)])
        assert store.unread("bob", LOBBY) == 1000


class TestHistory:
    def test_a_window(self, store: ChatStore) -> None:
        store.add([said(number) for number in range(1, 8)])
        assert store.history(LOBBY, count=3) == [5, 6, 7]
        assert store.history(LOBBY, count=3, before=5) == [2, 3, 4]
        assert store.history(LOBBY, count=3, after=5) == [6, 7]
        assert store.history("#nothing", count=3) == []

    def test_all_of_a_message(self, store: ChatStore) -> None:
        store.add([said(5, "text", device="d", at=1.5)])
        assert store.messages([1], max_bytes=100) == [
            StoredMessage(1, LOBBY, "alice", "d", 5, "text", 1.5)
        ]

    def test_no_more_at_once_than_is_wanted(self, store: ChatStore) -> None:
        store.add([said(number, "é" * 10) for number in range(1, 5)])
        assert ids(store.messages([1, 2, 3, 4], max_bytes=40)) == [1, 2]
        assert ids(store.messages([4], max_bytes=1)) == [4]
        store.trim(before=0.0, keep=2)
        assert ids(store.messages([1, 2, 3, 4], max_bytes=100)) == [3, 4]
        assert store.messages([1], max_bytes=100) == []


class TestSearch:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("boiler", [1, 2]),
            ("BOIL", [1, 2]),
            ("boiler room", [2]),
            ("room boiler", [2]),
            ("锅炉", [3]),
            ("炉", [3]),
            ("炉锅", []),
            ("über", [4]),
            ("it's", [5]),
            ('"', []),
            ("*", []),
            ("NOT boiler", []),
            ("boiler OR x", []),
            ("text:boiler", []),
            ("", []),
        ],
    )
    def test_words(self, store: ChatStore, text: str, found: list[int]) -> None:
        texts = ["the boiler", "boiler, in the room", "修理锅炉房", "Über-Menge", 'it\'s "so"']
        store.add([said(number, text) for number, text in enumerate(texts, 1)])
        assert store.search(text, "bob", [LOBBY], count=10) == found

    def test_only_what_one_may_see(self, store: ChatStore) -> None:
        store.add([said(1), said(2, conversation="#other"), mail(3)])
        assert store.search("hello", "bob", [LOBBY], count=10) == [1, 3]
        assert store.search("hello", "carol", [], count=10) == []
        assert store.search("hello", "bob", [LOBBY], count=1) == [3]

    def test_in_any_number_of_rooms(self, store: ChatStore) -> None:
        store.add([said(1)])
        rooms = [f"#{number}" for number in range(40_000)]  # SQLite may take 32,766
        assert store.search("hello", "bob", [*rooms, LOBBY], count=10) == [1]

    def test_what_was_removed(self, store: ChatStore) -> None:
        store.add([said(1), said(2)])
        store.trim(before=1.5, keep=100)
        assert store.search("hello", "bob", [LOBBY], count=10) == [2]


class TestIndexLate:
    """Words come into their index in bulk, or when they are searched for, or removed."""

    @pytest.mark.parametrize("count", [999, 1000, 1001, 2001])
    def test_every_border(self, store: ChatStore, count: int) -> None:
        store.add([said(1)])
        for number in range(2, count + 1):
            store.add([said(number)])
        assert store.search("hello", "bob", [LOBBY], count=3000) == list(range(1, count + 1))
        store.add([said(count + 1, "later")])
        assert store.search("later", "bob", [LOBBY], count=10) == [count + 1]

    def test_by_two_of_one_file(self, tmp_path: Path) -> None:
        writing, reading = ChatStore(tmp_path / "messages"), ChatStore(tmp_path / "messages")
        try:
            for number in range(1, 7):
                writing.add([said(number)])
                if number % 2:
                    assert len(reading.search("hello", "bob", [LOBBY], count=10)) == number
            writing.add([said(number) for number in range(7, 1100)])
            assert len(reading.search("hello", "bob", [LOBBY], count=2000)) == 1099
        finally:
            writing.close()
            reading.close()

    def test_after_a_restart(self, tmp_path: Path) -> None:
        for number in range(1, 4):
            store = ChatStore(tmp_path / "messages")
            store.add([said(2 * number - 1)])
            store.add([said(2 * number)])
            store.close()
        store = ChatStore(tmp_path / "messages")
        assert store.search("hello", "bob", [LOBBY], count=10) == [1, 2, 3, 4, 5, 6]
        store.close()

    def test_what_is_removed_before(self, store: ChatStore) -> None:
        store.add([said(1)])
        store.add([said(2), said(3)])
        store.trim(before=2.5, keep=100)
        assert store.search("hello", "bob", [LOBBY], count=10) == [3]
        store.trim(before=100.0, keep=100)
        store.add([said(4)])
        assert store.search("hello", "bob", [LOBBY], count=10) == [4]


def test_what_an_earlier_version_has_written(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "messages")) as database:
        ChatStore(tmp_path / "messages").close()
        database.executescript(
            "CREATE TABLE numbers (a); CREATE TABLE rooms (a); PRAGMA user_version = 1"
        )
    store = ChatStore(tmp_path / "messages")
    assert store.add([said(1)]) == [1]
    store.close()
    with closing(sqlite3.connect(tmp_path / "messages")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
        assert not tables & {"numbers", "rooms"}
        database.execute("PRAGMA user_version = 3")
    with pytest.raises(StoreError, match="another version of sockserv"):
        ChatStore(tmp_path / "messages")


class TestTrimming:
    def test_by_count(self, store: ChatStore) -> None:
        store.add([said(number) for number in range(1, 6)])
        assert store.trim(before=0.0, keep=2) == (3, [])
        assert store.history(LOBBY, count=10) == [4, 5]
        assert store.trim(before=0.0, keep=2) == (0, [])
        assert store.history(LOBBY, count=10) == [4, 5]

    def test_mail_that_nobody_has_had(self, store: ChatStore) -> None:
        store.add([mail(1), mail(2)])
        store.mark_received([("alice", 2), ("bob", 1)])
        removed, ((lost, members),) = store.trim(before=100.0, keep=0)
        assert removed == 2
        assert (lost.id, members) == (2, ("bob",))
        assert store.since("bob", [], after=0, count=10) == []

    def test_how_far_somebody_was_with_what_is_removed(self, store: ChatStore) -> None:
        store.add([mail(1), mail(2), said(3), mail(4)])
        store.mark_received([("alice", 1), ("bob", 2), ("guest", 3)])
        store.mark_read("alice", LOBBY, 1)
        store.mark_read("bob", LOBBY, 2)
        while store.trim(before=0.0, keep=3)[0]:
            pass
        assert (store.received("alice"), store.received("bob")) == (0, 2)
        assert ids(store.since("alice", [], after=store.received("alice"), count=10)) == [2, 4]
        assert (store.unread("carol", LOBBY), store.unread("bob", LOBBY)) == (1, 1)
        while store.trim(before=100.0, keep=0)[0]:
            pass
        assert (store.received("bob"), store.received("guest")) == (0, 0)

    def test_nothing_there(self, store: ChatStore) -> None:
        assert store.trim(before=100.0, keep=0) == (0, [])


def test_rooms(store: ChatStore) -> None:
    store.add([said(1), mail(2), said(3, conversation="#other"), said(4)])
    assert store.rooms() == {LOBBY: 4, "#other": 3}
    store.trim(before=3.5, keep=100)
    assert store.rooms() == {LOBBY: 4}
    store.trim(before=100.0, keep=100)
    assert store.rooms() == {}
    store.add([said(number, conversation=room) for number, room in enumerate(ROOMS, 5)])
    assert store.rooms() == {room: number for number, room in enumerate(ROOMS, 5)}


def test_who_was_seen_when(store: ChatStore) -> None:
    store.mark_seen("alice", 1.0)
    store.mark_seen("alice", 2.0)
    assert store.seen() == {"alice": 2.0}
