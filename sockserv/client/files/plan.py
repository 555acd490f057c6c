"""What is to be done to files, step by step, before any of it is: what a dry run shows.

Pure: two lists of what there is, and the steps that make the one like the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

import attrs

from sockserv.files.arguments import NEVER
from sockserv.files.facts import Entry, FileType

__all__ = ["Action", "Direction", "Listed", "Place", "Plan", "Step", "compare", "joined"]


class Action(StrEnum):
    """The kinds of steps."""

    PUT = "put"
    GET = "get"
    MAKE = "mkdir"
    REMOVE = "rm"


class Direction(StrEnum):
    """Which side is made like the other one."""

    PUSH = "push"
    PULL = "pull"


@attrs.frozen
class Place:
    """A file here: its names below a folder. No link is followed below that one; what is above is the user's own.

    `is_named` says that it is what the user has named, and not only found in a folder: it may be a link to what is
    to be sent.
    """

    folder: Path
    names: tuple[str, ...] = ()
    is_named: bool = False

    @property
    def path(self) -> Path:
        """The whole path, to be shown, and to be read from."""
        return self.folder.joinpath(*self.names)

    def below(self, *names: str) -> Place:
        """A place in this one."""
        return Place(self.folder, self.names + names)


@attrs.frozen
class Step:
    """One thing to be done to the file or the directory at `path`, at the server, or to that at `place`, here.

    `size`, `mtime_ns` and `mode` are those of the file that is to travel. `overwrite` says which file may be replaced:
    `never`, `always`, or the one with this etag. `etag` is that of the file at the server that is meant, as
    far as it is known. `is_here` says for a removal or a new directory that it is on this side.
    """

    action: Action
    path: str
    place: Place
    size: int = 0
    mtime_ns: int = 0
    mode: int = 0o644
    etag: str | None = None
    overwrite: str = NEVER
    is_here: bool = False
    type: FileType = FileType.FILE


@attrs.define
class Plan:
    """The steps, in an order in which they can be done.

    `doubtful` are those for files that have the same size at both ends and not the same time: only their digests can
    say whether they differ. `same` counts what needs nothing. `impossible` has what should be done and cannot be, with
    the reason; `left_out` what is neither a file nor a directory, and does not travel.
    """

    steps: list[Step] = attrs.field(factory=list)
    removals: list[Step] = attrs.field(factory=list)
    doubtful: list[Step] = attrs.field(factory=list)
    same: int = 0
    impossible: list[tuple[str, str]] = attrs.field(factory=list)
    left_out: list[str] = attrs.field(factory=list)

    @property
    def size(self) -> int:
        """How many bytes are to travel."""
        return sum(step.size for step in self.steps)

    def __add__(self, other: Plan) -> Plan:
        """Both, one after the other."""
        return Plan(
            self.steps + other.steps,
            self.removals + other.removals,
            self.doubtful + other.doubtful,
            self.same + other.same,
            self.impossible + other.impossible,
            self.left_out + other.left_out,
        )


@attrs.frozen
class Listed:
    """All that is in a directory and below, by path; `unreadable` is what cannot be listed or named, and why."""

    entries: Mapping[str, Entry]
    unreadable: tuple[tuple[str, str], ...] = ()


def compare(
    here: Listed,
    there: Listed,
    *,
    direction: Direction,
    place: Place,
    root: str,
    overwrite: str = NEVER,
    delete: bool = False,
) -> Plan:
    """The steps that make one side like the other.

    `place` is where the files of `here` are, `root` the directory at the server of those in `there`. `overwrite` is
    for files that the other side is not known to have. With `delete` what only the other side has is removed.
    """
    comparison = _Comparison(direction, place, root, overwrite)
    source, target = (here, there) if direction is Direction.PUSH else (there, here)
    plan = comparison.plan
    plan.impossible += source.unreadable
    for path, entry in sorted(source.entries.items()):
        comparison.add(path, entry, target.entries.get(path))
    plan.steps += comparison.empty_directories(source)
    if delete:
        plan.removals += comparison.removals(source, target)
    return plan


class _Comparison:
    def __init__(self, direction: Direction, place: Place, root: str, overwrite: str) -> None:
        self.plan = Plan()
        self._overwrite = overwrite
        self._is_push = direction is Direction.PUSH
        self._place = place
        self._root = root
        self._parents: set[str] = set()
        self._missing: list[str] = []

    def add(self, path: str, entry: Entry, other: Entry | None) -> None:
        if entry.type is FileType.OTHER:
            self.plan.left_out.append(path)
        elif other is not None and other.type is not entry.type:
            self.plan.impossible.append(
                (path, f"it is a {entry.type} at one end and a {other.type} at the other")
            )
        elif entry.type is FileType.DIRECTORY:
            if other is None:
                self._missing.append(path)
        elif other is None or other.size != entry.size:
            self.plan.steps.append(self._transfer(path, entry, other))
            self._parents.update(_parents(path))
        elif other.mtime_ns == entry.mtime_ns or not entry.size:
            self.plan.same += 1
        else:
            self.plan.doubtful.append(self._transfer(path, entry, other))

    def _transfer(self, path: str, entry: Entry, other: Entry | None) -> Step:
        there = other if self._is_push else entry
        # What somebody else has put there meanwhile is not lost.
        overwrite = self._overwrite if other is None else other.etag
        return Step(
            Action.PUT if self._is_push else Action.GET,
            joined(self._root, path),
            self._place.below(*path.split("/")),
            entry.size,
            entry.mtime_ns,
            entry.mode,
            (there and there.etag) or None,
            overwrite,
        )

    def empty_directories(self, source: Listed) -> Iterable[Step]:
        """The directories that no file brings with it."""
        for path in self._missing:
            self._parents.update(_parents(path))
        for path in self._missing:
            if path not in self._parents:
                yield self._simple(Action.MAKE, path, FileType.DIRECTORY, is_here=not self._is_push)

    def removals(self, source: Listed, target: Listed) -> Iterable[Step]:
        """What is to be removed, what is in a directory before that itself."""
        # Of what is below these nobody knows whether it should be there.
        unknown = {path for path, _ in self.plan.impossible}
        for path in sorted(target.entries.keys() - source.entries.keys(), reverse=True):
            if unknown.intersection((path, *_parents(path))):
                continue
            entry = target.entries[path]
            if entry.type is FileType.OTHER:
                self.plan.left_out.append(path)
            else:
                yield self._simple(Action.REMOVE, path, entry.type, is_here=not self._is_push)

    def _simple(self, action: Action, path: str, kind: FileType, *, is_here: bool) -> Step:
        return Step(
            action,
            joined(self._root, path),
            self._place.below(*path.split("/")),
            is_here=is_here,
            type=kind,
        )


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def joined(root: str, path: str) -> str:
    """The path of something in the directory `root`, at the server."""
    return f"{root}/{path}" if root else path
