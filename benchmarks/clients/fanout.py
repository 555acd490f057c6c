"""The load of `benchmarks.clients.chat` for a bare fan-out of datagrams; what is lost is given up after a while."""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time

from benchmarks.clients.chat import TEXT_BYTES, ChatPlan
from benchmarks.measure import Outcome, ProcessorClock

_PATIENCE_SECONDS = 0.05


def _socket(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("127.0.0.1", port))
    made.setblocking(False)
    return made


def run(plan: ChatPlan) -> dict[str, float]:
    """Be known, warm up, measure."""
    sender = _socket(plan.port)
    selector = selectors.DefaultSelector()
    for _ in range(plan.listeners):
        listener = _socket(plan.port)
        listener.send(b"here")
        selector.register(listener, selectors.EVENT_READ)
    time.sleep(0.2)
    now = time.perf_counter
    start, clock = now(), ProcessorClock(plan.server_pid)
    under_way = deliveries = 0
    is_warm = False
    heard_at = sent_at = now()
    latencies: list[float] = []
    while now() < start + (plan.seconds if is_warm else plan.warm_up_seconds):
        if under_way <= 0 or now() > heard_at + _PATIENCE_SECONDS:
            under_way, heard_at = plan.in_flight * plan.listeners, now()
            sent_at = now()
            for _ in range(plan.in_flight):
                sender.send(b"x" * TEXT_BYTES)
        for key, _ in selector.select(_PATIENCE_SECONDS):
            try:
                while True:
                    if len(key.fileobj.recv(2048)) == TEXT_BYTES:  # type: ignore[union-attr]  # a socket
                        deliveries, under_way = deliveries + 1, under_way - 1
            except BlockingIOError:
                heard_at = now()
                latencies.append(heard_at - sent_at)
        if not is_warm and now() >= start + plan.warm_up_seconds:
            is_warm, start, clock = True, now(), ProcessorClock(plan.server_pid)
            deliveries, latencies = 0, []
    outcome = Outcome(requests=deliveries, seconds=now() - start, latencies=latencies or [0.0])
    return outcome.summary(clock.shares())


if __name__ == "__main__":
    json.dump(run(ChatPlan(**json.load(sys.stdin))), sys.stdout)
