"""The directories that files are put into, while some uploads run: each is walked to once, and synced once for all."""

from __future__ import annotations

import os
from types import TracebackType

import attrs

from sockserv.files.jail import Jail
from sockserv.files.names import components

__all__ = ["Parent", "Parents"]


@attrs.define
class Parent:
    """An open directory. `is_changed` says that the disk may not know yet which names are in it."""

    descriptor: int
    is_changed: bool = False

    def sync(self) -> None:
        """See that the disk knows the names. Raises `OSError`."""
        if self.is_changed:
            os.fsync(self.descriptor)
            self.is_changed = False


class Parents:
    """Directories that stay open until a `with` block ends; for one thread at a time.

    Whoever asks must have begun to wait before the block began: what others did before that is seen.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[Jail, tuple[str, ...], bool], Parent] = {}

    def __enter__(self) -> Parents:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._open:
            os.close(self._open.popitem()[1].descriptor)

    def of(self, jail: Jail, path: str, *, make: bool) -> tuple[Parent, str]:
        """The directory that `path` is in, and the name in there; raises what `Jail.open_parent` raises."""
        names = components(path)
        key = jail, names[:-1], make
        parent = self._open.get(key) if names else None
        if parent is None:
            self._open[key] = parent = Parent(jail.open_parent(path, make=make))
        return parent, names[-1]
