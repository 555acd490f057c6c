"""Looking at the folders of kept jobs: what is there, and what has become of it. Everything here blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs
from twisted.logger import Logger

from sockserv.execution.outcome import Outcome, OutcomeKind
from sockserv.keeping.folder import JobFolder, find_folders
from sockserv.keeping.record import Record, read_outcome, read_record, write_outcome
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


def find_all(jobs: Path) -> Iterator[Found]:
    """All jobs below the folder `jobs`; what a crash has left of others is removed. See `look_at`. Raises `OSError`."""
    for folder in find_folders(jobs):
        try:
            record = read_record(folder)
        except ValueError as error:
            # It may be of another version: nobody but a person is to remove it.
            _log.error("a kept job is passed over: {why}", why=error)
            continue
        if record is not None:
            yield look_at(folder, record)
        elif not folder.is_supervised():
            with suppress(OSError):  # it is tried again when there is the next daemon
                folder.remove()


def look_at(folder: JobFolder, record: Record) -> Found:
    """What has become of a job.

    One that nobody looks after any more, and of which no outcome was told, is lost: what may be left of its processes is
    killed, and that it is lost is written down. Raises `OSError`.
    """
    ended = _read_outcome(folder, record)
    if ended is None and not folder.is_supervised():
        # Once more: it may have ended in between, as it should.
        ended = _read_outcome(folder, record)
        if ended is None:
            _log.error(
                "the process that looked after the job {job} of {identity} is gone before that had ended: {said}",
                job=record.job,
                identity=record.identity,
                said=_last_words(folder) or "it was killed, or the machine has stopped",
            )
            kill_strangers(Machine(adopts=False), (), (record.mark,))
            ended = _lost(
                folder,
                record,
                "the process that looked after the job was killed, or the machine stopped, before it had ended",
            )
            with suppress(OSError):  # a full disk does not make it less lost
                write_outcome(folder, ended)
    stdout_bytes, stderr_bytes = folder.spooled_bytes()
    return Found(
        folder=folder,
        record=record,
        ended=ended,
        ended_at=0.0 if ended is None else folder.ended_at(),
        stdout_bytes=stdout_bytes,
        stderr_bytes=stderr_bytes,
    )


def _last_words(folder: JobFolder) -> str:
    """What a supervisor has said at its end that nobody foresaw."""
    try:
        with open(folder.log, "rb") as file:
            return file.read(_MAX_LOG_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""


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
