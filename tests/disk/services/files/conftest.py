"""What the tests of the files service begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sockserv.testing import OWNER
from tests.disk.services.files.kit import FilesServer


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FilesServer]:
    with FilesServer(tmp_path / "files", identity_of={OWNER.name: OWNER}.get) as server:
        yield server
