"""Many small files read or written in one turn of a thread. All of it blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import attrs

from sockserv.client.files.errors import LocalFileError, TargetExists, naming
from sockserv.client.files.fetching import Fetched, mismatch
from sockserv.client.files.local import Content, read_small
from sockserv.client.files.plan import Step
from sockserv.client.files.progress import State
from sockserv.client.files.target import Target, folder_of
from sockserv.errors import SockservError
from sockserv.files.errors import FilesError

__all__ = ["Outcome", "read_all", "write_all"]


def read_all(batch: Sequence[Step], *, max_bytes: int) -> list[Content | SockservError | None]:
    """The contents of files, errors for those that cannot be read, None for those above `max_bytes`."""
    contents: list[Content | SockservError | None] = []
    for step in batch:
        place = step.place
        try:
            contents.append(read_small(place.path, max_bytes=max_bytes, may_be_link=place.is_named))
        except LocalFileError as error:
            contents.append(error)
    return contents


@attrs.define
class Outcome:
    """What has become of a file that was fetched: it is written, the same was there, or `error` says why not."""

    fetched: Fetched
    state: State = State.DONE
    error: SockservError | None = None


def write_all(batch: Iterable[Fetched], *, preserve: bool) -> list[Outcome]:
    """Put files at their places, whole: each is verified, and on the disk before it gets its name."""
    outcomes = [Outcome(one) for one in batch]
    outcomes.sort(key=lambda outcome: _folder_of(outcome.fetched))
    for _, group in groupby(outcomes, key=lambda outcome: _folder_of(outcome.fetched)):
        _Group([*group], preserve=preserve).write()
    return outcomes


def _folder_of(fetched: Fetched) -> tuple[str, tuple[str, ...]]:
    place = fetched.step.place
    return str(place.folder), place.names[:-1]


class _Group:
    """Files for one folder.

    All of them are written before the first one is synced: the disk can then take them in one go, which is many times
    faster than one after the other.
    """

    def __init__(self, outcomes: Sequence[Outcome], *, preserve: bool) -> None:
        self._outcomes = outcomes
        self._preserve = preserve
        self._targets: dict[int, Target] = {}

    def write(self) -> None:
        place = self._outcomes[0].fetched.step.place
        try:
            with folder_of(place) as folder:
                self._folder = folder
                for act in (self._begin, self._settle, self._publish):
                    self._for_each(act)
                with naming(place.path.parent):
                    os.fsync(folder)
        except LocalFileError as error:
            for outcome in self._outcomes:
                outcome.error = outcome.error or error
        finally:
            for target in self._targets.values():
                target.close()

    def _for_each(self, act: Callable[[Outcome], None]) -> None:
        for outcome in self._outcomes:
            if outcome.error is None and outcome.state is State.DONE:
                try:
                    act(outcome)
                except (LocalFileError, FilesError) as error:
                    outcome.error = error
                    self._discard(outcome)

    def _begin(self, outcome: Outcome) -> None:
        one = outcome.fetched
        target = Target(one.step.place, one.head.etag)
        self._targets[id(outcome)] = target
        target.open(resume=False, is_private=self._preserve, folder=self._folder)
        target.write([one.content])
        if target.digest != one.digest:
            raise mismatch(one.step)

    def _settle(self, outcome: Outcome) -> None:
        head = outcome.fetched.head
        self._targets[id(outcome)].settle(
            mode=head.mode if self._preserve else None,
            mtime_ns=head.mtime_ns if self._preserve else None,
        )

    def _publish(self, outcome: Outcome) -> None:
        one = outcome.fetched
        target = self._targets[id(outcome)]
        try:
            target.publish(overwrite=one.step.overwrite)
        except TargetExists:
            path = one.step.place.path
            here = read_small(path, max_bytes=len(one.content), may_be_link=False)
            if here is None or here.digest != one.digest:
                raise TargetExists(f"{path} is there already, and is another one") from None
            outcome.state = State.SAME

    def _discard(self, outcome: Outcome) -> None:
        target = self._targets.pop(id(outcome), None)
        if target is not None:
            target.discard()
            target.close()
