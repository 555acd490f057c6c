"""What a daemon and the supervisor of a kept job say to each other: one connection, messages both ways.

A message is the length of its content (32 bits, big-endian), a byte that says what that is, and the content: JSON,
or bytes for the standard input. A supervisor may be older than its daemon, or newer: what either does not know is
passed over.

The input has a window: the daemon sends no more than `INPUT_WINDOW_BYTES` ahead of what it was told that the job has
taken. So a job that does not read keeps no signal from passing.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

import msgspec

from sockserv.execution.bounds import TimeLimit
from sockserv.execution.outcome import KillReason, Outcome
from sockserv.keeping.record import Record
from sockserv.processes.starting import Launch

__all__ = [
    "INPUT_WINDOW_BYTES",
    "MAX_MESSAGE_BYTES",
    "BadMessage",
    "Decoder",
    "EndInput",
    "Ended",
    "Input",
    "InputOpened",
    "InputTaken",
    "Kill",
    "LeaveInput",
    "Message",
    "OpenInput",
    "Order",
    "Progress",
    "Resize",
    "Running",
    "Signal",
    "Watch",
    "encode",
]

INPUT_WINDOW_BYTES: Final = 256 * 1024
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""An order has a whole command line, which came in one header."""

_HEAD: Final = Struct(">IB")
_JSON: Final = 0
_INPUT: Final = 1


class BadMessage(Exception):
    """The other end has sent something that can be no message: it is broken."""


class _Said(msgspec.Struct, frozen=True, tag_field="type"):
    """A message that is written as JSON."""


class Order(_Said, frozen=True, tag="order"):
    """From the daemon, first of all, to a supervisor that it has just started: the job to start, and in which folder.

    `pause_seconds` is the time between the steps of a graded stop. Without `has_input` its standard
    input is at its end. `columns` and `rows` are the size of its terminal.
    """

    folder: str
    record: Record
    launch: Launch
    pause_seconds: float
    has_input: bool = True
    time_limit: TimeLimit | None = None
    columns: int = 0
    rows: int = 0


class Watch(_Said, frozen=True, tag="watch"):
    """From the daemon: say when the job has written more than this, once."""

    stdout_bytes: int
    stderr_bytes: int


class OpenInput(_Said, frozen=True, tag="open-input"):
    """From the daemon: somebody wants to write to the input, from this byte on. `number` comes with the answer."""

    offset: int
    number: int = 0


class EndInput(_Said, frozen=True, tag="end-input"):
    """From the daemon, after `OpenInput`: there is no more, the job is to see an end."""


class LeaveInput(_Said, frozen=True, tag="leave-input"):
    """From the daemon, after `OpenInput`: somebody else may go on writing."""


class Signal(_Said, frozen=True, tag="signal"):
    """From the daemon: a signal for all processes of the job."""

    number: int


class Resize(_Said, frozen=True, tag="resize"):
    """From the daemon: the size of the terminal."""

    columns: int
    rows: int


class Kill(_Said, frozen=True, tag="kill"):
    """From the daemon: end the job, gently at first, or at once with `force`."""

    reason: KillReason
    force: bool = False


class Running(_Said, frozen=True, tag="running"):
    """From the supervisor, first of all, unless the job could not be started: it runs."""

    pid: int
    stdin_bytes: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0


class Progress(_Said, frozen=True, tag="progress"):
    """From the supervisor, after `Watch`: how much there is now."""

    stdin_bytes: int
    stdout_bytes: int
    stderr_bytes: int


class InputOpened(_Said, frozen=True, tag="input-opened"):
    """From the supervisor, after `OpenInput` and an `InputTaken`: whether bytes may come.

    `next_offset` is the number of the next one, None if there may be no more.
    """

    is_open: bool
    next_offset: int | None
    number: int = 0


class InputTaken(_Said, frozen=True, tag="input-taken"):
    """From the supervisor: how much of the standard input the job has taken in all, and whether it may take more."""

    stdin_bytes: int
    is_open: bool = True


class Ended(_Said, frozen=True, tag="ended"):
    """From the supervisor, last of all: how the job has ended.

    The disk has it by now, as it has the output; unless it is full, then the supervisor waits until it has room.
    """

    outcome: Outcome


class Input(msgspec.Struct, frozen=True):
    """From the daemon, after `OpenInput`: the next bytes of the standard input."""

    data: bytes


_Json: TypeAlias = (
    Order
    | Watch
    | OpenInput
    | EndInput
    | LeaveInput
    | Signal
    | Resize
    | Kill
    | Running
    | Progress
    | InputOpened
    | InputTaken
    | Ended
)
Message: TypeAlias = _Json | Input

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(_Json)


def encode(message: Message) -> bytes:
    """A message as bytes."""
    if isinstance(message, Input):
        return _HEAD.pack(len(message.data), _INPUT) + message.data
    content = _encoder.encode(message)
    return _HEAD.pack(len(content), _JSON) + content


class Decoder:
    """The messages in what comes from the other end. After `BadMessage` it takes no more."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole with these bytes. Raises `BadMessage`."""
        buffer = self._buffer + data if self._buffer else data
        position = 0
        try:
            while len(buffer) - position >= _HEAD.size:
                length, kind = _HEAD.unpack_from(buffer, position)
                if length > MAX_MESSAGE_BYTES:
                    raise BadMessage(f"a message of {length} bytes")
                begin = position + _HEAD.size
                if len(buffer) < begin + length:
                    break
                position = begin + length
                message = _message(kind, buffer[begin:position])
                if message is not None:
                    yield message
        finally:
            self._buffer = buffer[position:]


def _message(kind: int, content: bytes) -> Message | None:
    """A message; None for one that is not known here. Raises `BadMessage`."""
    if kind == _INPUT:
        return Input(content)
    if kind != _JSON:
        return None
    try:
        message: _Json = _decoder.decode(content)
    except msgspec.ValidationError:
        return None
    except msgspec.MsgspecError as error:
        raise BadMessage(str(error)) from error
    return message
