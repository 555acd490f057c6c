"""What every service has to keep to, kept by this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockserv.services import Service
from sockserv.services.files import Files
from sockserv.testing import OWNER, Example, ServiceConformance
from sockserv.trust import FilesAccess, FilesGrant
from tests.disk.services.files.kit import BIG, digest

SMALL = b"hello"


class TestFiles(ServiceConformance):
    also_held = ("chat",)
    examples = (
        Example(
            "files.put",
            {"path": "new", "size": len(SMALL), "digest": digest(SMALL)},
            SMALL,
            repeats=False,
        ),
        Example(
            "files.put",
            {"path": "new", "size": len(BIG), "digest": digest(BIG), "upload": "x"},
            BIG,
            repeats=False,
        ),
        Example("files.partial", {"path": "new", "upload": "x"}),
        Example("files.get", {"path": "small"}, repeats=False),
        Example("files.get", {"path": "big"}, repeats=False),
        Example("files.stat", {"path": "small"}, repeats=False),
        Example("files.list", {"path": "many"}, repeats=False),
        Example("files.list", {"recursive": True}, repeats=False),
        Example("files.mkdir", {"path": "folder"}),
        Example("files.move", {"source": "small", "target": "moved"}),
        Example("files.remove", {"path": "many", "recursive": True}),
        Example("files.digest", {"path": "big", "algorithm": "md5"}, repeats=False),
        Example("files.usage", repeats=False),
        Example(
            "files.offer",
            {"to": OWNER.name, "name": "new", "size": len(BIG), "digest": digest(BIG)},
            BIG,
            repeats=False,
        ),
        Example("files.offered", {"to": OWNER.name, "name": "new", "upload": "x"}),
    )

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.made = 0

    def make_service(self) -> Service:
        self.made += 1
        root = self.folder / str(self.made)
        (root / "many").mkdir(parents=True)
        (root / "small").write_bytes(SMALL)
        (root / "big").write_bytes(BIG)
        for number in range(20):
            (root / "many" / str(number)).touch()
        grant = FilesGrant(".", FilesAccess.READ_WRITE)
        return Files(root, grant_of=lambda identity: grant, identity_of={OWNER.name: OWNER}.get)
