"""What the tests of the files service begin with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.services.files.kit import FilesServer

_MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory, where the system has such a place: what is tested here waits for the disk at every turn."""
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FilesServer]:
    with FilesServer(tmp_path / "files") as server:
        yield server
