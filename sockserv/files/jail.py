"""A directory that nothing leads out of, whatever it is asked for and whatever happens in it meanwhile.

It stands alone: blocking functions on descriptors, for any program that serves or writes files by names that others
choose. What it rests on:

- No path is ever put together. Each component is opened by its descriptor's parent, so that what was checked is what
  is used, and a directory that somebody moves away while it is in use takes nobody along.
- No symbolic link is followed, at no position (`O_NOFOLLOW`): not one that was there, and not one that somebody has
  put in the place of a directory in between. Whoever wants a link followed makes it the jail's root.
- `..` does not occur: `components` refuses it, and nothing here makes it.
- Only regular files are opened, and only after a look that opens nothing: opening a FIFO would wake its writer, and
  opening a device may do anything.

A file with several hard links is a file like any other: it can be read, and one that is replaced or removed by its
name in here keeps its other names and its content. A jail can not tell that another name is outside of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sockserv.files.errors import (
    Busy,
    Exists,
    FilesDenied,
    FilesError,
    FilesIOError,
    NoSpace,
    NotADirectory,
    NotAFile,
    NotEmpty,
    NotFound,
    ReadOnly,
    RefusedName,
    TooLong,
)
from sockserv.files.names import components

__all__ = ["Jail", "explained", "open_directory", "open_regular_file"]

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# A file that became something else after it was looked at neither blocks nor becomes our terminal.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

_ERRORS: dict[int, tuple[type[FilesError], str]] = {
    errno.ENOENT: (NotFound, "there is no such file or directory"),
    errno.EEXIST: (Exists, "it exists already"),
    errno.ENOTDIR: (NotADirectory, "it, or something on the way to it, is not a directory"),
    errno.EISDIR: (NotAFile, "it is a directory"),
    errno.ELOOP: (NotAFile, "it is a link, and no link is followed"),
    errno.ENXIO: (NotAFile, "it is not a regular file"),
    errno.ENODEV: (NotAFile, "it is not a regular file"),
    errno.ENOTEMPTY: (NotEmpty, "the directory has something in it"),
    errno.EACCES: (FilesDenied, "the account that the server runs as may not do that"),
    errno.EPERM: (FilesDenied, "the account that the server runs as may not do that"),
    errno.EROFS: (ReadOnly, "the file system can only be read"),
    errno.ENOSPC: (NoSpace, "the disk is full"),
    errno.EDQUOT: (NoSpace, "the account that the server runs as may use no more of the disk"),
    errno.EFBIG: (NoSpace, "the file system takes no file so large"),
    errno.ENAMETOOLONG: (TooLong, "the name is longer than the file system takes"),
    errno.EINVAL: (RefusedName, "the file system does not take this name"),
    errno.EILSEQ: (RefusedName, "the file system does not take this name"),
    errno.EMFILE: (Busy, "the server has too many files open; try again later"),
    errno.ENFILE: (Busy, "the server has too many files open; try again later"),
    errno.ENOMEM: (Busy, "the server has no memory left; try again later"),
    errno.EAGAIN: (Busy, "another program holds it; try again later"),
    errno.EBUSY: (Busy, "another program, or the system, uses it"),
    errno.ETXTBSY: (Busy, "it is a program that runs"),
    errno.EXDEV: (FilesIOError, "it is on another file system"),
}


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn an `OSError` into the `FilesError` that says the same of `path`, by the name that the caller has for it."""
    try:
        yield
    except OSError as error:
        raise files_error(error, path) from error


def files_error(error: OSError, path: str) -> FilesError:
    """The `FilesError` that says of `path` what the system has said."""
    kind, what = _ERRORS.get(error.errno or 0, (FilesIOError, ""))
    # What the system says of itself names no path.
    what = what or f"the system says: {os.strerror(error.errno or 0).lower()}"
    return kind(f"{path!r}: {what}", details={"path": path})


def open_directory(name: str, parent: int) -> int:
    """A descriptor of a directory in the directory `parent`. Raises `OSError`: `ENOTDIR` for a link, too."""
    return os.open(name, _OPEN_DIRECTORY, dir_fd=parent)


def open_regular_file(name: str, parent: int, path: str) -> int:
    """A descriptor for reading a regular file in the directory `parent`; `path` is how errors call it.

    Raises `NotAFile` for anything else, without having opened it, and `OSError`.
    """
    _check_regular(os.stat(name, dir_fd=parent, follow_symlinks=False), path)
    file = os.open(name, _OPEN_FILE, dir_fd=parent)
    try:
        _check_regular(os.fstat(file), path)
    except BaseException:
        os.close(file)
        raise
    return file


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    what = "a directory" if stat.S_ISDIR(status.st_mode) else "neither a file nor a directory"
    raise NotAFile(f"{path!r} is {what}", details={"path": path})


class Jail:
    """The directory `root` and what is below it; making one touches nothing.

    `below` are names from there on to the directory that is the jail's root, walked as carefully as what is asked for;
    links on the way to `root` itself are followed. `makes_root` makes `root` and `below` where they are missing, for
    this account alone. All methods block, raise `FilesError`, and may be called from any thread. Paths are checked by
    `sockserv.files.components`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        below: Sequence[str] = (),
        *,
        makes_root: bool = False,
    ) -> None:
        self._root = os.fspath(root)
        self._below = tuple(below)
        self._makes_root = makes_root

    @contextmanager
    def directory(self, path: str, below: Sequence[str] = ()) -> Iterator[int]:
        """A descriptor of the directory `path`, open until the block ends.

        `below` are more names from there on, as `os.listdir` gives them. An `OSError` in the block is turned into the
        `FilesError` that says it of `path`.
        """
        names = components(path)
        with explained("/".join((*names, *below))):
            here = self._descend((*names, *below))
            try:
                yield here
            finally:
                os.close(here)

    @contextmanager
    def parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the directory that `path` is in, open until the block ends, and the name in there.

        `make` makes the directories that are missing on the way. An `OSError` in the block is turned into the
        `FilesError` that says it of `path`. Raises `RefusedName` for the root, which is in nothing.
        """
        here = self.open_parent(path, make=make)
        try:
            with explained(path):
                yield here, components(path)[-1]
        finally:
            os.close(here)

    def open_parent(self, path: str, *, make: bool = False) -> int:
        """A descriptor of the directory that `path` is in, which the caller closes; see `parent`."""
        *names, name = components(path) or ("",)
        if not name:
            raise RefusedName(
                "that cannot be done to the root of all paths", details={"path": path}
            )
        with explained(path):
            return self._descend(names, make=make)

    def status(self, path: str) -> os.stat_result:
        """What the system says about `path`, of a link about the link itself."""
        if not components(path):
            with self.directory(path) as root:
                return os.fstat(root)
        with self.parent(path) as (parent, name):
            return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def open_file(self, path: str) -> int:
        """A descriptor of the regular file `path`, for reading, which the caller closes."""
        if not components(path):
            raise NotAFile(f"{path!r} is a directory", details={"path": path})
        with self.parent(path) as (parent, name):
            return open_regular_file(name, parent, path)

    def _descend(self, names: Sequence[str], *, make: bool = False) -> int:
        """A descriptor of the directory that the names lead to from the root on."""
        here = self._open_root()
        for name in names:
            here = _step(name, here, make=make)
        return here

    def _open_root(self) -> int:
        try:
            here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if not self._makes_root:
                raise
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        for name in self._below:
            here = _step(name, here, make=self._makes_root, mode=0o700)
        return here


def _step(name: str, above: int, *, make: bool, mode: int = 0o777) -> int:
    """A descriptor of a directory, in the place of that of the directory above."""
    try:
        try:
            return open_directory(name, above)
        except FileNotFoundError:
            if not make:
                raise
        try:
            os.mkdir(name, mode, dir_fd=above)
        except FileExistsError:
            pass  # somebody else was quicker
        else:
            # What is put into it is to be found after a crash.
            os.fsync(above)
        return open_directory(name, above)
    finally:
        os.close(above)
