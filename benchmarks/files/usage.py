"""What a server takes while a job is done: CPU and memory, with all processes that it starts for it."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.measure import ProcessorClock, resident_bytes

__all__ = ["Usage"]

_SAMPLE_SECONDS = 0.05
_END_SECONDS = 1.0


class Usage:
    """To be used in a `with` statement around the job; then `cpu_seconds` and `growth_bytes` are there.

    The memory is sampled 20 times a second; what a process gives back in between is not seen.
    """

    def __init__(self, server_pid: int) -> None:
        self._pid = server_pid
        self.cpu_seconds = 0.0
        self.growth_bytes = 0
        self.other_cpu = 0.0
        self._peak_bytes = 0
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Usage:
        self._clock = ProcessorClock(self._pid)
        self._children_at_start = len(_family(self._pid))
        self._cpu_at_start = _cpu_seconds(self._pid)
        self._bytes_at_start = _memory_bytes(self._pid)
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._sampler.join()
        # What a process has taken is told when it has ended and its parent has seen that.
        deadline = time.monotonic() + _END_SECONDS
        while len(_family(self._pid)) > self._children_at_start and time.monotonic() < deadline:
            time.sleep(0.01)
        self.cpu_seconds = _cpu_seconds(self._pid) - self._cpu_at_start
        self.growth_bytes = max(0, self._peak_bytes - self._bytes_at_start)

    def _sample(self) -> None:
        while True:
            self._peak_bytes = max(self._peak_bytes, _memory_bytes(self._pid))
            if self._done.wait(_SAMPLE_SECONDS):
                return


def _family(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            # Much cheaper than looking at all processes, which is done where the system does not have it.
            children = Path(f"/proc/{each}/task/{each}/children").read_text().split()
            found.extend(map(int, children))
    return found


def _cpu_seconds(pid: int) -> float:
    total = 0.0
    for each in _family(pid):
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(each).cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _memory_bytes(pid: int) -> int:
    total = 0
    for each in _family(pid):
        with contextlib.suppress(psutil.Error):
            total += resident_bytes(each)
    return total
