"""Conversations that are nearly right, which go deeper into a connection than any noise.

What a peer may say is made up message by message, then spoiled: bytes flipped, lost, repeated, frames
swapped, headers spliced, lengths and fields set to values at a border. Everything depends on the
`random.Random` that is handed in.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import attrs

from sockserv.wire.connection import Role
from sockserv.wire.messages import MAX_INTEGER

__all__ = ["Conversation", "cut", "spoiled"]

OPS: Final = (
    "echo",
    "odd.wait",
    "odd.flood",
    "odd.answer",
    "odd.linger",
    "odd.fail",
    "nope",
    "auth.token",
)
"""What is asked for; `tests.fuzz.targets` has services for it."""

BORDERS: Final[tuple[Any, ...]] = (
    *(0, 1, 2, 3, -1, 255, 256, 4096, 65_536, 2**31, 2**32, MAX_INTEGER, MAX_INTEGER + 1, 10**30),
    *(
        0.5,
        1.0,
        1e9,
        1e-300,
        True,
        False,
        None,
        "",
        "x",
        "done",
        "internal",
        [],
        [[[]]],
        {},
        {"a": 1},
    ),
)
TYPES: Final = (
    "hello",
    "open",
    "data",
    "reply",
    "error",
    "cancel",
    "window",
    "ping",
    "pong",
    "goodbye",
)
KEYS: Final = (
    *(
        "type",
        "call",
        "op",
        "args",
        "timeout",
        "end",
        "size",
        "stream",
        "result",
        "code",
        "message",
    ),
    *("details", "bytes", "token", "version", "agent", "limits", "auth", "colour"),
)
_DEEP: Final = "as deep as a header can be"
RAW_NUMBERS: Final = ("1e400", "-0", "1E5", "NaN", "01", "9007199254740993", "1" * 400)


@attrs.define
class Frame:
    """One frame, before it is bytes: spoiling changes any part of it by itself."""

    header: dict[str, Any]
    body: bytes = b""

    def to_bytes(self, random: Random) -> bytes:
        """The frame on the wire; the header in one of the ways that JSON allows."""
        header = self.header
        if self.body and "size" not in header:
            header = header | {"size": len(self.body)}
        style = random.randrange(4)
        if style == 0:
            items = list(header.items())
            random.shuffle(items)
            header = dict(items)
        text = json.dumps(
            header, separators=(", ", ": ") if style == 1 else (",", ":"), ensure_ascii=style == 2
        ).encode("utf-8", "surrogatepass")
        text = text.replace(f'"{_DEEP}"'.encode(), b"[" * 20_000 + b"]" * 20_000)
        return struct.pack(">I", len(text)) + text + self.body


@attrs.define
class Conversation:
    """What a peer of a side in `role` may say, from its hello on.

    `window_bytes` is what it believes to be the credit of each of its bodies; `token` logs in, if one
    is needed. `opened` are the numbers of the calls that the side has opened itself.
    """

    random: Random
    role: Role
    window_bytes: int
    token: str | None = None
    opened: Sequence[int] = ()
    _next: int = attrs.field(init=False)
    # The calls that this peer has opened, and the credit of each body that it may still send.
    _numbers: list[int] = attrs.field(init=False, factory=list)
    _credit: dict[int, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._next = 1 if self.role is Role.SERVER else 2
        self._credit = dict.fromkeys(self.opened, self.window_bytes)

    def frames(self, count: int) -> list[Frame]:
        """A hello, a login where it takes one, and `count` messages."""
        random = self.random
        limits = {
            "max_header_bytes": random.choice([4096, 65_536]),
            "max_body_bytes": random.choice([1, 100, 65_536]),
            "window_bytes": random.choice([1, 1000, 100_000]),
            "max_calls": random.choice([1, 100, 100, 100, 100]),
        }
        made = [Frame({"type": "hello", "version": 1, "agent": "fuzz", "limits": limits})]
        if self.token is not None:
            login = {"type": "open", "call": self._number(), "op": "auth.token", "end": True}
            made.append(Frame(login | {"args": {"token": self.token}}))
        makers = [self._open, self._data, self._data, self._data, self._window, self._answer]
        makers += [self._cancel, self._ping]
        for _ in range(count):
            made.append(random.choice(makers)())
        if random.random() < 0.1:
            code = random.choice(["done", "shutting-down", "internal", "never heard of"])
            made.insert(random.randrange(len(made) + 1), Frame({"type": "goodbye", "code": code}))
        return made

    def _number(self) -> int:
        number = self._next
        self._next += 2 if self.random.random() < 0.9 else 2 * self.random.randrange(1, 1000)
        self._numbers.append(number)
        return number

    def _body(self, call: int) -> bytes:
        wanted = self.random.choice([0, 1, 10, 100, 5000])
        size = min(self._credit[call], wanted)
        if self.random.random() < 0.005:
            size = wanted
        self._credit[call] = max(0, self._credit[call] - size)
        return bytes(size)

    def _open(self) -> Frame:
        random = self.random
        call = self._number()
        self._credit[call] = self.window_bytes
        header: dict[str, Any] = {"type": "open", "call": call, "op": random.choice(OPS)}
        if random.random() < 0.3:
            header["args"] = random.choice(
                [{}, {"upper": True}, {"upper": 1}, None, [], {"x": [{}]}]
            )
        if random.random() < 0.2:
            header["timeout"] = random.choice([1e-9, 0.5, 1e9])
        return self._maybe_last(Frame(header, self._body(call)))

    def _data(self) -> Frame:
        if not self._credit:
            return self._open()
        call = self.random.choice(list(self._credit))
        header: dict[str, Any] = {"type": "data", "call": call}
        if self.random.random() < 0.2:
            header["stream"] = self.random.randrange(256)
        return self._maybe_last(Frame(header, self._body(call)))

    def _maybe_last(self, frame: Frame) -> Frame:
        if self.random.random() < 0.2:
            frame.header["end"] = True
            del self._credit[frame.header["call"]]
        return frame

    def _window(self) -> Frame:
        if not self._numbers:
            return self._open()
        call = self.random.choice([*self._numbers, *self.opened])
        count = self.random.choice([1, 100, 100_000, 2**48])
        return Frame({"type": "window", "call": call, "bytes": count})

    def _answer(self) -> Frame:
        random = self.random
        if not self.opened:
            return self._ping()
        call = random.choice(self.opened)
        if random.random() < 0.4:
            self._credit.pop(call, None)
            details = {"details": {"a": [1]}} if random.random() < 0.5 else {}
            code = random.choice(["internal", "x.y"])
            return Frame({"type": "error", "call": call, "code": code, **details})
        header: dict[str, Any] = {"type": "reply", "call": call}
        if random.random() < 0.5:
            header["result"] = random.choice([None, 1, {"identity": "fuzz"}])
        body = self._body(call) if call in self._credit else b""
        self._credit.pop(call, None)
        return Frame(header, body)

    def _cancel(self) -> Frame:
        if not self._numbers:
            return self._open()
        return Frame({"type": "cancel", "call": self.random.choice(self._numbers)})

    def _ping(self) -> Frame:
        kind = self.random.choice(["ping", "pong"])
        return Frame({"type": kind, "token": self.random.choice([0, 1, MAX_INTEGER])})


def spoiled(random: Random, frames: list[Frame], mistakes: int) -> bytes:
    """The frames on the wire, with so many mistakes in them."""
    in_frames = sum(random.random() < 0.6 for _ in range(mistakes))
    frames = [attrs.evolve(frame, header=dict(frame.header)) for frame in frames]
    for _ in range(in_frames):
        random.choice(_FRAME_MISTAKES)(random, frames)
    encoded = [frame.to_bytes(random) for frame in frames] or [b""]
    for _ in range(mistakes - in_frames):
        random.choice(_BYTE_MISTAKES)(random, encoded)
    return b"".join(encoded)


def cut(random: Random, stream: bytes) -> list[bytes]:
    """The stream in deliveries; now and then byte by byte."""
    if random.random() < 0.1 and len(stream) < 2000:
        return [stream[at : at + 1] for at in range(len(stream))]
    largest = random.choice([3, 50, 1460, 65_536])
    deliveries = []
    at = 0
    while at < len(stream):
        size = random.randint(1, largest)
        deliveries.append(stream[at : at + size])
        at += size
    return deliveries


# Mistakes in frames


def _lose(random: Random, frames: list[Frame]) -> None:
    if frames:
        del frames[random.randrange(len(frames))]


def _repeat(random: Random, frames: list[Frame]) -> None:
    if frames:
        frames.insert(random.randrange(len(frames) + 1), random.choice(frames))


def _swap(random: Random, frames: list[Frame]) -> None:
    if len(frames) > 1:
        a, b = random.sample(range(len(frames)), 2)
        frames[a], frames[b] = frames[b], frames[a]


def _set_field(random: Random, frames: list[Frame]) -> None:
    if frames:
        frame = random.choice(frames)
        keys = list(frame.header) if random.random() < 0.7 else KEYS
        if keys:
            frame.header[random.choice(keys)] = random.choice(BORDERS)


def _lose_field(random: Random, frames: list[Frame]) -> None:
    if frames:
        header = random.choice(frames).header
        if header:
            del header[random.choice(list(header))]


def _rename(random: Random, frames: list[Frame]) -> None:
    if frames:
        random.choice(frames).header["type"] = random.choice(TYPES)


def _merge(random: Random, frames: list[Frame]) -> None:
    if frames:
        random.choice(frames).header.update(random.choice(frames).header)


def _change_body(random: Random, frames: list[Frame]) -> None:
    if frames:
        frame = random.choice(frames)
        frame.header["size"] = len(frame.body)
        frame.body = frame.body[: random.randrange(len(frame.body) + 1)]
        frame.body += bytes(random.choice([0, 1, 4]))


def _deepen(random: Random, frames: list[Frame]) -> None:
    if frames and random.random() < 0.3:
        random.choice(frames).header[random.choice(KEYS)] = _DEEP
    elif frames:
        deep: Any = random.choice(BORDERS)
        for _ in range(random.choice([1, 30, 31, 32, 33, 300])):
            deep = [deep] if random.random() < 0.5 else {"a": deep}
        random.choice(frames).header[random.choice(KEYS)] = deep


_FRAME_MISTAKES = [_lose, _repeat, _swap, _set_field, _set_field, _lose_field, _rename, _merge]
_FRAME_MISTAKES += [_change_body, _deepen]


# Mistakes in bytes


def _somewhere(random: Random, encoded: list[bytes]) -> tuple[int, int]:
    which = random.randrange(len(encoded))
    return which, random.randrange(len(encoded[which]) + 1)


def _flip(random: Random, encoded: list[bytes]) -> None:
    which, at = _somewhere(random, encoded)
    data = bytearray(encoded[which])
    if at < len(data):
        data[at] ^= 1 << random.randrange(8)
        encoded[which] = bytes(data)


def _cut_out(random: Random, encoded: list[bytes]) -> None:
    which, at = _somewhere(random, encoded)
    data = encoded[which]
    encoded[which] = data[:at] + data[at + random.choice([1, 2, 10, 1000]) :]


def _put_in(random: Random, encoded: list[bytes]) -> None:
    which, at = _somewhere(random, encoded)
    piece = random.choice(
        [
            random.randbytes(random.choice([1, 4, 100])),
            b"{",
            b"}",
            b"[" * 50,
            b"\\",
            b'"',
            b"\\ud800",
        ]
        + [number.encode() for number in RAW_NUMBERS]
    )
    encoded[which] = encoded[which][:at] + piece + encoded[which][at:]


def _put_in_and_count(random: Random, encoded: list[bytes]) -> None:
    """The length is right again, so that it is the header that is looked at."""
    which = random.randrange(len(encoded))
    single = [encoded[which]]
    _put_in(random, single)
    if len(encoded[which]) >= 4 and len(single[0]) > len(encoded[which]):
        (length,) = struct.unpack_from(">I", encoded[which])
        longer = length + len(single[0]) - len(encoded[which])
        encoded[which] = struct.pack(">I", longer & 0xFFFFFFFF) + single[0][4:]


def _double_key(random: Random, encoded: list[bytes]) -> None:
    which = random.randrange(len(encoded))
    data = encoded[which]
    if len(data) > 6:
        (length,) = struct.unpack_from(">I", data)
        key = random.choice(KEYS)
        extra = f'"{key}":{json.dumps(random.choice(BORDERS))},'.encode()
        encoded[which] = (
            struct.pack(">I", (length + len(extra)) & 0xFFFFFFFF) + b"{" + extra + data[5:]
        )


def _set_length(random: Random, encoded: list[bytes]) -> None:
    which = random.randrange(len(encoded))
    length = random.choice([0, 1, 4095, 4096, 4097, 65_536, 65_537, 2**31, 2**32 - 1])
    encoded[which] = struct.pack(">I", length) + encoded[which][4:]


def _splice(random: Random, encoded: list[bytes]) -> None:
    (a, at), (b, then) = _somewhere(random, encoded), _somewhere(random, encoded)
    encoded[a] = encoded[a][:at] + encoded[b][then:]


def _stop(random: Random, encoded: list[bytes]) -> None:
    which, at = _somewhere(random, encoded)
    encoded[which] = encoded[which][:at]
    del encoded[which + 1 :]


_BYTE_MISTAKES = [_flip, _flip, _cut_out, _put_in, _put_in_and_count, _put_in_and_count]
_BYTE_MISTAKES += [_double_key, _set_length, _splice, _stop]
