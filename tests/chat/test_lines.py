"""What is said in a session."""

from __future__ import annotations

import pytest

from sockserv.chat.facts import Message, Presence, PresenceState, Room
from sockserv.chat.lines import (
    Accepted,
    Command,
    Delivered,
    Enter,
    Entered,
    Event,
    Joined,
    Leave,
    Left,
    MessageEvent,
    PresenceEvent,
    Received,
    Refused,
    Say,
    Slowed,
    Undelivered,
    decode_command,
    decode_event,
    encode_line,
)

COMMANDS: list[Command] = [Say(1, "lobby", "two\nlines"), Received(5), Enter("大厅"), Leave("@a")]
MESSAGE = Message(id=1, to="lobby", sender="bob", device="d", number=2, text="\x1b", at=1.5)
EVENTS: list[Event] = [
    Joined("alice", next_number=1, last_id=0, rooms=(Room(name="lobby", members=("bob",)),)),
    MessageEvent(MESSAGE),
    Accepted(1, 2),
    Refused("chat.no-room", "there is none", number=3, details={"seconds": 1}),
    Delivered(1, ("bob",)),
    Undelivered(1, ("bob",), "too old"),
    PresenceEvent(Presence(name="bob", state=PresenceState.AWAY, since=1.0, text="lunch")),
    Entered("lobby", "bob"),
    Left("lobby", "bob"),
    Slowed(0.5),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: Command) -> None:
    line = encode_line(command)
    assert b"\n" not in line
    assert decode_command(line) == command


@pytest.mark.parametrize("event", EVENTS)
def test_events(event: Event) -> None:
    line = encode_line(event)
    assert b"\n" not in line
    assert decode_event(line) == event


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type":"what"}',
        b'{"type":"say","number":0,"to":"a","text":"b"}',
        b'{"type":"say","to":"a","text":"b"}',
        b'{"type":"received","id":1.5}',
        b"\xff",
        b'{"type":"leave","room":"a","more":' + b"[" * 100_000,
    ],
)
def test_what_is_no_command(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the words are msgspec's
        decode_command(line)
