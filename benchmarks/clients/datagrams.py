"""Load for the two datagram echoes: keeps so many messages in flight on one socket, and counts what comes back.

For the bare echo a message is a datagram, and there is nothing else to do. For a session the client's end is sockserv's
own, driven without Twisted; it takes about as much CPU as the server's.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from benchmarks.measure import Outcome, ProcessorClock
from benchmarks.peers.datagram_sessions import COUNT_STREAM
from benchmarks.wires import BODY
from sockserv.wire.connection import Role
from sockserv.wire.datagrams.events import MessageReceived
from sockserv.wire.datagrams.sealing import SessionKeys
from sockserv.wire.datagrams.session import DatagramSession

_DRAIN_SECONDS = 1.0
"""How long what is in flight may still take; a bare echo that has lost something never brings it."""


@attrs.frozen(kw_only=True)
class DatagramPlan:
    """One run against one echo; without secrets it is the bare one."""

    port: int
    secrets: Mapping[str, str]
    server_pid: int
    in_flight: int
    warm_up_seconds: float
    seconds: float


class Lane(Protocol):
    """How messages go out and come back."""

    def send(self, count: int) -> None:
        """Send so many messages."""

    def receive(self) -> int:
        """How many have come back since the last time."""


def _socket(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("127.0.0.1", port))
    made.setblocking(False)
    return made


class BareLane:
    """A message is a datagram."""

    def __init__(self, port: int) -> None:
        self._socket = _socket(port)

    def send(self, count: int) -> None:
        for _ in range(count):
            self._socket.send(BODY)

    def receive(self) -> int:
        answered = 0
        try:
            while True:
                self._socket.recv(2048)
                answered += 1
        except BlockingIOError:
            return answered


class SessionLane:
    """A session, of whose datagrams as many are read at once as there are."""

    def __init__(self, port: int, secrets: Mapping[str, str], number: int = 0) -> None:
        self._socket = _socket(port)
        keys = SessionKeys(
            session_id=bytes.fromhex(secrets[f"id_{number}"]),
            client_key=bytes.fromhex(secrets[f"client_{number}"]),
            server_key=bytes.fromhex(secrets[f"server_{number}"]),
        )
        self._session = DatagramSession(
            Role.CLIENT, keys, now=time.monotonic(), address=("127.0.0.1", port)
        )
        self._count = b""
        while not self._session.is_open:
            self.flush()
            self.receive()

    def send(self, count: int) -> None:
        now = time.monotonic()
        for _ in range(count):
            self._session.send(0, BODY, now)
        self.flush()

    def flush(self) -> None:
        """Send what is due."""
        now = time.monotonic()
        at = self._session.next_timeout()
        if at is None:
            raise RuntimeError(f"the session has ended: {self._session.ended_by}")
        if at <= now:
            self._session.handle_timeout(now)
        for _, data in self._session.data_to_send(now):
            self._socket.send(data)

    def receive(self) -> int:
        answered = 0
        now = time.monotonic()
        received = False
        try:
            while True:
                data = self._socket.recv(2048)
                received = True
                for event in self._session.receive_datagram(data, ("127.0.0.1", 0), now):
                    if type(event) is MessageReceived:
                        answered += event.body == BODY
                        self._count = event.body
        except BlockingIOError:
            pass
        at = self._session.next_timeout()
        if (received and not answered) or at is None or at <= now:
            self.flush()
        return answered

    def dropped(self) -> int:
        """How many datagrams the server has dropped."""
        self._count = b""
        self._session.send(COUNT_STREAM, b"", time.monotonic())
        self.flush()
        while not self._count or self._count == BODY:
            self.receive()
        return int(self._count)


def drive(lane: Lane, in_flight: int, seconds: float) -> Outcome:
    """Load for a time; a latency is that from a send to the next answer."""
    now = time.perf_counter
    latencies = []
    total = 0
    busy = 0.0
    start = moment = sent_at = now()
    lane.send(in_flight)
    while moment < start + seconds:
        began = now()
        answered = lane.receive()
        if not answered:
            moment = began
            continue
        total += answered
        moment = now()
        latencies.append(moment - sent_at)
        sent_at = moment
        lane.send(answered)
        busy += now() - began
    elapsed = moment - start
    missing = in_flight
    while missing > 0 and now() < moment + _DRAIN_SECONDS:
        missing -= lane.receive()
    return Outcome(requests=total, seconds=elapsed, latencies=latencies, client_busy=busy / elapsed)


def run(plan: DatagramPlan) -> dict[str, float]:
    """Connect, warm up, measure."""
    is_session = bool(plan.secrets)
    session = SessionLane(plan.port, plan.secrets) if is_session else None
    lane: Lane = session or BareLane(plan.port)
    drive(lane, plan.in_flight, plan.warm_up_seconds)
    dropped = session.dropped() if session else 0
    clock = ProcessorClock(plan.server_pid)
    outcome = drive(lane, plan.in_flight, plan.seconds)
    shares = clock.shares()
    dropped = session.dropped() - dropped if session else 0
    return {**outcome.summary(shares), "dropped_per_second": dropped / outcome.seconds}


if __name__ == "__main__":
    given: Any = json.load(sys.stdin)
    json.dump(run(DatagramPlan(**given)), sys.stdout)
