"""The log as the reactor sees it: records go into a queue, batches of them to the writer in its thread.

One batch is on its way at a time, and what comes meanwhile makes up the next one: so one wait for the disk serves all
calls that wait for it, and the order of the records is that in which they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockserv.errors import AuditUnavailable
from sockserv.trust.audit.record import Event, Record
from sockserv.trust.audit.writer import AuditWriter

__all__ = ["AuditLog", "OnFailure"]

_STUCK: Final = "the disk has not answered in time"
_FULL: Final = "too many records wait for the disk"


class OnFailure(StrEnum):
    """What becomes of an operation that has to be written down and cannot be."""

    REFUSE = "refuse"
    CONTINUE = "continue"


@attrs.define(eq=False)
class _Waiting:
    """A record on its way, and who waits until it is on the disk."""

    record: Record
    done: Deferred[None] | None

    def finish(self, error: AuditUnavailable | None) -> None:
        done, self.done = self.done, None
        # Whoever waited may have gone away.
        if done is None or done.called:
            return
        if error is None:
            done.callback(None)
        else:
            done.errback(error)


class AuditLog:
    """An `AuditSink` that keeps a log on the disk.

    `in_thread` calls a function in a thread, always in the same one or at least never two at a time. At most
    `max_waiting_records` wait to be written, some kilobytes each, half of them records that nobody waits for; nobody
    waits longer than `timeout_seconds`.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        writer: AuditWriter,
        *,
        in_thread: Callable[..., Deferred[Any]],
        on_failure: OnFailure = OnFailure.REFUSE,
        max_waiting_records: int = 16_384,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._clock = clock
        self._writer = writer
        self._in_thread = in_thread
        self._on_failure = on_failure
        self._max_waiting_records = max_waiting_records
        self._timeout_seconds = timeout_seconds
        self._queue: deque[_Waiting] = deque()
        self._batch: list[_Waiting] = []
        # What the next batch begins with, until one of them is on the disk.
        self._start: Record | None = None
        self._lost = 0
        self._lost_since = ""
        self._trouble: str | None = None
        self._next: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._closing: Deferred[None] | None = None
        self._is_closed = False
        # Whether somebody was refused for that since the queue was last short.
        self._is_full = False

    def open(self) -> None:
        """Open the files, and write that the log goes on from here. Blocks; raises `StateError`."""
        found = self._writer.open()
        self._start = Record(event=Event.START, time=self._now(), facts=found)
        self._go_on()

    def record(self, record: Record) -> None:
        """Write a record when there is time; see `AuditSink`."""
        if self._is_closed:
            return  # a call that outlives its server, as one that waits for a thread
        # Half of the places are for those who wait: what costs its caller nothing must not take them all.
        if len(self._queue) < self._max_waiting_records // 2:
            self._enqueue(record, None)
        else:
            self._lose(1)

    def write(self, record: Record) -> Deferred[None]:
        """Write a record; fires when it is sure to be on the disk, see `AuditSink`."""
        why = self._why_not()
        if why is not None:
            self._lose(1)
            if why == _FULL and not self._is_full:
                self._is_full = True
                self._complain(why)
            return self._refusal(why)
        done: Deferred[None] = Deferred()
        self._enqueue(record, done)
        return done

    def close(self) -> Deferred[None]:
        """Write what waits, and that the log ends here in peace; then close the files.

        Fires when that is done, or cannot be.
        """
        self.record(Record(event=Event.STOP))
        self._is_closed = True
        closing: Deferred[None] = Deferred()
        self._closing = closing
        if not self._batch:
            self._begin_batch()
        return closing

    def abandon(self) -> None:
        """Close the files at once, if nothing is on its way to them: nobody has used the log."""
        if not self._batch:
            self._stop_waiting()
            self._writer.close()

    def _why_not(self) -> str | None:
        if self._is_closed:
            return "it is closed"
        if len(self._queue) >= self._max_waiting_records:
            return _FULL
        return _STUCK if self._trouble == _STUCK else None

    def _refusal(self, why: str) -> Deferred[None]:
        return succeed(None) if self._on_failure is OnFailure.CONTINUE else fail(_unavailable(why))

    def _now(self) -> str:
        moment = datetime.fromtimestamp(self._clock.seconds(), UTC)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    # Batches

    def _enqueue(self, record: Record, done: Deferred[None] | None) -> None:
        placed = msgspec.structs.replace(record, time=self._now())
        self._queue.append(_Waiting(placed, done))
        self._go_on()

    def _go_on(self) -> None:
        # At the end of the turn, so that all calls of one delivery are in it.
        if self._next is None and not self._batch:
            self._next = self._clock.callLater(0, self._begin_batch)

    def _stop_waiting(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None

    def _begin_batch(self) -> None:
        self._stop_waiting()
        owed = [] if self._start is None else [self._start]
        if self._lost:
            facts = {"records": self._lost, "since": self._lost_since}
            owed.append(Record(event=Event.LOST, time=self._now(), facts=facts))
        self._batch = [*(_Waiting(record, None) for record in owed), *self._queue]
        if not self._batch:
            self._close_now()
            return
        self._is_full &= len(self._queue) >= self._max_waiting_records // 2
        self._queue.clear()
        self._timer = self._clock.callLater(self._timeout_seconds, self._on_timeout)
        writing = self._in_thread(self._writer.append, [each.record for each in self._batch])
        writing.addCallbacks(self._written, self._failed, callbackArgs=(self._lost,))
        writing.addErrback(self._log_failure)

    def _written(self, _: None, lost: int) -> None:
        self._start = None
        self._lost -= lost
        if self._trouble is not None:
            self._trouble = None
            self._log.info("the audit log can be written again")
        self._end_batch(None)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self._in_trouble(why.lower())
        # Those that the batch began with stay owed.
        owed = sum(each.record.event in (Event.START, Event.LOST) for each in self._batch)
        self._lose(len(self._batch) - owed)
        self._end_batch(_unavailable(why.lower()))

    def _on_timeout(self) -> None:
        """The writer's thread is stuck: it may come back, but nobody waits for that."""
        self._timer = None
        self._in_trouble(_STUCK)
        self._finish([*self._batch, *self._queue], _unavailable(_STUCK))
        self._closed()

    def _end_batch(self, error: AuditUnavailable | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._batch = self._batch, []
        self._finish(batch, error)
        if self._queue:
            self._go_on()
        elif self._closing is not None:
            self._close_now()

    def _finish(self, waiting: list[_Waiting], error: AuditUnavailable | None) -> None:
        if self._on_failure is OnFailure.CONTINUE:
            error = None
        for each in waiting:
            each.finish(error)

    def _lose(self, count: int) -> None:
        if not self._lost:
            self._lost_since = self._now()
        self._lost += count

    def _in_trouble(self, why: str) -> None:
        if self._trouble != why:
            self._trouble = why
            self._complain(why)

    def _complain(self, why: str) -> None:
        self._log.critical(
            "the audit log cannot be written: {why}; operations that change something {what}",
            why=why,
            what="go on without" if self._on_failure is OnFailure.CONTINUE else "are refused",
        )

    def _close_now(self) -> None:
        if self._closing is not None:
            self._writer.close()
            self._closed()

    def _closed(self) -> None:
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.callback(None)

    def _log_failure(self, failure: Failure) -> None:
        self._log.failure("the audit log failed", failure=failure)


def _unavailable(why: str) -> AuditUnavailable:
    return AuditUnavailable(f"the audit log cannot be written ({why}), so this was not done")
