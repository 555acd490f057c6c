"""What the guardian and the one whom it serves say to each other.

A message is the length of what follows (32 bits, native order) and a tuple in the form of `marshal`: both ends are the
same program, run by the same Python, on a pair of sockets that nobody else has, and this is the one form that costs
the guardian neither time nor an import.
"""

from __future__ import annotations

import marshal
from enum import IntEnum
from struct import Struct
from typing import Any, Final, TypeAlias

__all__ = ["Answer", "Decoder", "Message", "Request", "encode"]

Message: TypeAlias = tuple[Any, ...]
"""Its first item is what it is about."""

_LENGTH: Final = Struct("=I")


class Request(IntEnum):
    """What is asked of the guardian."""

    START = 0
    """`key, mark, count, *launch`: start a program (the fields of `Launch`) with the next `count` descriptors, one or
    three.
    """
    SIGNAL = 1
    """`key, number`: send a signal to a tree."""
    KILL_STRANGERS = 2
    """`sessions, marks`: kill what another guardian has left."""
    STOP = 3
    """Kill everything, and end."""


class Answer(IntEnum):
    """What the guardian tells."""

    STARTED = 0
    """`key, pid`: the program runs."""
    FAILED = 1
    """`key, errno, what`: it does not; see `StartError`."""
    ENDED = 2
    """`key, code, user_seconds, system_seconds, max_memory_bytes`: its first process has ended; a signal is a negative
    code.
    """
    GONE = 3
    """`key`: nothing of it is left."""


def encode(kind: Request | Answer, *fields: Any) -> bytes:
    """A message; the fields are None, numbers, texts, bytes, or tuples and dictionaries of these."""
    content = marshal.dumps((int(kind), *fields))
    return _LENGTH.pack(len(content)) + content


class Decoder:
    """Makes messages of bytes, as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def decode(self, data: bytes) -> list[Message]:
        """All messages that are complete with these bytes."""
        self._buffer += data
        messages: list[Message] = []
        start = 0
        with memoryview(self._buffer) as view:
            while len(view) - start >= _LENGTH.size:
                end = start + _LENGTH.size + _LENGTH.unpack_from(view, start)[0]
                if end > len(view):
                    break
                messages.append(marshal.loads(view[start + _LENGTH.size : end]))
                start = end
        del self._buffer[:start]
        return messages
