"""Storing small files: those that come while others are stored are stored together, in one turn of a thread.

Each turn of a thread, each directory that is walked to, and each that is synced costs about as much as a small file
itself; many threads at once would only wait for each other. So one thread at a time does all that wait for one folder,
side by side: all are written, then all are synced, then all get their names, and then the directories are synced. The
disk can take them in one go. No file knows of the others: what goes wrong with one stops none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from sockserv.files.facts import Stored
from sockserv.services.api import Call, Piece
from sockserv.services.files.parents import Parents
from sockserv.services.files.upload import Upload, Wants
from sockserv.services.threads import InThread

__all__ = ["Storing"]

_MAX_FILES: Final = 64
"""So many are open at a time."""


@attrs.define(eq=False)
class _Job:
    """An upload that waits, with all of its content; `outcome` is what becomes of it."""

    call: Call[Any]
    upload: Upload
    pieces: Sequence[Piece]
    is_given_up: bool = False
    outcome: Stored | BaseException | None = None
    done: Deferred[Stored] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.done = Deferred(self._give_up)

    def _give_up(self, done: Deferred[Stored]) -> None:
        """Nobody waits any more: it is left out if its turn has not come."""
        self.is_given_up = True


class Storing:
    """What stores the small files of one folder."""

    def __init__(self) -> None:
        self._waiting: deque[_Job] = deque()
        self._is_running = False

    def store(self, call: Call[Any], upload: Upload, pieces: Sequence[Piece]) -> Deferred[Stored]:
        """Store an upload, with all of its content; fails with what its steps raise.

        One that is cancelled is stored all the same if that has begun.
        """
        job = _Job(call, upload, pieces)
        self._waiting.append(job)
        if not self._is_running:
            self._is_running = True
            Deferred.fromCoroutine(self._run(call.in_thread)).addErrback(self._fail_all)
        return job.done

    async def _run(self, in_thread: InThread) -> None:
        while self._waiting:
            jobs: list[_Job] = await in_thread(self._take_and_store)
            with ExitStack() as answers:
                for job in jobs:
                    answers.enter_context(job.call.together())
                for job in jobs:
                    _tell(job)
        self._is_running = False

    def _fail_all(self, failure: Any) -> None:
        """There are no threads to be had."""
        self._is_running = False
        while self._waiting:
            job = self._waiting.popleft()
            job.outcome = failure.value
            _tell(job)

    def _take_and_store(self) -> list[_Job]:
        """Store what waits, and not more than may be open; blocks."""
        jobs: list[_Job] = []
        while self._waiting and len(jobs) < _MAX_FILES:
            job = self._waiting.popleft()
            if not job.is_given_up:
                jobs.append(job)
        try:
            _store(jobs)
        except BaseException as error:
            for job in jobs:
                job.outcome = job.outcome or error
        return jobs


def _tell(job: _Job) -> None:
    outcome = job.outcome
    if job.done.called:
        return
    if isinstance(outcome, Stored):
        job.done.callback(outcome)
    else:
        assert outcome is not None, "each has come to its end"
        job.done.errback(outcome)


def _store(jobs: Sequence[_Job]) -> None:
    """Do all steps of all uploads, in step; blocks."""
    with Parents() as parents:
        running = [(job, job.upload.steps(parents)) for job in jobs]
        running = [each for each in running if _go_on(*each, None) and _write(*each)]
        while running:
            running = [each for each in running if _go_on(*each, ())]


_StepsOfUpload = Generator[Wants, Sequence[Piece], Stored]


def _write(job: _Job, steps: _StepsOfUpload) -> bool:
    """Give it its content, and the end of that."""
    return (not job.pieces or _go_on(job, steps, job.pieces)) and _go_on(job, steps, ())


def _go_on(job: _Job, steps: _StepsOfUpload, value: Sequence[Piece] | None) -> bool:
    """Do the next step that wants content, or others; gives whether there are more."""
    try:
        while steps.send(value) is Wants.A_TURN:  # type: ignore[arg-type]  # None begins it
            value = ()
        return True
    except StopIteration as stop:
        job.outcome = stop.value
    except Exception as error:
        job.outcome = error
    return False
