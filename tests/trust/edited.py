"""An identities file in a test's hands, as a person would edit it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from sockserv.trust.store import IdentityStore, owner_entry

OWNER_TOKEN = "o" * 43


@attrs.define
class Edited:
    """An identities file, its store, and the clock that its times go by."""

    path: Path
    seconds: float = 0.0

    def write(self, text: str) -> None:
        self.path.write_text(text, encoding="utf-8")
        self.path.chmod(0o600)
        self.settle()

    def settle(self) -> None:
        self.seconds = self.path.lstat().st_mtime + 10

    def open(self) -> IdentityStore:
        owner = owner_entry(OWNER_TOKEN, uid=500)
        return IdentityStore(self.path, owner=owner, file_clock=lambda: self.seconds)


@contextmanager
def no_more_files() -> Iterator[None]:
    """What a process meets that has as many files open as it may."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
