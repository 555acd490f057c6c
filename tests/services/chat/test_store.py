"""The messages of a hub, as they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sockserv.services.chat.messages import NewMessage, StoredMessage
from sockserv.services.chat.store import ChatStore

LOBBY = "#lobby"
PAIR = "@alice bob"


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

    def test_nothing_there(self, store: ChatStore) -> None:
        assert store.trim(before=100.0, keep=0) == (0, [])


def test_rooms(store: ChatStore) -> None:
    store.add([said(1), mail(2), said(3, conversation="#other"), said(4)])
    assert store.rooms() == {LOBBY: 4, "#other": 3}
    store.trim(before=3.5, keep=100)
    assert store.rooms() == {LOBBY: 4}


def test_who_was_seen_when(store: ChatStore) -> None:
    store.mark_seen("alice", 1.0)
    store.mark_seen("alice", 2.0)
    assert store.seen() == {"alice": 2.0}
