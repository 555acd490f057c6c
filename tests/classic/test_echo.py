"""The tutorial's echo."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sockserv.classic.echo import echo
from sockserv.services.echo import Echo
from sockserv.testing import Link
from tests.classic.talking import Talk

TEXT = "grüße, 你好, 😀"


@pytest.fixture
def talk() -> Iterator[Talk]:
    with Talk(echo, [Echo()]) as talk:
        yield talk


def test_many_messages_on_one_connection(talk: Talk) -> None:
    client = talk.connect()
    assert [talk.ask(client, message) for message in (b"hello", b"world", b"\n")] == [
        b"HELLO",
        b"WORLD",
        b"\n",
    ]
    assert not client.is_over


def test_a_character_in_pieces(talk: Talk) -> None:
    encoded = TEXT.encode()
    pieces = [encoded[index : index + 1] for index in range(len(encoded))]
    assert talk.ask(talk.connect(), *pieces).decode() == TEXT.upper()


def test_who_sends_no_more_gets_all_answers(talk: Talk) -> None:
    client = talk.connect()
    talk.say(client, b"the last word \xe4")
    talk.end(client)
    assert client.received == b"THE LAST WORD \xe4"
    assert client.is_over


def test_nobody_says_anything(talk: Talk) -> None:
    client = talk.connect()
    talk.end(client)
    assert (client.received, client.is_over) == (b"", True)


def test_who_hangs_up_leaves_nothing_behind(talk: Talk) -> None:
    client = talk.connect()
    talk.say(client, b"hello")
    talk.hang_up(client)
    assert talk.memory.server.connections == 0


def test_who_does_not_read_has_to_wait(talk: Talk) -> None:
    link = Link()
    client = talk.connect(link)
    link.to_client.stall()
    for _ in range(64):
        talk.say(client, bytes(64 * 1024))
    # What lies between the two: the windows of the call both ways, and what each transport holds.
    assert link.to_server.waiting_bytes > 1024 * 1024
    link.to_client.resume()
    talk.memory.flush()
    assert len(client.received) == 64 * 64 * 1024


def test_too_many(talk: Talk) -> None:
    with Talk(echo, [Echo()], max_connections=2) as crowded:
        first, _ = crowded.connect(), crowded.connect()
        assert crowded.factory.buildProtocol(None) is None
        crowded.hang_up(first)
        assert crowded.ask(crowded.connect(), b"me") == b"ME"
