"""Anything may happen on a connection, in any order: each call has one outcome, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from sockserv.client import Client, OutgoingCall
from sockserv.errors import SockservError
from sockserv.limits import Limits
from sockserv.services import Call, Service, operation
from sockserv.services.echo import Echo
from sockserv.testing import Link, MemoryServer, RandomSizes

LIMITS = Limits(
    window_bytes=500,
    send_buffer_bytes=700,
    frame_body_bytes=200,
    max_calls=3,
    max_waiting_calls=4,
    drain_timeout_seconds=5.0,
)


class Stormy(Service):
    """Handlers that send, read, wait, fail and tidy up in their own time."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.running = 0

    @operation("storm", permission="storm")
    async def storm(self, call: Call[Any]) -> str:
        self.running += 1
        try:
            for _ in range(self._random.randint(0, 6)):
                await self._random.choice([self._send, self._read, self._wait, self._help])(call)
            if self._random.random() < 0.1:
                await Deferred()
            return "done" * self._random.randint(0, 3)
        except CancelledError:
            if self._random.random() < 0.3:
                await deferLater(call.clock, 0.5)
            raise
        finally:
            self.running -= 1

    async def _send(self, call: Call[Any]) -> None:
        await call.send(bytes(self._random.choice((0, 1, 30, 600, 3000))))

    async def _read(self, call: Call[Any]) -> None:
        await call.body.take()

    async def _wait(self, call: Call[Any]) -> None:
        await deferLater(call.clock, self._random.random())

    async def _help(self, call: Call[Any]) -> None:
        """Somebody else sends at the same time, and longer."""

        async def send() -> None:
            for _ in range(4):
                await call.send(bytes(400), stream=self._random.randint(0, 2))

        Deferred.fromCoroutine(send()).addErrback(lambda failure: failure.trap(SockservError))


class Storm:
    """What a program may do with a client, at random."""

    def __init__(self, seed: int, actions: Sequence[str]) -> None:
        self.random = Random(seed)
        self.service = Stormy(self.random)
        self.link = Link(
            fragments=RandomSizes(seed, 300),
            delay_seconds=self.random.choice((0.0, 0.0, 0.1)),
            buffer_bytes=self.random.choice((1, 300, 65_536)),
        )
        self.outcomes: list[list[Any]] = []
        self.calls: list[OutgoingCall] = []
        self.waiting: list[Deferred[Any]] = []
        self.actions = actions

    def run(self) -> None:
        limits = LIMITS if self.random.random() < 0.8 else Limits()
        with MemoryServer([Echo(), self.service], limits=LIMITS) as memory:
            connecting = memory.start_connecting(link=self.link, limits=limits)
            client = memory.run(connecting, max_seconds=5.0)
            for action in self.actions:
                getattr(self, action)(memory, client)
            self.link.resume()
            for _ in range(100):
                memory.advance(0.5)
            self._end(memory, client)

    def _end(self, memory: MemoryServer, client: Client) -> None:
        for call in self.calls:
            call.cancel()
        for waiting in self.waiting:
            waiting.cancel()
        memory.advance(5.0)
        assert self.service.running == 0
        assert [len(outcome) for outcome in self.outcomes] == [1] * len(self.outcomes)
        if self.link.is_open and not client_is_ended(client):
            memory.run(client.call("echo", body=b"x" * 5000), max_seconds=100.0)
        client.close()
        memory.advance(5.0)

    def _watch(self, deferred: Deferred[Any]) -> None:
        outcome: list[Any] = []
        self.outcomes.append(outcome)
        self.waiting.append(deferred)
        deferred.addBoth(outcome.append)

    # The actions

    def call(self, memory: MemoryServer, client: Client) -> None:
        timeout = self.random.choice((None, 0.3, 2.0))
        op = self.random.choice(("echo", "storm"))
        body = bytes(self.random.choice((0, 10, 450, 5000)))
        self._watch(client.call(op, body=body, timeout_seconds=timeout))

    def open(self, memory: MemoryServer, client: Client) -> None:
        opening = client.open(self.random.choice(("echo", "storm")), body=b"hello")
        self._watch(opening.addCallback(self.calls.append))

    def send(self, memory: MemoryServer, client: Client) -> None:
        if self.calls:
            call = self.random.choice(self.calls)
            self._watch(Deferred.fromCoroutine(call.send(bytes(self.random.choice((1, 900))))))

    def read(self, memory: MemoryServer, client: Client) -> None:
        if self.calls:
            call = self.random.choice(self.calls)
            reading = Deferred.fromCoroutine(call.body.take())
            self._watch(reading)
            memory.flush()
            reading.cancel()

    def end(self, memory: MemoryServer, client: Client) -> None:
        if self.calls:
            self.random.choice(self.calls).end()

    def ask(self, memory: MemoryServer, client: Client) -> None:
        if self.calls:
            self._watch(Deferred.fromCoroutine(self.random.choice(self.calls).result()))

    def cancel(self, memory: MemoryServer, client: Client) -> None:
        if self.calls:
            self.random.choice(self.calls).cancel()

    def give_up(self, memory: MemoryServer, client: Client) -> None:
        if self.waiting:
            self.random.choice(self.waiting).cancel()

    def ping(self, memory: MemoryServer, client: Client) -> None:
        self._watch(client.ping())

    def flush(self, memory: MemoryServer, client: Client) -> None:
        memory.flush()

    def step(self, memory: MemoryServer, client: Client) -> None:
        memory.network.step()

    def wait(self, memory: MemoryServer, client: Client) -> None:
        memory.advance(self.random.random())

    def stall(self, memory: MemoryServer, client: Client) -> None:
        self.random.choice((self.link.to_client, self.link.to_server)).stall()

    def resume(self, memory: MemoryServer, client: Client) -> None:
        self.link.resume()

    def cut(self, memory: MemoryServer, client: Client) -> None:
        if self.random.random() < 0.2:
            self.link.cut()

    def stop(self, memory: MemoryServer, client: Client) -> None:
        if self.random.random() < 0.2:
            memory.server.stop()

    def close(self, memory: MemoryServer, client: Client) -> None:
        if self.random.random() < 0.1:
            client.close()


def client_is_ended(client: Client) -> bool:
    failures: list[Any] = []
    pinging = client.ping()
    pinging.addErrback(failures.append)
    return bool(failures)


ACTIONS: Sequence[str] = (
    *("call", "open", "send", "read", "end", "ask", "cancel", "give_up", "ping"),
    *("flush", "step", "step", "step", "wait", "stall", "resume", "cut", "stop", "close"),
)


@given(st.integers(0, 2**32), st.lists(st.sampled_from(ACTIONS), max_size=60))
def test_a_storm(seed: int, actions: list[str]) -> None:
    Storm(seed, actions).run()


@pytest.mark.parametrize("seed", range(3))
def test_a_long_storm(seed: int) -> None:
    weighted: Callable[..., list[str]] = Random(seed).choices
    Storm(seed, weighted(ACTIONS, k=300)).run()
