"""Of a member who says nothing nothing waits at the hub but what has to: thousands of them are there."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import CoroutineType

import pytest

from sockserv.chat.lines import Say
from tests.services.chat.talking import HubInMemory


@pytest.fixture
def hub() -> Iterator[HubInMemory]:
    with HubInMemory(messages_per_second=1.0, messages_at_once=2) as hub:
        yield hub


def coroutines() -> list[str]:
    """The coroutines of services that wait for something, but for the one that removes old messages for all."""
    gc.collect()
    return [
        found.__qualname__
        for found in gc.get_objects()
        if isinstance(found, CoroutineType)
        and "/sockserv/services/" in found.cr_code.co_filename
        and "trim" not in found.__qualname__
    ]


def test_no_coroutine_waits(hub: HubInMemory) -> None:
    alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
    assert coroutines() == []
    alice.say(1)
    assert bob.texts() == ["hello"]
    hub.memory.advance(1.0)
    alice.take()
    assert coroutines() == []


def test_what_waits_for_its_turn_is_done_and_gone(hub: HubInMemory) -> None:
    alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
    alice.do(*(Say(number, "lobby", str(number)) for number in range(1, 6)))
    assert coroutines() != []
    hub.memory.advance(10.0)
    assert bob.texts() == ["1", "2", "3", "4", "5"]
    assert coroutines() == []


def test_who_leaves_while_a_command_of_theirs_waits(hub: HubInMemory) -> None:
    alice, bob = hub.join("alice", "lobby"), hub.join("bob", "lobby")
    alice.do(*(Say(number, "lobby", str(number)) for number in range(1, 6)))
    hub.memory.run(alice.client.close())
    hub.memory.flush()
    assert not hub.hub.members.is_there("alice")
    hub.memory.advance(10.0)
    # What waited was not done: it will be said again, with the same numbers.
    assert len(bob.texts()) < 5
    assert coroutines() == []
