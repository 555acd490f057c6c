"""Echo calls a second in memory, through the test kit: how many calls a test suite can afford.

In this process, by the clock of the CPU. Beside it, a pair of bare `Int32StringReceiver` joined by
`twisted.test.iosim`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from twisted.internet.defer import gatherResults
from twisted.protocols.basic import Int32StringReceiver
from twisted.test.iosim import connectedServerAndClient

from benchmarks.measure import Spread
from benchmarks.options import Options
from benchmarks.table import Grid, Report, Target
from benchmarks.wires import BODY
from benchmarks.wires import SOCKSERV as SOCKSERV_WIRE
from sockserv.services.echo import Echo
from sockserv.testing import OWNER, MemoryServer

LEAST_CALLS_PER_SECOND = 50_000

AT_ONCE = (64, 1)

Batch = Callable[[int], None]
"""Makes so many calls at once and waits for their answers."""


@contextmanager
def _sockserv() -> Iterator[Batch]:
    with MemoryServer([Echo()]) as memory:
        client = memory.connect()

        def batch(count: int) -> None:
            calls = [client.call("echo", body=BODY) for _ in range(count)]
            for reply in memory.run(gatherResults(calls)):
                if reply.body != BODY:
                    raise AssertionError(f"the echo differs: {reply.body!r}")

        yield batch


@contextmanager
def _sockserv_raw() -> Iterator[Batch]:
    with MemoryServer([Echo()]) as memory:
        raw = memory.connect_raw(OWNER)
        sent = 0

        def batch(count: int) -> None:
            nonlocal sent
            raw.send_bytes(SOCKSERV_WIRE.requests(sent, count))
            memory.flush()
            if raw.received != b"".join(map(SOCKSERV_WIRE.reply, range(sent, sent + count))):
                raise AssertionError(f"the replies differ: {raw.received!r}")
            sent += count
            raw.received = b""

        yield batch


class _Echo(Int32StringReceiver):
    def stringReceived(self, string: bytes) -> None:
        self.sendString(string)  # type: ignore[no-untyped-call]  # untyped in Twisted


class _Counter(Int32StringReceiver):
    count = 0

    def stringReceived(self, string: bytes) -> None:
        self.count += 1


@contextmanager
def _iosim() -> Iterator[Batch]:
    client, _, pump = connectedServerAndClient(_Echo, _Counter)

    def batch(count: int) -> None:
        due = client.count + count
        for _ in range(count):
            client.sendString(BODY)  # type: ignore[no-untyped-call]  # untyped in Twisted
        pump.flush()
        if client.count != due:
            raise AssertionError(f"{client.count} answers have come, and {due} are due")

    yield batch


SOCKSERV = "sockserv.testing, its client"
PAIRS: Mapping[str, Callable[[], AbstractContextManager[Batch]]] = {
    SOCKSERV: _sockserv,
    "sockserv.testing, a raw peer": _sockserv_raw,
    "iosim, Int32StringReceiver": _iosim,
}


def _calls_per_second(batch: Batch, at_once: int, seconds: float) -> float:
    batch(at_once)
    count = 0
    start = now = time.process_time()
    while now < start + seconds:
        batch(at_once)
        count += at_once
        now = time.process_time()
    return count / (now - start)


def run(options: Options) -> Report:
    """Each pair in turn, with many calls at once and one by one."""
    seconds = 0.2 if options.quick else 1.0
    results: dict[str, dict[int, list[float]]] = {
        name: {at_once: [] for at_once in AT_ONCE} for name in PAIRS
    }
    for number in range(options.rounds):
        options.say(f"memory: round {number + 1} of {options.rounds}")
        for at_once in AT_ONCE:
            for name, pair in PAIRS.items():
                with pair() as batch:
                    rate = _calls_per_second(batch, at_once, seconds)
                results[name][at_once].append(rate)
    spreads = {
        name: {at_once: Spread.of(rates) for at_once, rates in of_name.items()}
        for name, of_name in results.items()
    }
    return Report(
        name="memory",
        grids=[
            Grid(
                title="memory, echo calls/s, 64-byte bodies, one process",
                columns=["pair", *(f"{at_once} at once" for at_once in AT_ONCE)],
                rows=[
                    [name, *(spread.text() for spread in of_name.values())]
                    for name, of_name in spreads.items()
                ],
            )
        ],
        targets=[
            Target(
                what=f"echo calls/s in memory, {AT_ONCE[0]} at once",
                measured=spreads[SOCKSERV][AT_ONCE[0]],
                at_least=LEAST_CALLS_PER_SECOND,
                digits=0,
            )
        ],
        notes=(f"{options.rounds} rounds, median [lowest..highest]; a second is one of CPU time",),
        data=results,
    )
