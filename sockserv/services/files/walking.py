"""Going through a directory, or a whole tree, with few names in memory and one directory open at a time."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Final

import attrs

from sockserv.files.errors import FilesDenied, NotADirectory, NotFound
from sockserv.files.facts import FileType
from sockserv.files.jail import Jail
from sockserv.files.names import is_reserved
from sockserv.files.status import type_of

__all__ = ["BATCH_ENTRIES", "Found", "scan", "walk"]

BATCH_ENTRIES: Final = 256
"""So many entries are looked at in one step."""


@attrs.frozen
class Found:
    """Some entries of one directory.

    `below` are the names from where the walk began to the directory, as `os.listdir` gives them; `entries` are names in
    it, with what the system says about each (of a link about the link). `directory` is a descriptor, open until the
    walk goes on.
    """

    below: tuple[str, ...]
    entries: list[tuple[str, os.stat_result]]
    directory: int

    def visible(self) -> Iterator[tuple[str, os.stat_result]]:
        """The entries without unfinished files, which are nobody's business."""
        return ((name, status) for name, status in self.entries if not is_reserved(name))


def walk(
    jail: Jail, path: str, *, recursive: bool, skip_denied: bool = False
) -> Generator[Found, None, None]:
    """Go through the directory `path`, each directory before what is in it, in the order that the disk has.

    Unfinished files are among the entries. What is made or goes away meanwhile may be seen or not. A directory that may
    not be read is an error, unless `skip_denied` passes it over. Blocks; raises `FilesError`.
    """
    # A directory is remembered by its name and how deep it is: what is above it is what was walked last at that depth.
    waiting: list[tuple[int, str]] = []
    here: tuple[str, ...] = ()
    while True:
        try:
            with jail.directory(path, here) as directory:
                for entries in scan(directory):
                    if recursive:
                        waiting += [
                            (len(here), name)
                            for name, status in entries
                            if type_of(status) is FileType.DIRECTORY
                        ]
                    yield Found(here, entries, directory)
        except (NotFound, NotADirectory):
            if not here:
                raise
            # It has gone since its name was read.
        except FilesDenied:
            if not skip_denied:
                raise
        if not waiting:
            return
        depth, name = waiting.pop()
        here = (*here[:depth], name)


def scan(directory: int) -> Iterator[list[tuple[str, os.stat_result]]]:
    """The entries of an open directory, some at a time; raises `OSError`."""
    batch: list[tuple[str, os.stat_result]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                batch.append((entry.name, entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue  # it has gone since its name was read
            if len(batch) == BATCH_ENTRIES:
                yield batch
                batch = []
    if batch:
        yield batch
