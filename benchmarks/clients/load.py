"""The load generator: keeps exactly K requests in flight on each of N connections.

It is a process of its own, so that the server has a core to itself. It does as little as can be done
for a request: the bytes were encoded before, answers are counted by their length, and what was answered
in one read is topped up with one send. Every peer with a wire in `wires.py` is driven by this one code.

So that speed is never bought with wrong answers, each connection proves itself before and after the
timed part: K requests are sent and every byte of their replies is compared. In between, the replies
must amount to exactly the bytes that were due.
"""

from __future__ import annotations

import enum
import json
import select
import socket
import sys
import time
from collections.abc import Mapping, Sequence

import attrs

from benchmarks.measure import Outcome, ProcessorClock
from benchmarks.wires import (
    AMP,
    PREFIXED,
    SOCKSERV,
    SOCKSERV_CHANGE,
    SOCKSERV_LOOK,
    Wire,
    WireError,
    receive_exactly,
)

WIRES: Mapping[str, Wire] = {
    "sockserv": SOCKSERV,
    "sockserv_look": SOCKSERV_LOOK,
    "sockserv_change": SOCKSERV_CHANGE,
    "int32": PREFIXED,
    "amp": AMP,
    "asyncio_streams": PREFIXED,
}

_HIGHEST_RATE = 1_200_000
"""Requests a second that are encoded for the warm-up; for the timed part its own rate is known."""

_RECEIVE_BYTES = 262_144


class Waiting(enum.StrEnum):
    """What the generator does when nothing has come.

    A sleeping client costs 15 to 30 us to wake, in which a server with a short queue sleeps as well:
    then the measure is of the scheduler, not of the server. A spinning one takes a core for itself.
    """

    SPIN = "spin"
    SLEEP = "sleep"


@attrs.frozen(kw_only=True)
class Plan:
    """One run of load against one server.

    :ivar peer: whose wire it is.
    :ivar server_pid: the server's process, whose CPU time is read around the timed part.
    """

    peer: str
    port: int
    secrets: Mapping[str, str]
    server_pid: int
    connections: int
    in_flight: int
    warm_up_seconds: float
    seconds: float
    waiting: Waiting = attrs.field(converter=Waiting)


class Lane:
    """One connection, and where it stands in the requests that were encoded for it."""

    def __init__(self, plan: Plan, wire: Wire) -> None:
        self.socket = socket.create_connection(("127.0.0.1", plan.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.greet(self.socket, plan.secrets)
        self.in_flight = plan.in_flight
        self.sent_at = 0.0
        self._wire = wire
        self._request_bytes = len(wire.request(0))
        self._reply_bytes = len(wire.reply(0))
        self._requests = memoryview(b"")
        self._first_request = 0
        self._next_byte = 0
        self._owed_bytes = 0
        self._unanswered_bytes = 0

    def supply(self, requests: memoryview, first: int) -> None:
        """Go on with these encoded requests, of which the first has the number `first`."""
        self._requests = requests
        self._first_request = first
        self._next_byte = 0

    def send(self, count: int) -> None:
        """Send the next `count` requests. What is in flight always fits the socket's buffer."""
        start = self._next_byte
        end = start + count * self._request_bytes
        if self.socket.send(self._requests[start:end]) != end - start:
            raise WireError("the requests in flight do not fit the socket's buffer")
        self._next_byte = end
        self._owed_bytes += count * self._reply_bytes

    def receive(self, buffer: bytearray) -> int:
        """Read what has come; returns how many requests are answered by it."""
        received = self.socket.recv_into(buffer)
        if not received:
            raise WireError("the server closed the connection")
        self._owed_bytes -= received
        answered, self._unanswered_bytes = divmod(
            self._unanswered_bytes + received, self._reply_bytes
        )
        return answered

    @property
    def is_spent(self) -> bool:
        """Whether the encoded requests are used up, but for a last proof."""
        return self._next_byte + 2 * self.in_flight * self._request_bytes > len(self._requests)

    def drain(self, buffer: bytearray) -> None:
        """Read the replies still due, and not a byte more.

        :raises WireError: the replies are longer than promised.
        """
        self.socket.setblocking(True)
        while self._owed_bytes > 0:
            self.receive(buffer)
        if self._owed_bytes or self._unanswered_bytes:
            raise WireError(f"the replies are {-self._owed_bytes} bytes longer than promised")

    def prove(self) -> None:
        """Send K requests and compare every byte of the replies, in whatever order they come.

        :raises WireError: the replies differ from what is due.
        """
        self.socket.setblocking(True)
        first = self._first_request + self._next_byte // self._request_bytes
        self.send(self.in_flight)
        size = self._reply_bytes
        received = receive_exactly(self.socket, self.in_flight * size)
        self._owed_bytes -= len(received)
        due = sorted(self._wire.reply(first + index) for index in range(self.in_flight))
        got = sorted(received[at : at + size] for at in range(0, len(received), size))
        for wanted, answer in zip(due, got, strict=True):
            if wanted != answer:
                raise WireError(f"expected the reply {wanted!r}, got {answer!r}")


def drive(lanes: Sequence[Lane], seconds: float, waiting: Waiting) -> Outcome:
    """Load the connections for a time. With one request in flight each latency is that of a call."""
    poll = select.epoll()
    by_descriptor = {lane.socket.fileno(): lane for lane in lanes}
    timeout = 0 if waiting is Waiting.SPIN else None
    buffer = bytearray(_RECEIVE_BYTES)
    latencies: list[float] = []
    now = time.perf_counter
    total = 0
    waited = 0.0
    start = moment = now()
    deadline = start + seconds
    for descriptor, lane in by_descriptor.items():
        lane.socket.setblocking(False)
        poll.register(descriptor, select.EPOLLIN)
        lane.sent_at = start
        lane.send(lane.in_flight)
    spent = False
    while moment < deadline and not spent:
        waiting_since = now()
        while not (ready := poll.poll(timeout)):
            pass
        waited += now() - waiting_since
        for descriptor, _ in ready:
            lane = by_descriptor[descriptor]
            answered = lane.receive(buffer)
            if not answered:
                continue
            total += answered
            moment = now()
            latencies.append(moment - lane.sent_at)
            if lane.is_spent:
                spent = True
                break
            lane.sent_at = moment
            lane.send(answered)
    elapsed = moment - start
    poll.close()
    for lane in lanes:
        lane.drain(buffer)
    return Outcome(
        requests=total, seconds=elapsed, latencies=latencies, client_busy=1 - waited / elapsed
    )


def supply(lanes: Sequence[Lane], wire: Wire, first: int, count: int) -> None:
    """Encode requests once for all connections, `count` in total, with a margin.

    Connections have numbers of their own, so they can share the bytes; and a fair server answers
    none of them at twice its share. One that is spent ends the run early, and validly.
    """
    share = 2 if len(lanes) > 1 else 1
    each = count * share // len(lanes) + 8 * lanes[0].in_flight
    requests = memoryview(wire.requests(first, each))
    for lane in lanes:
        lane.supply(requests, first)


def run(plan: Plan) -> dict[str, float]:
    """Connect, prove, warm up, measure, prove again."""
    wire = WIRES[plan.peer]
    lanes = [Lane(plan, wire) for _ in range(plan.connections)]
    expected = int(_HIGHEST_RATE * plan.warm_up_seconds)
    supply(lanes, wire, 0, expected)
    for lane in lanes:
        lane.prove()
    warm_up = drive(lanes, plan.warm_up_seconds, plan.waiting)
    rate = warm_up.requests / warm_up.seconds
    supply(lanes, wire, 2 * expected, int(1.5 * rate * plan.seconds))
    clock = ProcessorClock(plan.server_pid)
    outcome = drive(lanes, plan.seconds, plan.waiting)
    shares = clock.shares()
    for lane in lanes:
        lane.prove()
        lane.socket.close()
    return outcome.summary(shares)


if __name__ == "__main__":
    json.dump(run(Plan(**json.load(sys.stdin))), sys.stdout)
