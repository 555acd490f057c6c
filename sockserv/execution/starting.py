"""The outcome of a job that could not be started, in words."""

from __future__ import annotations

from errno import ENOENT, errorcode
from os import strerror
from typing import Final

from sockserv.execution.outcome import Outcome, OutcomeKind

__all__ = ["failed_to_start"]

_WORDS: Final = {
    "program": "the program {program} cannot be run",
    "interpreter": "the interpreter that the program {program} asks for cannot be run",
    "directory": "the directory {directory} cannot be used",
    "account": "the program {program} cannot be run as another account",
    "nice": "the program {program} cannot be given this priority",
    "terminal": "the program {program} cannot be given a terminal",
    "process": "there is no room for one more process",
}


def failed_to_start(
    *, errno: int, what: str, program: str, directory: str, job: str, rule: str
) -> Outcome:
    """The outcome when `what` (see `StartFailed`) of a program has failed with the system's number `errno`."""
    words = _WORDS.get(what, _WORDS["program"]).format(program=program, directory=directory)
    why = "there is no such file" if errno == ENOENT else strerror(errno).lower()
    return Outcome(
        kind=OutcomeKind.FAILED_TO_START,
        errno=errorcode.get(errno, str(errno)),
        message=f"{words}: {why}",
        job=job,
        rule=rule,
    )
