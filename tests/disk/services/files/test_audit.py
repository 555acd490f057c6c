"""What the audit log is told of files: who has done what by which grant, and how many bytes went."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockserv.files.errors import ReadOnly
from sockserv.services.files import Files
from sockserv.testing import OWNER, MemoryServer
from sockserv.trust import FilesAccess
from tests.disk.services.files.kit import BIG, digest, somebody
from tests.server.test_audited import Sink


def test_what_is_written_down(tmp_path: Path) -> None:
    sink = Sink()
    with MemoryServer([Files(tmp_path)], audit=sink) as memory:
        alice = memory.connect(somebody(FilesAccess.READ_WRITE, "reports", "alice"))
        bob = memory.connect(somebody(FilesAccess.READ_ONLY, "reports", "bob"))
        owner = memory.connect(OWNER)
        args = {"path": "a", "digest": digest(BIG), "size": len(BIG)}
        memory.run(alice.call("files.put", args, body=BIG))
        memory.run(bob.call("files.get", {"path": "a"}))
        with pytest.raises(ReadOnly):
            memory.run(bob.call("files.remove", {"path": "a"}))
        memory.run(owner.call("files.list"))
    ends = [line for line in sink.take() if line["event"] == "end"]
    assert [(line["op"], line["rule"], line["outcome"]) for line in ends] == [
        ("files.put", "files:rw reports", "ok"),
        ("files.get", "files:ro reports", "ok"),
        ("files.remove", "files:ro reports", "files.read-only"),
        ("files.list", "*", "ok"),
    ]
    assert ends[0]["received_bytes"] == len(BIG)
    assert ends[1]["sent_bytes"] > len(BIG)
    assert str(tmp_path) not in str(ends)
