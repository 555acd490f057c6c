"""Datagrams that are nearly right, or right and hostile, into both ends of a session."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from sockserv.limits import DatagramLimits
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.events import (
    Event,
    MessageAcknowledged,
    MessageReceived,
    MessageUndelivered,
    OutgoingMessage,
)
from sockserv.wire.datagrams.incoming import MAX_AHEAD_MESSAGES
from sockserv.wire.datagrams.layout import Ack, ack_part, message_part
from sockserv.wire.datagrams.sealing import Sealer, SessionKeys
from sockserv.wire.datagrams.session import DatagramSession

__all__ = ["datagrams", "hostile_peer"]

KEYS: Final = SessionKeys(session_id=b"session!", client_key=b"c" * 32, server_key=b"s" * 32)
PLAIN: Final = SessionKeys(session_id=b"session!")
SERVER: Final = "server"
ADDRESSES: Final = ("client", "elsewhere", "nowhere")
NUMBERS: Final = (0, 1, 2, 3, 63, 64, 511, 512, 513, 1023, 1024, 2**16, 2**28, 2**32 - 1)


def _sessions(random: Random, keys: SessionKeys) -> dict[Role, DatagramSession]:
    limits = DatagramLimits(max_queued_messages=50, silence_timeout_seconds=20.0)
    return {
        Role.CLIENT: DatagramSession(
            Role.CLIENT, keys, now=0.0, address=SERVER, random=random, limits=limits
        ),
        Role.SERVER: DatagramSession(Role.SERVER, keys, now=0.0, random=random, limits=limits),
    }


def _spoiled(random: Random, seen: list[bytes]) -> bytes:
    """Something made of what was seen on the wire, or of nothing."""
    if not seen or random.random() < 0.1:
        return random.randbytes(random.choice([0, 1, 16, 17, 33, 60, 1200, 1201, 3000]))
    data = bytearray(random.choice(seen))
    for _ in range(random.choice([0, 1, 1, 2])):
        match random.randrange(4):
            case 0 if data:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            case 1:
                del data[random.randrange(len(data) + 1) :]
            case 2:
                data += random.randbytes(random.choice([1, 16, 1200]))
            case _:
                other = random.choice(seen)
                cut = random.randrange(len(data) + 1)
                data[cut:] = other[cut:]
    return bytes(data)


class _Watch:
    """What has gone in and out of an end, and what must hold of it."""

    def __init__(self, ends: dict[Role, DatagramSession]) -> None:
        self.ends = ends
        self.received: dict[Role, list[MessageReceived]] = {role: [] for role in Role}
        self.sent: dict[Role, list[OutgoingMessage]] = {role: [] for role in Role}
        self._outcomes: dict[Role, int] = dict.fromkeys(Role, 0)

    def note(self, role: Role, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, MessageReceived):
                self.received[role].append(event)
            elif isinstance(event, MessageAcknowledged | MessageUndelivered):
                self._outcomes[role] += 1

    def check(self) -> None:
        for role, end in self.ends.items():
            numbers: dict[int, int] = {}
            for event in self.received[role]:
                assert event.number == numbers.get(event.stream, 0) + 1
                numbers[event.stream] = event.number
            assert end._incoming.waiting_messages <= MAX_AHEAD_MESSAGES
            waiting = len(self.sent[role]) - self._outcomes[role]
            assert end.waiting_messages == waiting

    def give_up(self) -> None:
        for role, end in self.ends.items():
            self.note(role, end.close())
            assert self._outcomes[role] == len(self.sent[role])
        self.check()


def datagrams(random: Random) -> None:
    """Nobody without the keys can do anything: all messages arrive, once and in order, whatever else comes."""
    ends = _sessions(random, KEYS)
    watch = _Watch(ends)
    seen: list[bytes] = []
    now = 0.0
    for _ in range(random.choice([10, 60])):
        now += random.choice([0.0, 0.01, 0.1, 1.0])
        for role, end in ends.items():
            watch.note(role, end.handle_timeout(now))
            if random.random() < 0.5 and end.waiting_messages < 50:
                watch.sent[role].append(end.send(random.randrange(3), b"x" * 20, now))
        _exchange(watch, now, seen)
        role = random.choice(list(Role))
        forged = _spoiled(random, seen)
        before = sum(ends[role].drops.values())
        events = ends[role].receive_datagram(forged, random.choice(ADDRESSES), now)
        assert events == []
        assert sum(ends[role].drops.values()) == before + 1
        assert ends[role].data_to_send(now) == []
    for _ in range(20):
        now += 0.2
        for role, end in ends.items():
            watch.note(role, end.handle_timeout(now))
        _exchange(watch, now, seen)
    for role, other in ((Role.CLIENT, Role.SERVER), (Role.SERVER, Role.CLIENT)):
        assert len(watch.received[other]) == len(watch.sent[role])
        assert not ends[role].waiting_messages
    watch.give_up()


def _exchange(watch: _Watch, now: float, seen: list[bytes]) -> None:
    """All that is sent arrives."""
    ends = watch.ends
    while True:
        moved = False
        for role, other in ((Role.CLIENT, Role.SERVER), (Role.SERVER, Role.CLIENT)):
            for address, data in ends[role].data_to_send(now):
                assert address == (SERVER if role is Role.CLIENT else ADDRESSES[0])
                source = ADDRESSES[0] if role is Role.CLIENT else SERVER
                watch.note(other, ends[other].receive_datagram(data, source, now))
                seen.append(data)
                moved = True
        if not moved:
            return


def _hostile_content(random: Random) -> bytes:
    parts = []
    for _ in range(random.randrange(6)):
        number, other = random.choice(NUMBERS), random.choice(NUMBERS)
        match random.randrange(8):
            case 0:
                parts.append(ack_part(Ack(number, random.random() * 10, random.getrandbits(1024))))
            case 1:
                parts.append(bytes([random.choice([3, 4])]) + random.randbytes(8))
            case 2:
                parts.append(random.randbytes(random.randrange(12)))
            case 3:
                parts.append(b"\x01")
            case _:
                parts.append(message_part(random.choice([0, 1, other]), number or 1, b"y" * 30))
    return b"".join(parts)[:1160]


def hostile_peer(random: Random) -> None:
    """Whatever a peer with the keys sends: bounded memory, numbers in order, and no more than a challenge to an address
    without proof.
    """
    keys = random.choice([KEYS, PLAIN])
    role = random.choice(list(Role))
    end = _sessions(random, keys)[role]
    watch = _Watch({role: end})
    sealer = Sealer(keys, Role.SERVER if role is Role.CLIENT else Role.CLIENT)
    sizes: dict[Any, int] = {}
    now = 0.0
    for _ in range(random.choice([5, 80])):
        now += random.choice([0.0, 0.01, 0.5, 5.0])
        watch.note(role, end.handle_timeout(now))
        if end.ended_by is not None:
            break
        if random.random() < 0.3 and end.waiting_messages < 50:
            watch.sent[role].append(end.send(random.randrange(3), b"x" * 300, now))
        if random.random() < 0.1:
            sealer.counter += random.choice([1, 64, 1023, 1024, 5000])
        data = sealer.seal(_hostile_content(random))
        if random.random() < 0.1:
            data = _spoiled(random, [data])
        address = random.choice(ADDRESSES)
        sizes[address] = sizes.get(address, 0) + len(data)
        watch.note(role, end.receive_datagram(data, address, now))
        watch.note(role, end.handle_timeout(now))
        for to, answer in end.data_to_send(now):
            assert len(answer) <= 1200
            if to not in (SERVER, end.address):
                sizes[to] -= len(answer)
                assert sizes[to] >= 0, "more goes to an address than came from there"
        at = end.next_timeout()
        assert at is None or at > now, "what was dealt with comes again"
        watch.check()
    watch.give_up()
