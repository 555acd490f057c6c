"""The bytes themselves: a peer that sends whatever a test wants, and shows whatever it gets.

Frames are made and read here with nothing but `json` and `struct`, so that a mistake in `sockserv.wire`
cannot hide itself.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import attrs
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

__all__ = ["Frame", "RawPeer", "frame", "split_frames"]


@attrs.frozen
class Frame:
    """One frame as it stood on the wire: its header's JSON object, and its body."""

    header: Mapping[str, Any]
    body: bytes = b""

    def __getitem__(self, key: str) -> Any:
        return self.header[key]


def frame(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """A header and its body as they go over the wire; the header's `size` is set if there is a body."""
    if body:
        header = {**header, "size": len(body)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return struct.pack(">I", len(text)) + text + body


def split_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the beginning of `data`, and the rest."""
    frames = []
    while len(data) >= 4:
        (length,) = struct.unpack_from(">I", data)
        if len(data) < 4 + length:
            break
        header = json.loads(data[4 : 4 + length])
        end = 4 + length + header.get("size", 0)
        if len(data) < end:
            break
        frames.append(Frame(header, data[4 + length : end]))
        data = data[end:]
    return frames, data


class RawPeer(Protocol):
    """One end of a link, in a test's own hands.

    `received` is what has come and has not been taken; `end` is why the connection is lost, None while
    it is open.
    """

    def __init__(self) -> None:
        self.received = b""
        self.end: BaseException | None = None

    def dataReceived(self, data: bytes) -> None:
        """Keep what comes."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep why."""
        self.end = reason.value

    # Sending

    def send_bytes(self, data: bytes) -> None:
        """Write bytes, whatever they are."""
        self._tcp.write(data)

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Write a frame."""
        self._tcp.write(frame(header, body))

    def send_hello(self, **limits: int) -> None:
        """Introduce ourselves; `limits` are fields of the hello's `limits`."""
        header: dict[str, Any] = {"type": "hello", "version": 1, "agent": "raw"}
        if limits:
            header["limits"] = limits
        self.send(header)

    # Receiving

    def take_frames(self) -> list[Frame]:
        """The whole frames that have come since the last time."""
        frames, self.received = split_frames(self.received)
        return frames

    def take_bodies(self, call: int) -> bytes:
        """The bodies of the frames of one call that have come; other frames are passed over."""
        return b"".join(_bodies(self.take_frames(), call))

    def pause_reading(self) -> None:
        """Read nothing more: what is sent to us piles up at the sender."""
        cast(IPushProducer, self.transport).pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        cast(IPushProducer, self.transport).resumeProducing()

    # The end

    @property
    def is_closed(self) -> bool:
        """Whether the connection is lost."""
        return self.end is not None

    def close(self) -> None:
        """Close once all is sent."""
        self._tcp.loseConnection()

    def close_writing(self) -> None:
        """Send nothing more, and go on reading."""
        self._tcp.loseWriteConnection()

    def abort(self) -> None:
        """Reset the connection."""
        self._tcp.abortConnection()

    @property
    def _tcp(self) -> ITCPTransport:
        return cast(ITCPTransport, self.transport)


def _bodies(frames: Iterable[Frame], call: int) -> Iterator[bytes]:
    for one in frames:
        if one.header.get("call") == call:
            yield one.body
