"""The errors about files: one class each code."""

from __future__ import annotations

from sockserv.errors import error_from_wire
from sockserv.files import errors
from sockserv.files.errors import FilesError

CODES = [
    "files.not-found",
    "files.exists",
    "files.not-a-file",
    "files.not-a-directory",
    "files.not-empty",
    "files.changed",
    "files.digest-mismatch",
    "files.no-space",
    "files.quota",
    "files.refused-name",
    "files.denied",
    "files.busy",
    "files.read-only",
    "files.too-long",
    "files.no-receiver",
    "files.io",
]


def test_each_code_comes_back_as_its_class() -> None:
    classes = [getattr(errors, name) for name in errors.__all__ if name != "FilesError"]
    assert sorted(cls.code for cls in classes) == sorted(CODES)
    for cls in classes:
        error = error_from_wire(cls.code, "what", {"path": "a"})
        assert type(error) is cls
        assert isinstance(error, FilesError)
        assert (str(error), error.details) == ("what", {"path": "a"})
