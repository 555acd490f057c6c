"""What it costs to cut a stream into frames, against its length: it must grow in proportion.

In memory, in this process: nothing but the reader is measured. The deliveries are cut beforehand, and
the clock is that of the CPU, which stands still while others have it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import attrs
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import Int32StringReceiver

from benchmarks.measure import MIB, Spread
from benchmarks.options import Options
from benchmarks.table import Grid, Report, Target
from benchmarks.wires import sockserv_frame
from sockserv.wire.framing import FrameReader
from sockserv.wire.messages import decode_header

SMALLEST = 64 * 1024
LARGEST = 64 * MIB
DELIVERIES = (1, 1460, 64 * 1024)
HIGHEST_RATIO = 2.3

#: 64 million deliveries of one byte take long; one series goes so far with them, the others to here.
LARGEST_IN_BYTES = 4 * MIB

#: What takes longer than this is not tried at twice the size: Int32StringReceiver would need hours.
PATIENCE_SECONDS = 1.5

_ENOUGH_SECONDS = 0.02
_FEWEST_SAMPLES = 2
_SINGLE_BYTES = [bytes([value]) for value in range(256)]

Consumer = Callable[[Iterable[bytes]], int]
"""Takes deliveries; returns how many body bytes it made of them."""


@attrs.frozen(kw_only=True)
class Series:
    """One way to fill a stream with frames.

    :ivar stream: makes the stream with so many body bytes.
    :ivar consumer: makes a fresh reader of it.
    """

    name: str
    stream: Callable[[int], bytes]
    consumer: Callable[[], Consumer]
    is_promised: bool = True
    reaches_all_sizes: bool = False


def _frames(total: int, largest_body: int) -> bytes:
    body = min(total, largest_body)
    return sockserv_frame({"type": "data", "call": 1_000_001}, bytes(body)) * (total // body)


def _frame_reader() -> Consumer:
    reader = FrameReader(decode_header, max_header_bytes=64 * 1024, max_body_bytes=LARGEST)

    def consume(deliveries: Iterable[bytes]) -> int:
        count = 0
        for delivery in deliveries:
            for part in reader.feed(delivery):
                count += len(part.body)
        return count

    return consume


class _Int32Counter(Int32StringReceiver):
    MAX_LENGTH = LARGEST
    count = 0

    def stringReceived(self, string: bytes) -> None:
        self.count += len(string)


def _int32_reader() -> Consumer:
    protocol = _Int32Counter()
    protocol.makeConnection(StringTransport())  # type: ignore[no-untyped-call]  # untyped in Twisted

    def consume(deliveries: Iterable[bytes]) -> int:
        before = protocol.count
        for delivery in deliveries:
            protocol.dataReceived(delivery)  # type: ignore[no-untyped-call]  # untyped in Twisted
        return protocol.count - before

    return consume


SERIES = (
    Series(
        name="bodies of 1 MiB",
        stream=lambda total: _frames(total, MIB),
        consumer=_frame_reader,
        reaches_all_sizes=True,
    ),
    Series(name="one body", stream=lambda total: _frames(total, total), consumer=_frame_reader),
    Series(name="bodies of 64 B", stream=lambda total: _frames(total, 64), consumer=_frame_reader),
    Series(
        name="Int32StringReceiver",
        stream=lambda total: total.to_bytes(4, "big") + bytes(total),
        consumer=_int32_reader,
        is_promised=False,
    ),
)


def _cut(stream: bytes, size: int) -> Callable[[], Iterable[bytes]]:
    """What gives the stream in deliveries, as often as it is called."""
    if size == 1:
        # Cutting 64 million objects beforehand would take half a gigabyte; these exist already.
        return lambda: map(_SINGLE_BYTES.__getitem__, stream)
    deliveries = [stream[at : at + size] for at in range(0, len(stream), size)]
    return lambda: deliveries


def _seconds(series: Series, total: int, delivery: int, samples: int) -> float:
    """The shortest of some samples, each of as many streams in a row as can be timed well."""
    deliveries = _cut(series.stream(total), delivery)
    consume = series.consumer()
    times: list[float] = []
    streams = 1
    while len(times) < samples:
        start = time.process_time()
        count = sum(consume(deliveries()) for _ in range(streams))
        elapsed = time.process_time() - start
        if count != streams * total:
            raise AssertionError(f"{series.name}: {count} bytes came of {streams * total}")
        if elapsed < _ENOUGH_SECONDS:
            streams *= 2
            continue
        times.append(elapsed / streams)
        if elapsed > PATIENCE_SECONDS and len(times) >= _FEWEST_SAMPLES:
            break
    return min(times)


def _sizes(largest: int) -> list[int]:
    size = SMALLEST
    sizes = []
    while size <= largest:
        sizes.append(size)
        size *= 2
    return sizes


def _measure(series: Series, delivery: int, largest: int, options: Options) -> list[float]:
    if delivery == 1 and not series.reaches_all_sizes:
        largest = min(largest, LARGEST_IN_BYTES)
    times: list[float] = []
    for size in _sizes(largest):
        options.say(f"framing: {series.name}, {size // 1024} KiB, deliveries of {delivery}")
        times.append(_seconds(series, size, delivery, samples=options.rounds))
        if not series.is_promised and times[-1] > PATIENCE_SECONDS:
            break
    return times


def run(options: Options) -> Report:
    """Double the stream again and again, for every kind of frame and of delivery."""
    largest = 4 * MIB if options.quick else LARGEST
    grids = []
    targets = []
    data: dict[str, Any] = {}
    for delivery in DELIVERIES:
        measured = {series.name: _measure(series, delivery, largest, options) for series in SERIES}
        data[f"deliveries of {delivery}"] = measured
        grids.append(_grid(delivery, _sizes(largest), measured))
        targets += [
            Target(
                what=f"worst doubling, {series.name}, deliveries of {delivery}",
                measured=Spread.of([max(_ratios(measured[series.name]))]),
                at_most=HIGHEST_RATIO,
            )
            for series in SERIES
            if series.is_promised
        ]
    return Report(
        name="framing",
        grids=grids,
        targets=targets,
        notes=(
            f"the shortest of {options.rounds} CPU times, and what it is a multiple of at half the size",
            f"Int32StringReceiver has all bytes in one string, and is stopped when it takes longer "
            f"than {PATIENCE_SECONDS} s",
        ),
        data=data,
    )


def _ratios(times: Sequence[float]) -> list[float]:
    return [after / before for before, after in pairwise(times)]


def _grid(delivery: int, sizes: Sequence[int], measured: dict[str, list[float]]) -> Grid:
    rows = []
    for index, size in enumerate(sizes):
        row = [f"{size // 1024} KiB" if size < MIB else f"{size // MIB} MiB"]
        for times in measured.values():
            if index >= len(times):
                row.append("-")
            elif index == 0:
                row.append(f"{times[index] * 1e3:,.3f} ms       ")
            else:
                row.append(f"{times[index] * 1e3:,.3f} ms  x{_ratios(times)[index - 1]:.2f}")
        rows.append(row)
    unit = "byte" if delivery == 1 else "bytes"
    return Grid(
        title=f"framing, deliveries of {delivery} {unit}",
        columns=["stream", *measured],
        rows=rows,
    )
