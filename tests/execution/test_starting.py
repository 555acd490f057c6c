"""The words for jobs that could not be started."""

from __future__ import annotations

import errno

import pytest

from sockserv.execution.outcome import OutcomeKind
from sockserv.execution.starting import failed_to_start


@pytest.mark.parametrize(
    ("number", "what", "said"),
    [
        (errno.ENOENT, "program", "the program /bin/x cannot be run: there is no such file"),
        (errno.EACCES, "directory", "the directory /there cannot be used: permission denied"),
        (
            errno.ENOENT,
            "interpreter",
            "the interpreter that the program /bin/x asks for cannot be run: there is no such file",
        ),
        (
            errno.EAGAIN,
            "process",
            "there is no room for one more process: resource temporarily unavailable",
        ),
        (errno.EPERM, "new", "the program /bin/x cannot be run: operation not permitted"),
    ],
)
def test_what_has_failed_is_said(number: int, what: str, said: str) -> None:
    outcome = failed_to_start(
        errno=number, what=what, program="/bin/x", directory="/there", job="a", rule="any"
    )
    assert outcome.kind is OutcomeKind.FAILED_TO_START
    assert outcome.errno == errno.errorcode[number]
    assert (outcome.message, outcome.job, outcome.rule) == (said, "a", "any")
