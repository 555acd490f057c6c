"""Whatever the network does: each message arrives once and in order, or its sender is told."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from heapq import heappop, heappush
from itertools import chain, count, repeat

from hypothesis import given
from hypothesis import strategies as st

from sockserv.limits import DatagramLimits
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.events import (
    DeliveryState,
    Event,
    MessageAcknowledged,
    MessageReceived,
    MessageUndelivered,
    OutgoingMessage,
)
from sockserv.wire.datagrams.session import DatagramSession
from tests.wire.datagrams.pair import CLIENT, SERVER, Pair


class Fate(Enum):
    ARRIVES = "arrives"
    IS_LOST = "is lost"
    IS_REPEATED = "is repeated"
    IS_LATE = "is late"
    IS_VERY_LATE = "is very late"


DELAYS = {
    Fate.ARRIVES: [0.05],
    Fate.IS_LOST: [],
    Fate.IS_REPEATED: [0.05, 0.3],
    Fate.IS_LATE: [0.2],
    Fate.IS_VERY_LATE: [5.0],
}
FATES = st.lists(st.sampled_from(Fate), max_size=150)
MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(Role),
        st.integers(0, 2),
        st.sampled_from([0.0, 0.0, 0.02, 1.0]),
        st.sampled_from([0, 10, 1156]),
    ),
    max_size=40,
)


class Network:
    """Both ends, and datagrams that do what they are told to."""

    def __init__(self, fates: Iterator[Fate]) -> None:
        self.pair = Pair(is_open=False, limits=DatagramLimits(give_up_seconds=15.0))
        self.ends: dict[Role, DatagramSession] = {
            Role.CLIENT: self.pair.client,
            Role.SERVER: self.pair.server,
        }
        self.events: dict[Role, list[Event]] = {Role.CLIENT: [], Role.SERVER: []}
        self.sent: dict[Role, list[OutgoingMessage]] = {Role.CLIENT: [], Role.SERVER: []}
        self.now = 0.0
        self._fates = fates
        self._travelling: list[tuple[float, int, Role, bytes]] = []
        self._number = count()

    def send(self, role: Role, stream: int, size: int) -> None:
        end = self.ends[role]
        if end.ended_by is None:
            self.sent[role].append(end.send(stream, bytes(size), self.now))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            self._flush()
            timeouts = (end.next_timeout() for end in self.ends.values())
            moments = [at for at in timeouts if at is not None]
            assert all(at > self.now for at in moments), "what was dealt with comes again"
            if self._travelling:
                moments.append(self._travelling[0][0])
            if not moments or min(moments) > until:
                self.now = until
                return
            self.now = max(self.now, min(moments))
            self._happen()

    def _flush(self) -> None:
        for role, end in self.ends.items():
            other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
            for _, data in end.data_to_send(self.now):
                assert len(data) <= 1200
                for delay in DELAYS[next(self._fates)]:
                    entry = (self.now + delay, next(self._number), other, data)
                    heappush(self._travelling, entry)

    def _happen(self) -> None:
        while self._travelling and self._travelling[0][0] <= self.now:
            _, _, role, data = heappop(self._travelling)
            address = CLIENT if role is Role.SERVER else SERVER
            self.events[role] += self.ends[role].receive_datagram(data, address, self.now)
        for role, end in self.ends.items():
            self.events[role] += end.handle_timeout(self.now)

    def check(self, role: Role, other: Role) -> None:
        """What this role has sent, against what the other got."""
        outcomes = [
            event
            for event in self.events[role]
            if isinstance(event, MessageAcknowledged | MessageUndelivered)
        ]
        assert sorted(id(e.message) for e in outcomes) == sorted(map(id, self.sent[role]))
        received = [e for e in self.events[other] if isinstance(e, MessageReceived)]
        numbers: dict[int, list[int]] = {}
        for event in received:
            numbers.setdefault(event.stream, []).append(event.number)
        for of_stream in numbers.values():
            assert of_stream == list(range(1, len(of_stream) + 1))
        arrived = {(event.stream, event.number) for event in received}
        for message in self.sent[role]:
            if message.state is DeliveryState.ACKNOWLEDGED:
                if self.ends[other].ended_by is None:
                    assert (message.stream, message.number) in arrived
            else:
                assert message.state is DeliveryState.UNDELIVERED
                assert message.was_sent or (message.stream, message.number) not in arrived


def driven(fates: Iterator[Fate], messages: list[tuple[Role, int, float, int]]) -> Network:
    network = Network(fates)
    for role, stream, pause, size in messages:
        network.run(pause)
        network.send(role, stream, size)
    network.run(120.0)
    network.check(Role.CLIENT, Role.SERVER)
    network.check(Role.SERVER, Role.CLIENT)
    return network


@given(FATES, MESSAGES)
def test_a_network_that_gets_better(
    fates: list[Fate], messages: list[tuple[Role, int, float, int]]
) -> None:
    driven(chain(fates, repeat(Fate.ARRIVES)), messages)


@given(st.lists(st.sampled_from(Fate), min_size=1, max_size=20), MESSAGES)
def test_a_network_that_goes_on_like_that(
    fates: list[Fate], messages: list[tuple[Role, int, float, int]]
) -> None:
    driven(chain.from_iterable(repeat(fates)), messages)


def test_a_network_that_loses_nothing_loses_nothing() -> None:
    messages = [(role, n % 3, 0.0, n) for n in range(300) for role in Role]
    network = driven(repeat(Fate.ARRIVES), messages)
    states = {message.state for sent in network.sent.values() for message in sent}
    assert states == {DeliveryState.ACKNOWLEDGED}
