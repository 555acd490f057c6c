"""People who talk by a real hub over a network that loses, repeats and reorders, on a clock that only counts.

The server, its hub with a store in memory, and the clients' library are the real ones. Each has a connection, which
brings all of it and takes as long as a datagram does, and a link for datagrams of its own. Nothing here takes time but
this process's own; a seed always gives the same.
"""

from __future__ import annotations

from random import Random

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort

from benchmarks.lossy import SETTLING_SECONDS, Hearing, Talk, Weather
from sockserv.chat.facts import DatagramSession
from sockserv.chat.lines import MessageEvent
from sockserv.chat.ways import DatagramWay, TwoWays
from sockserv.client import Client
from sockserv.client.chat import Session
from sockserv.client.chat import Talk as Talking
from sockserv.client.chat.datagrams import Datagrams
from sockserv.limits import ChatLimits, Limits
from sockserv.net.datagram import DatagramSessions
from sockserv.server.chat_datagrams import ChatDatagrams
from sockserv.services.chat import Chat
from sockserv.testing import DatagramLink, DatagramNetwork, Link, MemoryNetwork, MemoryServer
from sockserv.testing.datagrams import SERVER_ADDRESS
from sockserv.trust import Identity

_TEXT_BYTES = 64
_MANY = 1_000_000


class _Hub:
    """A server with a chat, and a UDP port, on a network in memory."""

    def __init__(self, seed: int) -> None:
        self.network = network = MemoryNetwork()
        self.udp = DatagramNetwork(network)
        sessions = DatagramSessions(network.clock, random=Random(seed))
        self.udp.bind(sessions, SERVER_ADDRESS)
        self._datagrams = ChatDatagrams(sessions, lambda: SERVER_ADDRESS[1])
        self.chat = Chat(
            network.clock,
            None,
            in_thread=network.in_thread,
            limits=ChatLimits(messages_per_second=_MANY, messages_at_once=_MANY),
            wall=network.clock.seconds,
            datagrams=self,
        )
        self.memory = MemoryServer(
            [self.chat], limits=Limits(keepalive_interval_seconds=3600), network=network
        )

    def open(self, listener: TwoWays) -> tuple[DatagramWay, DatagramSession]:
        return self._datagrams.open(listener)


class _Person:
    """Somebody with a device."""

    def __init__(
        self, hub: _Hub, number: int, weather: Weather, hearing: Hearing, seed: int
    ) -> None:
        self._hub = hub
        self._number = number
        self._hearing = hearing
        self._delay_seconds = weather.delay_seconds
        self._identity = Identity(f"person{number}", frozenset({"chat"}), chat=("*",))
        self.link = DatagramLink(seed=seed * 1000 + number, **attrs.asdict(weather))
        self.connections: list[Link] = []
        self.session = Session(
            device="phone", datagrams=Datagrams(hub.network.clock, listen=self._listen)
        )
        talking = Talking(hub.network.clock, self.session, self._connect, jitter=lambda: 1.0)
        self.running = talking.run()
        self.running.addErrback(lambda failure: failure.trap(CancelledError))
        self._listening = Deferred.fromCoroutine(self._hear())

    def _listen(self, sessions: DatagramSessions, interface: str) -> IListeningPort:
        return self._hub.udp.bind(sessions, link=self.link)

    def _connect(self) -> Deferred[Client]:
        self.connections.append(Link(delay_seconds=self._delay_seconds))
        return self._hub.memory.start_connecting(self._identity, link=self.connections[-1])

    async def _hear(self) -> None:
        async for event in self.session.watch():
            if isinstance(event, MessageEvent) and event.message.sender != self._identity.name:
                number, said_at = event.message.text.split()[:2]
                speaker = int(event.message.sender.removeprefix("person"))
                self._hearing.hear(self._number, speaker, int(number), float(said_at))

    def say(self, listener: int, number: int) -> None:
        text = f"{number} {self._hub.network.clock.seconds()!r} ".ljust(_TEXT_BYTES, "x")
        self.session.say(f"@person{listener}", text).addErrback(lambda _: self._hearing.lose())

    @property
    def bytes_of_connections(self) -> int:
        return sum(
            link.to_server.delivered_bytes + link.to_client.delivered_bytes
            for link in self.connections
        )


def talk(
    weather: Weather, *, messages: int, people: int = 10, each_per_second: float, seed: int = 1
) -> Talk:
    """Have so many messages said, at random times, each by one to another."""
    hub = _Hub(seed)
    network, clock = hub.network, hub.network.clock
    hearing = Hearing(clock)
    with hub.memory:
        persons = [_Person(hub, number, weather, hearing, seed) for number in range(people)]
        network.advance(SETTLING_SECONDS)
        before = _sent(persons)
        random = Random(seed)
        begin = clock.seconds()
        times = sorted(
            random.uniform(0, messages / (each_per_second * people)) for _ in range(messages)
        )
        for number, after in enumerate(times):
            network.advance(begin + after - clock.seconds())
            speaker = random.randrange(people)
            persons[speaker].say((speaker + random.randrange(1, people)) % people, number)
        network.advance(SETTLING_SECONDS)
        result = hearing.result(messages, _sent(persons) - before)
        for person in persons:
            person.running.cancel()
        network.advance(1.0)
        network.run(hub.chat.stop())
    return result


def _sent(persons: list[_Person]) -> int:
    return sum(person.link.to_network.sent + person.link.from_network.sent for person in persons)
