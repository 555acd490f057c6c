"""What is done to names: looking, listing, making directories, moving and removing. Everything here blocks."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from threading import Lock

import msgspec

from sockserv.files.arguments import (
    ALWAYS,
    NEVER,
    MakeDirectoryArguments,
    MoveArguments,
    RemoveArguments,
)
from sockserv.files.errors import Busy, Changed, Exists, NotAFile, NotEmpty, RefusedName
from sockserv.files.facts import Entry, FileType
from sockserv.files.jail import Jail, explained, open_directory
from sockserv.files.names import components, is_reserved, shown
from sockserv.files.rename import rename_exclusively
from sockserv.files.status import entry_of, etag_of, type_of
from sockserv.services.files.partials import Partials
from sockserv.services.files.walking import scan, walk

__all__ = ["check_target", "entry", "list_tree", "make_directory", "move", "publish", "remove"]

_encoder = msgspec.json.Encoder()
_publishing = Lock()
"""Held while a name is looked at and then taken, so that no two calls do that at once."""


def entry(jail: Jail, path: str) -> Entry:
    """What is told about `path`."""
    status = jail.status(path)
    return entry_of(components(path)[-1] if components(path) else "", status)


def list_tree(
    jail: Jail, path: str, *, recursive: bool
) -> Generator[tuple[int, bytes], None, None]:
    """The entries of the directory `path`, some at a time: how many, and each as a line of JSON.

    `recursive`: and those of all directories in it.
    """
    for found in walk(jail, path, recursive=recursive):
        below = found.below if recursive else None
        entries = [entry_of(name, status, below=below) for name, status in found.visible()]
        yield len(entries), _encoder.encode_lines(entries)


def make_directory(jail: Jail, args: MakeDirectoryArguments) -> None:
    """Make a directory; with parents it may be there already, and what is missing above it is made."""
    with jail.parent(args.path, make=args.parents) as (parent, name):
        try:
            os.mkdir(name, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not (args.parents and stat.S_ISDIR(status.st_mode)):
                raise
        os.fsync(parent)


def check_target(name: str, parent: int, path: str, *, overwrite: str) -> os.stat_result | None:
    """Whether a file may be put under `name` in the directory `parent`; what is there now, None if nothing.

    `overwrite` is `never`, `always`, or the etag of what may be replaced. Raises `Exists`, `Changed` and `NotAFile`.
    """
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        if overwrite not in (NEVER, ALWAYS):
            raise Changed(
                f"{path!r}: what was to be replaced is gone", details={"path": path}
            ) from None
        return None
    kind = type_of(status)
    if overwrite == NEVER:
        raise Exists(f"{path!r}: it exists already", details={"path": path})
    if kind is not FileType.FILE:
        raise NotAFile(f"{path!r} is not a file: it cannot be replaced", details={"path": path})
    if overwrite not in (ALWAYS, etag_of(status)):
        raise Changed(
            f"{path!r} is not the file any more that was to be replaced", details={"path": path}
        )
    return status


def publish(
    source: str,
    target: str,
    path: str,
    *,
    source_fd: int,
    target_fd: int,
    overwrite: str,
) -> None:
    """Give a file of the directory `source_fd` the name `target` in `target_fd`, at once and whole.

    Of several calls that want the same free name one wins. `path` is how errors call it. Raises what `check_target`
    raises, and `OSError`.
    """
    with _publishing:
        if overwrite == NEVER:
            with explained(path):
                rename_exclusively(source, target, source_fd=source_fd, target_fd=target_fd)
        else:
            check_target(target, target_fd, path, overwrite=overwrite)
            os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def move(jail: Jail, args: MoveArguments) -> None:
    """Give a file or directory another path."""
    source_names, target_names = components(args.source), components(args.target)
    if source_names == target_names[: len(source_names)] and source_names != target_names:
        raise RefusedName(
            f"{args.target!r}: a directory cannot be moved into itself",
            details={"path": args.target},
        )
    with (
        jail.parent(args.source) as (source_parent, source),
        jail.parent(args.target) as (target_parent, target),
    ):
        with explained(args.source):
            kind = type_of(os.stat(source, dir_fd=source_parent, follow_symlinks=False))
        if kind is FileType.OTHER:
            raise _neither(args.source)
        publish(
            source,
            target,
            args.target,
            source_fd=source_parent,
            target_fd=target_parent,
            # A directory takes nobody's place.
            overwrite=args.overwrite if kind is FileType.FILE else NEVER,
        )
        os.fsync(target_parent)
        if source_names[:-1] != target_names[:-1]:
            os.fsync(source_parent)


def remove(jail: Jail, args: RemoveArguments, partials: Partials) -> Generator[int, None, None]:
    """Remove a file, or a directory; yields now and then how many directories are still to be emptied.

    What is removed before an error stays so. Unfinished files go with their directory, unless they are just being
    uploaded.
    """
    with jail.parent(args.path) as (parent, name):
        kind = type_of(os.stat(name, dir_fd=parent, follow_symlinks=False))
        if kind is FileType.OTHER:
            raise _neither(args.path)
        if kind is FileType.FILE:
            os.unlink(name, dir_fd=parent)
        else:
            if args.recursive:
                yield from _empty(jail, args.path)
            _remove_directory(name, parent, args.path, partials)
        os.fsync(parent)


def _empty(jail: Jail, path: str) -> Generator[int, None, None]:
    """Remove what is in a directory."""
    # Each directory stands after the one that it is in.
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        here = waiting[-1]
        inner: list[tuple[str, ...]] = []
        with jail.directory(path, here) as directory:
            for entries in scan(directory):
                for name, status in entries:
                    kind = type_of(status)
                    if kind is FileType.DIRECTORY:
                        inner.append((*here, name))
                    elif kind is FileType.FILE:
                        os.unlink(name, dir_fd=directory)
                    else:
                        raise _neither(shown("/".join((path, *here, name)))[0])
                yield len(waiting)
        if inner:
            waiting += inner
            continue
        waiting.pop()
        if here:
            with jail.directory(path, here[:-1]) as directory:
                os.rmdir(here[-1], dir_fd=directory)


def _remove_directory(name: str, parent: int, path: str, partials: Partials) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
    else:
        return
    # What nobody sees may not be in the way of who sees an empty directory.
    directory = open_directory(name, parent)
    try:
        names = os.listdir(directory)
        if not all(is_reserved(inner) for inner in names):
            raise NotEmpty(f"{path!r}: there is something in it", details={"path": path})
        in_use = [inner for inner in names if not partials.remove_idle(inner, directory)]
        if in_use:
            raise Busy(f"{path!r}: something is being uploaded into it", details={"path": path})
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


def _neither(path: str) -> NotAFile:
    return NotAFile(f"{path!r} is neither a file nor a directory", details={"path": path})
