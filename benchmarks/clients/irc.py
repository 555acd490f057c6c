"""The load of `benchmarks.clients.chat` for an IRC server: one says things in a channel, so many others hear them."""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

from benchmarks.clients.chat import TEXT_BYTES, ChatPlan
from benchmarks.measure import Outcome, ProcessorClock

_CHANNEL = b"#lobby"


class _Member:
    """Somebody in the channel."""

    def __init__(self, port: int, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self._begun = b""
        self.send(b"NICK m%d" % number)
        self.send(b"USER m%d 0 * :m" % number)
        self.wait_for(b" 001 ")
        self.send(b"JOIN " + _CHANNEL)
        self.wait_for(b" 366 ")

    def send(self, line: bytes) -> None:
        self.socket.sendall(line + b"\r\n")

    def lines(self) -> list[bytes]:
        *lines, self._begun = (self._begun + self.socket.recv(65_536)).split(b"\r\n")
        for line in lines:
            if line.startswith(b"PING "):
                self.send(b"PONG " + line[5:])
        return lines

    def wait_for(self, part: bytes) -> None:
        while not any(part in line for line in self.lines()):
            pass


def run(plan: ChatPlan) -> dict[str, float]:
    """Join, warm up, measure."""
    sender = _Member(plan.port, 0)
    selector = selectors.DefaultSelector()
    for number in range(plan.listeners):
        member = _Member(plan.port, number + 1)
        selector.register(member.socket, selectors.EVENT_READ, member)
    selector.register(sender.socket, selectors.EVENT_READ, sender)
    now = time.perf_counter
    under_way: dict[bytes, list[float]] = {}
    last = deliveries = 0
    latencies: list[float] = []
    start, clock = now(), ProcessorClock(plan.server_pid)
    is_warm = False
    while now() < start + (plan.seconds if is_warm else plan.warm_up_seconds):
        while len(under_way) < plan.in_flight:
            last += 1
            text = str(last).encode().ljust(TEXT_BYTES, b".")
            under_way[text] = [now(), plan.listeners]
            sender.send(b"PRIVMSG " + _CHANNEL + b" :" + text)
        for key, _ in selector.select(0.1):
            for line in key.data.lines():
                text = line.rpartition(b" :")[2]
                if b" PRIVMSG " not in line or text not in under_way:
                    continue
                deliveries += 1
                latencies.append(now() - under_way[text][0])
                under_way[text][1] -= 1
                if not under_way[text][1]:
                    del under_way[text]
        if not is_warm and now() >= start + plan.warm_up_seconds:
            is_warm, start, clock = True, now(), ProcessorClock(plan.server_pid)
            deliveries, latencies = 0, []
    outcome = Outcome(
        requests=deliveries, seconds=now() - start, latencies=latencies or [float("inf")]
    )
    return outcome.summary(clock.shares())


if __name__ == "__main__":
    json.dump(run(ChatPlan(**json.load(sys.stdin))), sys.stdout)
