"""Kept jobs on a disk that is full: one of some megabytes, which only root can make."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_twisted

from sockserv.errors import Unavailable
from sockserv.keeping.record import read_outcome
from tests.integration.keeping.kit import Attached, kept, marked
from tests.integration.waiting import until_so

_SIZE_BYTES = 3 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_BYTES}", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("nobody but root can make a disk that is full")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@pytest_twisted.ensureDeferred
async def test_a_job_that_writes_more_than_there_is_room_for(disk: Path) -> None:
    async with kept(disk / "jobs") as keeper:
        job = await keeper.shell("trap '' PIPE; head -c 10M /dev/zero", spool_bytes=20_000_000)
        outcome = await job.outcome()
        assert str(outcome) == "killed(output-limit)"
        assert "no space left" in outcome.message
        # What was kept stays, and is counted.
        assert 0 < outcome.stdout_bytes == job.folder.stdout.stat().st_size < _SIZE_BYTES
        assert read_outcome(job.folder) == outcome
        with pytest.raises(Unavailable, match="no space left"):
            await keeper.start("true", name="another")
        assert os.listdir(keeper.folder / "alice") == ["build"]
        attached = Attached(job)
        await attached.outcome
        assert len(attached.output) == outcome.stdout_bytes
        await job.remove()
        assert str(await (await keeper.shell("exit 3")).outcome()) == "exited(3)"


@pytest_twisted.ensureDeferred
async def test_the_outcome_has_room_of_its_own(disk: Path) -> None:
    async with kept(disk / "jobs") as keeper:
        job = await keeper.shell("sleep 0.5; exit 3")
        fill(disk)
        outcome = await job.outcome()
        assert str(outcome) == "exited(3)"
        assert read_outcome(job.folder) == outcome


@pytest_twisted.ensureDeferred
async def test_an_outcome_without_any_room_waits_for_it(disk: Path) -> None:
    async with kept(disk / "jobs") as keeper:
        job = await keeper.shell("sleep 0.5; exit 3")
        job.folder.free_reserve()
        filler = fill(disk)
        # It is told all the same, and to the next daemon, too.
        assert str(await job.outcome()) == "exited(3)"
        assert read_outcome(job.folder) is None
        await keeper.again()
        assert str(await keeper.find().outcome()) == "exited(3)"
        filler.unlink()
        await until_so(lambda: not marked(job))
        assert str(read_outcome(job.folder)) == "exited(3)"
        assert not job.folder.control.exists()
