"""Kills in the middle of transfers: some of those that `python -m tests.integration.crash_files`
makes by the hundred.
"""

from __future__ import annotations

from pathlib import Path

from tests.integration.crash_files import run


def test_whatever_is_killed_files_are_whole_and_what_was_acknowledged_is_there(
    tmp_path: Path,
) -> None:
    counts = run(tmp_path, kills=4, seed=1)
    assert counts["clients killed"] + counts["daemons killed"] == 4
