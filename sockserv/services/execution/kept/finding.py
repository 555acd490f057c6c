"""Looking at the folders of kept jobs: what is there, and what has become of it. Everything here blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
from twisted.logger import Logger

from sockserv.execution.outcome import Outcome, OutcomeKind
from sockserv.keeping.folder import JobFolder, find_folders
from sockserv.keeping.record import Record, read_outcome, read_record, write_outcome
from sockserv.keeping.spool import read_piece
from sockserv.processes.table import Machine
from sockserv.processes.trees import kill_strangers

__all__ = ["Found", "find_all", "look_at", "new_job"]

_MAX_LOG_BYTES: Final = 64 * 1024

_log: Final = Logger()


@attrs.frozen(kw_only=True)
class Found:
    """A job as its folder has it: `ended` is None, and `ended_at` 0, while its supervisor lives.

    `ended_at` is in seconds since 1970; the sizes are what is there of its output.
    """

    folder: JobFolder
    record: Record
    ended: Outcome | None
    ended_at: float
    stdout_bytes: int
    stderr_bytes: int


def new_job(folder: JobFolder, record: Record) -> Found:
    """A job that is just being made."""
    return Found(
        folder=folder, record=record, ended=None, ended_at=0.0, stdout_bytes=0, stderr_bytes=0
    )


def find_all(jobs: Path) -> list[Found]:
    """All jobs below the folder `jobs`; what a crash has left of others is removed. See `look_at`. Raises `OSError`."""
    there = [*_records_in(jobs)]
    # All at once, since after a crash of the machine there are many, and each look at all processes takes its time.
    killed = {record.mark for folder, record in there if _is_lost(folder)}
    _kill(killed)
    found = []
    for folder, record in there:
        with _passed_over(folder):
            found.append(look_at(folder, record, killed=killed))
    return found


def look_at(folder: JobFolder, record: Record, *, killed: Collection[int] = ()) -> Found:
    """What has become of a job.

    One that nobody looks after any more, and of which no outcome was told, is lost: what may be left of its processes
    is killed, if its mark is not among those of `killed`, and that it is lost is written down. Raises `OSError`.
    """
    is_lost = _is_lost(folder)
    # After that: it may have ended just before, as it should.
    ended = _read_outcome(folder, record)
    if ended is None and is_lost:
        if record.mark not in killed:
            _kill({record.mark})
        ended = _lose(folder, record)
    stdout_bytes, stderr_bytes = folder.spooled_bytes()
    return Found(
        folder=folder,
        record=record,
        ended=ended,
        ended_at=0.0 if ended is None else folder.ended_at(),
        stdout_bytes=stdout_bytes,
        stderr_bytes=stderr_bytes,
    )


def _records_in(jobs: Path) -> Iterator[tuple[JobFolder, Record]]:
    for folder in find_folders(jobs):
        with _passed_over(folder):
            record = read_record(folder)
            if record is not None:
                yield folder, record
            elif not folder.is_supervised():
                folder.remove()


@contextmanager
def _passed_over(folder: JobFolder) -> Iterator[None]:
    """Go on without a job that cannot be read. It may be of another version: nobody but a person is to remove it."""
    try:
        yield
    except (OSError, ValueError) as error:
        _log.error("the kept job in {folder} is passed over: {why}", folder=folder.path, why=error)


def _is_lost(folder: JobFolder) -> bool:
    """Whether nobody looks after a job that has not ended. Raises `OSError`."""
    return not folder.outcome.exists() and not folder.is_supervised()


def _kill(marks: Collection[int]) -> None:
    """Kill what is left of jobs whose supervisors are gone."""
    if marks:
        kill_strangers(Machine(adopts=False), (), marks)


def _lose(folder: JobFolder, record: Record) -> Outcome:
    """Say of a job that it is lost, for good."""
    _log.error(
        "the process that looked after the job {job} of {identity} is gone before that had ended: {said}",
        job=record.job,
        identity=record.identity,
        said=_last_words(folder) or "it was killed, or the machine has stopped",
    )
    lost = _lost(
        folder,
        record,
        "the process that looked after the job was killed, or the machine stopped, before it had ended",
    )
    with suppress(OSError):  # a full disk does not make it less lost
        write_outcome(folder, lost)
    return lost


def _last_words(folder: JobFolder) -> str:
    """What a supervisor has said at its end that nobody foresaw."""
    try:
        said = read_piece(folder.log, offset=0, max_bytes=_MAX_LOG_BYTES)
    except OSError:
        return ""
    return said.decode("utf-8", "replace").strip()


def _read_outcome(folder: JobFolder, record: Record) -> Outcome | None:
    try:
        return read_outcome(folder)
    except ValueError as error:
        _log.error("nobody knows how a kept job has ended: {why}", why=error)
        return _lost(folder, record, "what was written down of its end makes no sense here")


def _lost(folder: JobFolder, record: Record, why: str) -> Outcome:
    stdout_bytes, stderr_bytes = folder.spooled_bytes()
    return Outcome(
        kind=OutcomeKind.LOST,
        job=record.job,
        rule=record.rule,
        message=why,
        stdout_bytes=stdout_bytes,
        stderr_bytes=stderr_bytes,
    )
