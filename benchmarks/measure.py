"""Quantities: what one run yields, CPU and memory of processes, and spreads over several rounds."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence

import attrs
import psutil

MIB = 1 << 20

QUIET_CPU = 0.05
"""A machine is quiet when everything that is not measured takes no more than this of a core."""


@attrs.frozen(kw_only=True)
class Outcome:
    """One run of load.

    :ivar latencies: seconds from each send to what answered it; of a single call only if one was
        in flight.
    :ivar client_busy: the share of the time in which the client had something to do. A client near
        1.0 may be what limits. One that spins while it waits takes a whole core all the same.
    """

    requests: int
    seconds: float
    latencies: Sequence[float] = attrs.field(repr=False)
    client_busy: float = 0.0

    def summary(self, shares: Mapping[str, float]) -> dict[str, float]:
        """What the runner is told, with the shares of a `ProcessorClock`."""
        ordered = sorted(self.latencies)
        return {
            "requests_per_second": self.requests / self.seconds,
            "p50_seconds": ordered[len(ordered) // 2],
            "p99_seconds": ordered[len(ordered) * 99 // 100],
            "client_busy": self.client_busy,
            **shares,
        }


class ProcessorClock:
    """CPU time of a server, of this process and of everything else since this object was made."""

    def __init__(self, server_pid: int) -> None:
        self._server = psutil.Process(server_pid)
        self._own = psutil.Process(os.getpid())
        self._at_start = self._read()

    def seconds(self) -> float:
        """How long ago this object was made."""
        return time.perf_counter() - self._at_start[0]

    def shares(self) -> dict[str, float]:
        """Shares of one core taken so far; `others` is what disturbed the measurement."""
        elapsed, server, own, machine = (
            now - before for now, before in zip(self._read(), self._at_start, strict=True)
        )
        return {
            "server_cpu": server / elapsed,
            "client_cpu": own / elapsed,
            "other_cpu": max(0.0, machine - server - own) / elapsed,
        }

    def _read(self) -> tuple[float, float, float, float]:
        everything = psutil.cpu_times()
        machine = everything.user + everything.nice + everything.system
        # Only Linux has it: time that the host gave to other machines.
        machine += getattr(everything, "steal", 0.0)
        return time.perf_counter(), _cpu_seconds(self._server), _cpu_seconds(self._own), machine


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def own_memory_bytes(pid: int) -> int:
    """Memory of a process that no other process shares: what it alone costs the machine."""
    return int(psutil.Process(pid).memory_full_info().uss)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; cheap enough to be sampled."""
    return int(psutil.Process(pid).memory_info().rss)


@attrs.frozen
class Spread:
    """One quantity over the rounds."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, other: Spread) -> Spread:
        """The ratio to `other` round by round: neighbours in time, so that drift cancels out."""
        return Spread(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def text(self, scale: float = 1.0, digits: int = 0) -> str:
        """Median, then lowest and highest, as `244 [240..250]`."""
        low, middle, high = (
            f"{value * scale:,.{digits}f}"
            for value in (min(self.values), self.median, max(self.values))
        )
        return middle if len(self.values) == 1 else f"{middle} [{low}..{high}]"
