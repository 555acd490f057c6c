"""Any operations in any order do what they would do to a dictionary of names."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sockserv.files.errors import FilesError
from sockserv.files.facts import FileType
from sockserv.services.files import tree
from sockserv.services.files.walking import walk
from tests.disk.services.files.test_races import Blocking

PATHS = [*"abc", *(f"{x}/{y}" for x in "ab" for y in "abc"), "a/a/a", "a/b/c"]
paths = st.sampled_from(PATHS)
overwrites = st.sampled_from(["never", "always"])

operations = st.one_of(
    st.tuples(st.just("put"), paths, st.binary(max_size=3), overwrites, st.booleans()),
    st.tuples(st.just("mkdir"), paths, st.booleans()),
    st.tuples(st.just("move"), paths, paths, overwrites),
    st.tuples(st.just("remove"), paths, st.booleans()),
    st.tuples(st.just("get"), paths),
)


class Refused(Exception):
    """The model does not allow it either."""


class Model:
    """What each path has: bytes for a file, None for a directory."""

    def __init__(self) -> None:
        self.has: dict[str, bytes | None] = {"": None}

    def _parent(self, path: str, *, make: bool = False) -> None:
        parent = path.rpartition("/")[0]
        if parent not in self.has and make:
            self.mkdir(parent, True)
        if self.has.get(parent, b"") is not None:
            raise Refused

    def put(self, path: str, content: bytes, overwrite: str, parents: bool) -> None:
        self._parent(path, make=parents)
        if path in self.has and (overwrite == "never" or self.has[path] is None):
            raise Refused
        self.has[path] = content

    def mkdir(self, path: str, parents: bool) -> None:
        self._parent(path, make=parents)
        if path in self.has and not (parents and self.has[path] is None):
            raise Refused
        self.has[path] = None

    def move(self, source: str, target: str, overwrite: str) -> None:
        if source not in self.has or target.startswith(f"{source}/"):
            raise Refused
        self._parent(target)
        is_file = self.has[source] is not None
        if target in self.has and (overwrite == "never" or not is_file or self.has[target] is None):
            raise Refused
        moved = {path: self.has.pop(path) for path in self._below(source)}
        self.has.update({target + path[len(source) :]: moved[path] for path in moved})

    def remove(self, path: str, recursive: bool) -> None:
        if path not in self.has or (len(self._below(path)) > 1 and not recursive):
            raise Refused
        for each in self._below(path):
            del self.has[each]

    def get(self, path: str) -> bytes:
        content = self.has.get(path)
        if content is None:
            raise Refused
        return content

    def _below(self, path: str) -> list[str]:
        return [each for each in self.has if each == path or each.startswith(f"{path}/")]


def act(blocking: Blocking, name: str, *args: Any) -> Any:
    if name == "put":
        path, content, overwrite, parents = args
        blocking.put(path, content, overwrite=overwrite, parents=parents)
    elif name == "mkdir":
        blocking.mkdir(args[0], parents=args[1])
    elif name == "move":
        blocking.move(args[0], args[1], overwrite=args[2])
    elif name == "remove":
        blocking.remove(args[0], recursive=args[1])
    else:
        return blocking.get(args[0])
    return None


def found(blocking: Blocking) -> dict[str, bytes | None]:
    """What a list of everything says, and what is in it."""
    has: dict[str, bytes | None] = {"": None}
    for batch in walk(blocking.jail, "", recursive=True):
        for name, _ in batch.entries:
            path = "/".join((*batch.below, name))
            is_file = tree.entry(blocking.jail, path).type is FileType.FILE
            has[path] = blocking.get(path) if is_file else None
    return has


@given(st.lists(operations, max_size=25))
def test_it_is_as_in_the_model(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as folder:
        blocking, model = Blocking(Path(folder)), Model()
        for name, *args in steps:
            expected: Any
            try:
                expected = getattr(model, name)(*args)
            except Refused:
                expected = Refused
            try:
                seen = act(blocking, name, *args)
            except FilesError:
                seen = Refused
            assert seen == expected, (name, args)
            assert found(blocking) == model.has
