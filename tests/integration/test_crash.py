"""Daemon and clients are killed while files are stored: some rounds of `python -m tests.crash.files`."""

from __future__ import annotations

from pathlib import Path

from tests.crash.files import crashes


def test_what_is_stored_is_whole_and_stays(tmp_path: Path) -> None:
    with crashes(tmp_path, seed=1) as them:
        for _ in range(4):
            them.round()
    assert them.kills > 4
    assert them.stored
