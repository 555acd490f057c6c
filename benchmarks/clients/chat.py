"""Load for a hub, by the library: one device says things, so many others hear them.

A message is under way from when it is said to when the last of them has heard it, and so many are under way all the
time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Coroutine
from typing import Any, cast

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater, react

from benchmarks.measure import Outcome, ProcessorClock, own_memory_bytes
from sockserv.client import connect
from sockserv.client.chat import Session
from sockserv.client.chat.datagrams import Datagrams

CLOCK = cast(IReactorTime, reactor)
TEXT_BYTES = 64
ROOM = "lobby"


@attrs.frozen(kw_only=True)
class ChatPlan:
    """One run. With `idle_seconds` the listeners just sit there for so long."""

    port: int
    token: str
    server_pid: int
    listeners: int
    in_flight: int
    by_datagrams: bool
    warm_up_seconds: float = 0.5
    seconds: float = 2.0
    idle_seconds: float = 0.0


class Talk:
    """The devices, and the messages that are under way."""

    def __init__(self, plan: ChatPlan) -> None:
        self._plan = plan
        self._said_at: dict[str, list[float]] = {}
        self._last = 0
        self.deliveries = 0
        self.latencies: list[float] = []
        self.is_over = False

    async def device(self) -> Session:
        """One that has joined, and goes by the way that is measured."""
        plan = self._plan
        client = await connect(reactor, f"tcp://127.0.0.1:{plan.port}", token=plan.token)
        session = Session(datagrams=Datagrams(reactor) if plan.by_datagrams else None)
        entered = session.enter(ROOM)
        _go_on(session.run(client))
        await entered
        while session.goes_by_datagrams != plan.by_datagrams:
            await deferLater(CLOCK, 0.01)
        return session

    async def start(self) -> None:
        """Have all of them join."""
        for number in range(self._plan.listeners):
            session = await self.device()
            if not self._plan.idle_seconds:
                _go_on(self._listen(session))
            if number % 100 == 99:
                await deferLater(CLOCK, 0)

    async def _listen(self, session: Session) -> None:
        async for message in session.place(ROOM).messages():
            self.deliveries += 1
            of_message = self._said_at[message.text]
            self.latencies.append(time.perf_counter() - of_message[0])
            of_message[1] -= 1
            if not of_message[1]:
                del self._said_at[message.text]
                if not self.is_over:
                    self._say()

    async def begin(self) -> None:
        """Say the first messages."""
        self._sender = await self.device()
        for _ in range(self._plan.in_flight):
            self._say()

    def _say(self) -> None:
        self._last += 1
        text = str(self._last).ljust(TEXT_BYTES, ".")
        self._said_at[text] = [time.perf_counter(), self._plan.listeners]
        self._sender.say(ROOM, text)


async def _run(plan: ChatPlan) -> dict[str, float]:
    talk = Talk(plan)
    alone = own_memory_bytes(plan.server_pid)
    if plan.idle_seconds:
        # With whom the store of the messages is opened, which is none of the others' doing.
        await talk.device()
        await deferLater(CLOCK, 2.0)
    memory = own_memory_bytes(plan.server_pid)
    await talk.start()
    if plan.idle_seconds:
        await deferLater(CLOCK, 2.0)
        used = own_memory_bytes(plan.server_pid) - memory
        before = _datagrams()
        await deferLater(CLOCK, plan.idle_seconds)
        sent = _datagrams() - before
        return {
            "bytes_of_first": memory - alone,
            "bytes_each": used / plan.listeners,
            "datagrams_per_second_each": sent / plan.idle_seconds / plan.listeners,
        }
    await talk.begin()
    await deferLater(CLOCK, plan.warm_up_seconds)
    clock = ProcessorClock(plan.server_pid)
    before, start = talk.deliveries, time.perf_counter()
    talk.latencies.clear()
    await deferLater(CLOCK, plan.seconds)
    outcome = Outcome(
        requests=talk.deliveries - before,
        seconds=time.perf_counter() - start,
        latencies=talk.latencies,
    )
    summary = outcome.summary(clock.shares())
    talk.is_over = True
    return summary


def _datagrams() -> int:
    """How many datagrams this machine has received so far."""
    with open("/proc/net/snmp", encoding="ascii") as file:
        names, values = (line.split() for line in file if line.startswith("Udp:"))
    return int(values[names.index("InDatagrams")])


def _go_on(work: Coroutine[Any, Any, None]) -> None:
    Deferred.fromCoroutine(work).addErrback(lambda failure: failure.printTraceback())


def main() -> None:
    """Run the plan of standard input."""
    plan = ChatPlan(**json.load(sys.stdin))

    async def run() -> None:
        print(json.dumps(await _run(plan)), flush=True)

    react(lambda _: Deferred.fromCoroutine(run()))


if __name__ == "__main__":
    main()
