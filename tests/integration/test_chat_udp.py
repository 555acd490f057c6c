"""Chats over real UDP: with a real daemon, and with one that is killed in the middle of a talk."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from sockserv.client import Client, connect
from sockserv.client.chat import Session, Talk
from sockserv.client.chat.datagrams import Datagrams
from tests.integration.conftest import ANY_PORT, Twistd
from tests.integration.waiting import later, until_so

CLOCK = cast(IReactorTime, reactor)

MESSAGES = 300


class Device:
    """A device of the daemon's owner in the lobby, and what it has heard."""

    def __init__(self, state: Path, name: str) -> None:
        self.state = state
        self.heard: list[str] = []
        self.session = Session(device=name, datagrams=Datagrams(reactor))
        self.running = Talk(CLOCK, self.session, self._connect).run()
        self.running.addErrback(lambda failure: failure.trap(CancelledError))
        self.room = self.session.place("lobby")
        self._reading = Deferred.fromCoroutine(self._read())

    async def enter(self) -> None:
        await self.session.enter("lobby")
        await until_so(lambda: self.session.goes_by_datagrams)

    def _connect(self) -> Deferred[Client]:
        return connect(reactor, state=self.state)

    async def _read(self) -> None:
        async for message in self.room.messages():
            self.heard.append(message.text)

    async def leave(self) -> None:
        self.running.cancel()
        await later(0.05)


@pytest.mark.parametrize(
    ("listen", "udp"),
    [
        (ANY_PORT, "udp:0"),
        (r"tcp6:0:interface=\:\:1", r"udp:0:interface=\:\:1"),
        (r"tcp6:0:interface=\:\:1", r"udp:0:interface=\:\:"),
        ("unix:chat.sock", "udp:0"),
    ],
    ids=["ipv4", "ipv6", "all-addresses", "unix"],
)
@pytest_twisted.ensureDeferred
async def test_a_talk(twistd: Callable[..., Twistd], state: Path, listen: str, udp: str) -> None:
    daemon = twistd("--listen", listen, "--chat-udp", udp, "--state", str(state))
    daemon.wait_until_listening(state)
    alice, bob = Device(state, "alice"), Device(state, "bob")
    await alice.enter()
    await bob.enter()
    said = ["short", "long " * 10_000, "short again"]
    for text in said:
        await alice.room.say(text)
    await until_so(lambda: bob.heard == said)
    await alice.leave()
    await bob.leave()
    daemon.stop()
    assert "Traceback" not in daemon.output


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_is_killed_in_the_middle(
    twistd: Callable[..., Twistd], state: Path
) -> None:
    arguments = ("--listen", ANY_PORT, "--chat-udp", "udp:0", "--state", str(state))
    daemon = twistd(*arguments)
    daemon.wait_until_listening(state)
    alice, bob = Device(state, "alice"), Device(state, "bob")
    await alice.enter()
    await bob.enter()
    said = [str(number) for number in range(MESSAGES)]
    waiting = []
    for number, text in enumerate(said):
        waiting.append(alice.room.say(text))
        if number % 100 == 50:
            await later(0.02)
            daemon.stop(signal.SIGKILL)
            daemon = twistd(*arguments)
            daemon.wait_until_listening(state)
        if number % 10 == 0:
            await later(0.001)
    ids = [(await one).id or 0 for one in waiting]
    await until_so(lambda: len(bob.heard) >= MESSAGES)
    await later(0.2)
    assert bob.heard == said
    assert ids == sorted(set(ids))
    await until_so(lambda: alice.session.goes_by_datagrams)
    await alice.leave()
    await bob.leave()
