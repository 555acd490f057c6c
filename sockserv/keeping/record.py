"""What is written down of a kept job: what it is, and how it has ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import attrs
import msgspec

from sockserv.atomic import replace_file
from sockserv.execution.outcome import Outcome
from sockserv.keeping.folder import JobFolder

__all__ = ["Record", "read_outcome", "read_record", "write_outcome", "write_record"]

T = TypeVar("T")

_MAX_FILE_BYTES = 1024 * 1024


@attrs.frozen(kw_only=True)
class Record:
    """What a kept job is.

    `command` is what it runs, in one line for a person's eyes, `rule` what allows it. `started_at` is in seconds
    since 1970. `spool_bytes` is how much of its output is kept, `expiry_seconds` how long that is after its end.
    `mark` is what its processes are marked with (see `sockserv.processes.table`). `pid` is the number of the first
    one, None before that is started.
    """

    identity: str
    job: str
    command: str
    rule: str
    started_at: float
    spool_bytes: int
    expiry_seconds: float
    mark: int
    has_terminal: bool = False
    pid: int | None = None


def write_record(folder: JobFolder, record: Record) -> None:
    """Write down what a job is, in place of what was written before; blocks. Raises `OSError`."""
    replace_file(folder.record, msgspec.json.encode(record))


def read_record(folder: JobFolder) -> Record | None:
    """What a job is; None where nothing is written. Blocks. Raises `OSError`, and `ValueError` for nonsense."""
    return _read(folder.record, Record)


def write_outcome(folder: JobFolder, outcome: Outcome) -> None:
    """Write down how a job has ended; blocks until the disk has it. Raises `OSError`, and then nothing is written."""
    replace_file(folder.outcome, msgspec.json.encode(outcome))


def read_outcome(folder: JobFolder) -> Outcome | None:
    """How a job has ended; None where nothing is written. Blocks. Raises what `read_record` raises."""
    return _read(folder.outcome, Outcome)


def _read(path: Path, kind: type[T]) -> T | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(os.read(file, _MAX_FILE_BYTES), type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} makes no sense: {error}") from error
    finally:
        os.close(file)
