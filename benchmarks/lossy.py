"""People who talk over a network that loses, repeats and reorders: a simulation, on a clock that only counts.

Each has a session with a hub, over a link of its own, and the hub passes on what one says to another. So each message
goes two ways, each with its own losses. Nothing here takes time but this process's own; a seed always gives the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IReactorTime

from sockserv.net.datagram import Carrier, DatagramSessions
from sockserv.testing import DatagramLink, DatagramNetwork
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.events import MessageReceived, MessageUndelivered
from sockserv.wire.datagrams.sealing import SessionKeys

HUB: Final = ("127.0.0.1", 7700)
_HEAD: Final = struct.Struct(">HId")
_TEXT: Final = bytes(50)
SETTLING_SECONDS: Final = 20.0
"""For all to join, and for what was said last to arrive."""


@attrs.frozen(kw_only=True)
class Weather:
    """What every link does, each way; `duplication` and `reordering` are shares of all datagrams, as `loss` is."""

    loss: float
    duplication: float = 0.05
    reordering: float = 0.1
    delay_seconds: float = 0.05


@attrs.frozen(kw_only=True)
class Talk:
    """How it went. `datagrams` counts what was sent on all links, `out_of_order` and `repeated` what should not be."""

    messages: int
    delivered: int
    repeated: int
    out_of_order: int
    undelivered: int
    datagrams: int
    latencies: list[float] = attrs.field(repr=False)

    @property
    def datagrams_per_message(self) -> float:
        return self.datagrams / self.messages

    def latency(self, share: float) -> float:
        """The time within which this share of all messages was there."""
        return sorted(self.latencies)[
            min(len(self.latencies) - 1, int(len(self.latencies) * share))
        ]


class Hearing:
    """What was heard of what was said, and when."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._seen: set[int] = set()
        self._last: dict[tuple[int, int], int] = {}
        self._latencies: list[float] = []
        self._repeated = self._out_of_order = self._undelivered = 0

    def hear(self, listener: int, speaker: int, number: int, said_at: float) -> None:
        """Somebody hears the message of this number."""
        self._repeated += number in self._seen
        self._seen.add(number)
        self._out_of_order += number < self._last.get((speaker, listener), -1)
        self._last[speaker, listener] = number
        self._latencies.append(self._clock.seconds() - said_at)

    def lose(self) -> None:
        """A message is given up."""
        self._undelivered += 1

    def result(self, messages: int, datagrams: int) -> Talk:
        """How it went, with so many messages said, and datagrams sent."""
        return Talk(
            messages=messages,
            delivered=len(self._seen),
            repeated=self._repeated,
            out_of_order=self._out_of_order,
            undelivered=self._undelivered,
            datagrams=datagrams,
            latencies=self._latencies,
        )


class _People:
    """The hub and those who talk by it."""

    def __init__(self, count: int, weather: Weather, seed: int) -> None:
        self.datagrams = DatagramNetwork()
        self.network = self.datagrams.network
        self.clock = self.network.clock
        self.hearing = Hearing(self.clock)
        self.links: list[DatagramLink] = []
        self.speakers: list[Carrier] = []
        self._at_hub: list[Carrier] = []
        hub = DatagramSessions(self.clock, random=Random(seed))
        self.datagrams.bind(hub, HUB)
        for number in range(count):
            self._join(hub, number, weather, seed)

    def _join(self, hub: DatagramSessions, number: int, weather: Weather, seed: int) -> None:
        link = DatagramLink(seed=seed * 1000 + number, **attrs.asdict(weather))
        own = DatagramSessions(self.clock, random=Random(seed * 1000 + number))
        self.datagrams.bind(own, link=link)
        self.links.append(link)
        keys = SessionKeys.make()
        self._at_hub.append(hub.open(Role.SERVER, keys, self._passing_on(number)))
        self.speakers.append(own.open(Role.CLIENT, keys, self._listening(number), address=HUB))

    @property
    def sent(self) -> int:
        return sum(link.to_network.sent + link.from_network.sent for link in self.links)

    def _passing_on(self, speaker: int) -> Callable[[list[Any]], None]:
        def on_events(events: list[Any]) -> None:
            for event in events:
                if isinstance(event, MessageReceived):
                    listener, _, _ = _HEAD.unpack_from(event.body)
                    self._at_hub[listener].send(speaker, event.body)
                elif isinstance(event, MessageUndelivered):
                    self.hearing.lose()

        return on_events

    def _listening(self, listener: int) -> Callable[[list[Any]], None]:
        def on_events(events: list[Any]) -> None:
            for event in events:
                if isinstance(event, MessageReceived):
                    self._hear(listener, event.stream, event.body)
                elif isinstance(event, MessageUndelivered):
                    self.hearing.lose()

        return on_events

    def _hear(self, listener: int, speaker: int, body: bytes) -> None:
        _, number, said_at = _HEAD.unpack_from(body)
        self.hearing.hear(listener, speaker, number, said_at)


def talk(
    weather: Weather, *, messages: int, people: int = 10, each_per_second: float, seed: int = 1
) -> Talk:
    """Have so many messages said, at random times, each by one to another."""
    all_of_them = _People(people, weather, seed)
    network, clock = all_of_them.network, all_of_them.clock
    network.advance(SETTLING_SECONDS)
    before = all_of_them.sent
    random = Random(seed)
    begin = clock.seconds()
    duration = messages / (each_per_second * people)
    for number, after in enumerate(sorted(random.uniform(0, duration) for _ in range(messages))):
        network.advance(begin + after - clock.seconds())
        speaker = random.randrange(people)
        listener = (speaker + random.randrange(1, people)) % people
        body = _HEAD.pack(listener, number, clock.seconds()) + _TEXT
        all_of_them.speakers[speaker].send(listener, body)
    network.advance(SETTLING_SECONDS)
    return all_of_them.hearing.result(messages, all_of_them.sent - before)
