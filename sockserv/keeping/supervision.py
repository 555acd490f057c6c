"""The life of a kept job as decisions: what is done when something happens, or time passes.

A job is over when its first process has ended. Then what is left of its tree is ended, and what it has written is
read up to its end. All that is read is kept until the spool is full; then the job is stopped, and what it still
writes is dropped, so that it can end. Time is in seconds of any clock that never goes back, and is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from signal import SIGCONT, SIGINT, SIGKILL, SIGTERM
from typing import Protocol

from sockserv.execution.bounds import TimeLimit
from sockserv.execution.grace import (
    KILLED_SECONDS,
    LAST_BYTES,
    LEFTOVER_SECONDS,
    SETTLE_SECONDS,
    SILENT_SECONDS,
)
from sockserv.execution.outcome import KillReason, Outcome, OutcomeKind
from sockserv.execution.signals import name_of_signal
from sockserv.keeping.record import Record
from sockserv.keeping.spool import SpoolFull
from sockserv.processes.table import Reaped

__all__ = ["Output", "Supervised", "Supervision"]


class Supervised(Protocol):
    """The processes of a job."""

    @property
    def stdin_bytes(self) -> int:
        """How much its standard input was given."""

    @property
    def has_input(self) -> bool:
        """Whether its standard input has not come to an end."""

    def signal(self, number: int) -> None:
        """Send a signal to all of them."""

    def end_input(self) -> None:
        """Let it see the end of its standard input."""


class Output(Protocol):
    """Where what the job writes is kept; see `Spool`."""

    @property
    def stdout_bytes(self) -> int:
        """How much is kept of the standard output."""

    @property
    def stderr_bytes(self) -> int:
        """How much is kept of the standard error."""

    def add_stdout(self, data: bytes) -> None:
        """Keep more of the standard output. Raises `SpoolFull` and `OSError`."""

    def add_stderr(self, data: bytes) -> None:
        """Keep more of the standard error; raises what `add_stdout` raises."""


class Supervision:
    """A job that was started `now`, and writes to so many `streams`. `is_over`: `outcome` can be asked for."""

    def __init__(
        self,
        record: Record,
        job: Supervised,
        output: Output,
        *,
        streams: int,
        now: float,
        pause_seconds: float,
        time_limit: TimeLimit | None = None,
    ) -> None:
        self._record = record
        self._job = job
        self._output = output
        self._begun = now
        self._pause_seconds = pause_seconds
        self._time_limit = time_limit
        self._timeout_at = None if time_limit is None else now + time_limit.seconds
        self._steps: Iterator[float] | None = None
        self._step_at: float | None = None
        self._reason: KillReason | None = None
        self._message = ""
        self._is_forced = False
        self._reaped: Reaped | None = None
        self._seconds = 0.0
        self._open_streams = streams
        self._is_dropping = False
        self._is_tree_gone = False
        self._last_bytes = 0
        self.is_over = False

    @property
    def next_step_at(self) -> float | None:
        """When `advance` has something to do, if nothing else happens."""
        return min((at for at in (self._timeout_at, self._step_at) if at is not None), default=None)

    def advance(self, now: float) -> None:
        """Do what is due by now."""
        if (
            self._time_limit is not None
            and self._timeout_at is not None
            and now >= self._timeout_at
        ):
            self._timeout_at = None
            self.stop(KillReason.TIMEOUT, now=now, message=self._time_limit.message)
        if self._step_at is not None and now >= self._step_at:
            self._go_on(now)

    def stop(
        self, reason: KillReason, *, now: float, force: bool = False, message: str = ""
    ) -> None:
        """End the job for a reason, by the graded stop or at once by force. The first reason is the one that counts."""
        if self._reaped is not None or self.is_over:
            return
        if self._reason is None:
            self._reason, self._message = reason, message
        if self._steps is not None and (self._is_forced or not force):
            return
        self._is_forced = force
        self._steps = self._kill() if force else self._graded_stop()
        self._go_on(now)

    def add_stdout(self, data: bytes, now: float) -> None:
        """The job has written to its standard output."""
        self._add(self._output.add_stdout, data, now)

    def add_stderr(self, data: bytes, now: float) -> None:
        """The job has written to its standard error."""
        self._add(self._output.add_stderr, data, now)

    def end_stream(self) -> None:
        """One of its streams has come to its end."""
        self._open_streams -= 1
        self._check()

    def note_end(self, reaped: Reaped, *, now: float) -> None:
        """Its first process has ended."""
        self._reaped = reaped
        self._seconds = now - self._begun
        self._timeout_at = None
        self._steps = self._end_leftovers()
        self._go_on(now)

    def note_gone(self, *, now: float) -> None:
        """Nothing of its tree is left."""
        self._is_tree_gone = True
        if self._reaped is not None:
            self._drain(now)

    def outcome(self) -> Outcome:
        """How it has ended."""
        assert self._reaped is not None
        record, reaped = self._record, self._reaped
        code = reaped.code if reaped.code >= 0 else None
        kind = OutcomeKind.SIGNALLED if code is None else OutcomeKind.EXITED
        return Outcome(
            kind=kind if self._reason is None else OutcomeKind.KILLED,
            code=code,
            signal=name_of_signal(-reaped.code) if code is None else None,
            reason=self._reason,
            message=self._message,
            job=record.job,
            rule=record.rule,
            stdin_bytes=self._job.stdin_bytes,
            stdout_bytes=self._output.stdout_bytes,
            stderr_bytes=self._output.stderr_bytes,
            seconds=self._seconds,
            user_seconds=reaped.usage.user_seconds,
            system_seconds=reaped.usage.system_seconds,
            max_memory_bytes=reaped.usage.max_memory_bytes,
        )

    # Output

    def _add(self, add: Callable[[bytes], None], data: bytes, now: float) -> None:
        self._last_bytes += len(data)
        if not self._is_dropping:
            try:
                add(data)
            except SpoolFull:
                limit = self._record.spool_bytes
                self._drop(
                    f"it wrote more than the {limit} bytes that are kept of it, and the rest is lost",
                    now,
                )
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                self._drop(f"what it writes cannot be kept on the disk of the server: {why}", now)
        if self._is_tree_gone and self._last_bytes > LAST_BYTES:
            self._finish()

    def _drop(self, why: str, now: float) -> None:
        self._is_dropping = True
        self.stop(KillReason.OUTPUT_LIMIT, now=now, message=why)
        if self._reason is None:
            # It has ended already, but not all that it has written is there.
            self._reason, self._message = KillReason.OUTPUT_LIMIT, why

    # Steps

    def _go_on(self, now: float) -> None:
        assert self._steps is not None
        seconds = next(self._steps, None)
        self._step_at = None if seconds is None else now + seconds

    def _graded_stop(self) -> Iterator[float]:
        """The steps; each gives the seconds to wait before the next."""
        job = self._job
        job.signal(SIGINT)
        yield self._pause_seconds
        if job.has_input:
            job.end_input()
            yield self._pause_seconds
        self._ask_to_end()
        yield self._pause_seconds
        yield from self._kill()

    def _kill(self) -> Iterator[float]:
        self._job.signal(SIGKILL)
        yield from ()

    def _end_leftovers(self) -> Iterator[float]:
        if not self._is_tree_gone:
            if not self._is_forced:
                yield SETTLE_SECONDS
                self._ask_to_end()
                yield LEFTOVER_SECONDS
            self._job.signal(SIGKILL)
            yield KILLED_SECONDS
        yield from self._wait_for_silence()

    def _ask_to_end(self) -> None:
        self._job.signal(SIGTERM)
        self._job.signal(SIGCONT)  # or a stopped one would not notice

    def _drain(self, now: float) -> None:
        if self.is_over:
            return
        self._last_bytes = 0
        self._steps = self._wait_for_silence()
        self._go_on(now)
        self._check()

    def _wait_for_silence(self) -> Iterator[float]:
        seen = -1
        while seen != self._last_bytes:
            seen = self._last_bytes
            yield SILENT_SECONDS
        self._finish()

    def _check(self) -> None:
        if self._reaped is not None and self._is_tree_gone and not self._open_streams:
            self._finish()

    def _finish(self) -> None:
        self.is_over = True
        self._step_at = None
