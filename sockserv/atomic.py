"""Files that are whole or not there: written beside under another name, synced, then renamed.

Whoever reads such a file sees the old content or the new, and after a crash of the machine, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sockserv.errors import LocalError

__all__ = ["explained", "remove_file", "replace_file", "sync_directory", "written_beside"]


def replace_file(path: Path, content: bytes) -> None:
    """Put a file with this content, mode 0600, in the place of what `path` names.

    Only one process and thread at a time may replace the same file. Blocks until the disk has it. Raises
    `OSError`, on a full disk for example, and then the old file is as it was.
    """
    with written_beside(path) as descriptor, open(descriptor, "wb", closefd=False) as file:
        file.write(content)


@contextmanager
def written_beside(path: Path) -> Iterator[int]:
    """The descriptor of a new file, mode 0600, which gets the name `path` when the block ends without an error.

    See `replace_file`, which is this with content at hand.
    """
    beside = _beside(path)
    # Nobody else writes here at this time, so what has this name was left by a crash.
    beside.unlink(missing_ok=True)
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        yield file
        os.fsync(file)
        beside.rename(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to hear of
            beside.unlink()
        raise
    finally:
        os.close(file)
    sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Remove a file that `replace_file` has made, with what a crash may have left beside it, for good.

    Blocks until the disk knows. Raises `OSError`: `FileNotFoundError` when there is no file of this name.
    """
    _beside(path).unlink(missing_ok=True)
    path.unlink()
    sync_directory(path.parent)


@contextmanager
def explained(kind: type[LocalError], what: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into an error that says what could not be done to which path."""
    try:
        yield
    except OSError as error:
        raise kind(f"cannot {what} {path}: {(error.strerror or str(error)).lower()}") from error


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def sync_directory(path: Path) -> None:
    """Have the disk know the names in a directory, too. Blocks; raises `OSError`."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
