"""Kills around kept jobs: some of those that `python -m tests.integration.crash_jobs` makes by the hundred."""

from __future__ import annotations

from pathlib import Path

from tests.integration.crash_jobs import run


def test_whatever_is_killed_each_job_is_there_and_told_as_it_is(tmp_path: Path) -> None:
    counts = run(tmp_path, kills=3, seed=2)
    assert counts["daemons killed"] + counts["supervisors killed"] >= 3
