"""A command for each job: the plan's `prefix` before it is `ssh` to somewhere, or nothing, for a local one.

A local output goes through `cat`, as it would in a pipe: whatever carries it has to copy it once more.
"""

from __future__ import annotations

import os
import subprocess
from threading import Thread
from typing import IO, Any

from benchmarks.clients.execution.driving import CAT, PIECE_BYTES, do_jobs_blocking
from benchmarks.clients.files.jobs import read_plan


class Commands:
    """See `benchmarks.clients.execution.driving.Blocking`."""

    def __init__(self, prefix: list[str]) -> None:
        self._prefix = prefix

    def run(self, argv: list[str]) -> None:
        """Run a command to its end."""
        subprocess.run(
            [*self._prefix, *argv], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )

    def drain(self, argv: list[str]) -> int:
        """Read all that a command writes."""
        if self._prefix:
            with self._start(argv, stdin=subprocess.DEVNULL) as process:
                return _count(process.stdout)
        with (
            self._start(argv, stdin=subprocess.DEVNULL) as process,
            subprocess.Popen(CAT, stdin=process.stdout, stdout=subprocess.PIPE) as cat,
        ):
            assert process.stdout is not None
            process.stdout.close()
            return _count(cat.stdout)

    def echo(self, data: bytes) -> int:
        """Give this to `cat`, and read what comes back."""
        with self._start(CAT, stdin=subprocess.PIPE) as process:
            writer = Thread(target=_write, args=(process.stdin, data))
            writer.start()
            count = _count(process.stdout)
            writer.join()
        return count

    def _start(self, argv: list[str], *, stdin: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._prefix, *argv], stdin=stdin, stdout=subprocess.PIPE, bufsize=0
        )


def _write(stdin: IO[bytes] | None, data: bytes) -> None:
    assert stdin is not None
    left = memoryview(data)
    while left:
        left = left[os.write(stdin.fileno(), left[:PIECE_BYTES]) :]
    stdin.close()


def _count(stdout: IO[bytes] | None) -> int:
    assert stdout is not None
    total = 0
    while data := os.read(stdout.fileno(), PIECE_BYTES):
        total += len(data)
    return total


if __name__ == "__main__":
    do_jobs_blocking(Commands(read_plan()["prefix"]))
