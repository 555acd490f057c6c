"""What a daemon and a supervisor say to each other, as bytes."""

from __future__ import annotations

from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.execution.outcome import KillReason, Outcome, OutcomeKind
from sockserv.keeping.messages import (
    MAX_MESSAGE_BYTES,
    BadMessage,
    Decoder,
    Ended,
    EndInput,
    Input,
    InputOpened,
    InputTaken,
    Kill,
    LeaveInput,
    Message,
    OpenInput,
    Order,
    Progress,
    Resize,
    Running,
    Signal,
    Watch,
    encode,
)
from sockserv.processes.starting import Launch
from tests.keeping.kit import record

ORDER = Order(
    folder="/state/jobs/alice/build",
    record=record(),
    launch=Launch(
        arguments=(b"printf", b"\xff\n"),
        environment={b"PATH": b"/bin", b"RAW": b"\xfe"},
        directory=b"/tmp/\xe9",
        account=(1, 2, (3, 4)),
        limits=((7, 10, 20),),
        nice=5,
    ),
    pause_seconds=2.0,
)

MESSAGES: list[Message] = [
    ORDER,
    Watch(1, 2),
    OpenInput(5),
    Input(b""),
    Input(b"\0binary\xff"),
    EndInput(),
    LeaveInput(),
    Signal(15),
    Resize(80, 24),
    Kill(KillReason.CANCELLED, force=True),
    Running(7, 1, 2, 3),
    Progress(1, 2, 3),
    InputOpened(False, None),
    InputTaken(9, is_open=False),
    Ended(Outcome(kind=OutcomeKind.EXITED, code=0)),
]


def plain(message: Message) -> object:
    """With tuples for lists: how the fields of a launch come back."""
    if isinstance(message, Order):
        return encode(message)
    return message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_each_message_comes_as_it_went(message: Message) -> None:
    (received,) = Decoder().feed(encode(message))
    assert plain(received) == plain(message)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_messages_in_pieces(step: int) -> None:
    data = b"".join(map(encode, MESSAGES))
    decoder = Decoder()
    received = [
        message
        for start in range(0, len(data), step)
        for message in decoder.feed(data[start : start + step])
    ]
    assert [*map(plain, received)] == [*map(plain, MESSAGES)]


def test_messages_that_are_taken_one_by_one() -> None:
    decoder = Decoder()
    first = next(iter(decoder.feed(encode(Signal(1)) + encode(Signal(2)))))
    assert first == Signal(1)


def test_a_program_is_given_as_it_is() -> None:
    (received,) = Decoder().feed(encode(ORDER))
    assert isinstance(received, Order)
    assert [*received.launch.arguments] == [b"printf", b"\xff\n"]
    assert received.launch.environment == ORDER.launch.environment
    assert received.launch.directory == b"/tmp/\xe9"


@pytest.mark.parametrize(
    "data",
    [
        pack(">IB", MAX_MESSAGE_BYTES + 1, 1),
        pack(">IB", 3, 0) + b"\xff\xff\xff",
        pack(">IB", 1, 0) + b"{",
    ],
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(BadMessage):
        list(Decoder().feed(data))


@pytest.mark.parametrize(
    "data",
    [
        pack(">IB", 2, 2) + b"{}",
        pack(">IB", 2, 0) + b"{}",
        pack(">IB", 4, 0) + b"null",
        pack(">IB", 16, 0) + b'{"type":"dance"}',
        pack(">IB", 36, 0) + b'{"type":"signal","number":"fifteen"}',
    ],
)
def test_what_another_version_says_is_passed_over(data: bytes) -> None:
    assert [*Decoder().feed(data + encode(Signal(1)))] == [Signal(1)]


def test_what_another_version_adds_is_passed_over() -> None:
    data = b'{"type":"signal","number":15,"urgent":true}'
    assert [*Decoder().feed(pack(">IB", len(data), 0) + data)] == [Signal(15)]


@given(st.binary())
def test_any_bytes_are_messages_or_none(data: bytes) -> None:
    with suppress(BadMessage):
        list(Decoder().feed(data))
