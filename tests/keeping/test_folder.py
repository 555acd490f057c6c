"""The folder of a kept job: its name, its lock, and what a crash leaves."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockserv.keeping.folder import JobFolder, file_name, find_folders


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def folder(tmp_path: Path, identity: str = "alice", job: str = "build") -> JobFolder:
    return JobFolder.of(tmp_path / "jobs", identity=identity, job=job)


@pytest.mark.parametrize("name", ["alice", "a-b_c", "user@example", "7"])
def test_plain_names_stand_for_themselves(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Alice", "=41lice"),
        ("..", "=2e=2e"),
        ("a/b", "a=2fb"),
        ("a\0b", "a=00b"),
        ("=41", "=3d41"),
        ("é", "=c3=a9"),
        ("lab.local", "lab=2elocal"),
    ],
)
def test_what_a_disk_may_not_take_is_written_as_numbers(name: str, expected: str) -> None:
    assert file_name(name) == expected


@given(st.text())
def test_any_name_is_one_part_of_a_path(name: str) -> None:
    made = file_name(name)
    assert made not in ("", ".", "..")
    assert "/" not in made
    assert "\0" not in made
    assert len(made.encode()) <= 200
    assert made == made.lower()


@given(st.text(), st.text())
def test_two_names_are_never_one_folder(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


@pytest.mark.parametrize(("length", "is_coded"), [(200, True), (201, False)])
def test_a_long_name(length: int, is_coded: bool) -> None:
    assert (file_name("x" * length) == "x" * length) == is_coded


def test_a_new_folder_is_private_and_locked(tmp_path: Path) -> None:
    made = folder(tmp_path)
    lock = made.make()
    assert made.is_supervised()
    for path in (made.path, made.path.parent, made.path.parent.parent):
        assert mode_of(path) == 0o700
    assert all(mode_of(path) == 0o600 for path in made.path.iterdir())
    os.close(lock)
    assert not made.is_supervised()


def test_a_lock_is_held_as_long_as_anybody_has_it(tmp_path: Path) -> None:
    made = folder(tmp_path)
    lock = made.make()
    handed_on = os.dup(lock)
    os.close(lock)
    assert made.is_supervised()
    os.close(handed_on)
    assert not made.is_supervised()


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    made = folder(tmp_path)
    os.close(made.make())
    made.stdout.write_text("kept")
    with pytest.raises(FileExistsError):
        made.make()
    assert made.stdout.read_text() == "kept"


def test_a_folder_that_cannot_be_made_whole_is_not_there(tmp_path: Path) -> None:
    class Full(JobFolder):
        def _reserve(self) -> None:
            raise OSError(28, "No space left on device")

    made = Full(tmp_path / "jobs" / "alice" / "build")
    with pytest.raises(OSError, match="No space"):
        made.make()
    assert not made.path.exists()


def test_the_reserve_has_room_and_goes(tmp_path: Path) -> None:
    made = folder(tmp_path)
    os.close(made.make())
    reserve = made.path / "reserve"
    assert reserve.stat().st_blocks > 0
    made.free_reserve()
    made.free_reserve()
    assert not reserve.exists()


def test_removing(tmp_path: Path) -> None:
    one, other = folder(tmp_path), folder(tmp_path, job="other")
    for made in (one, other):
        os.close(made.make())
    one.remove()
    one.remove()
    assert [found.path for found in find_folders(tmp_path / "jobs")] == [other.path]
    other.remove()
    assert [*(tmp_path / "jobs").iterdir()] == []


def test_one_is_made_while_the_last_other_one_is_removed(tmp_path: Path) -> None:
    """Between looking for the identity's folder and using it, somebody else may remove that."""
    one, other = folder(tmp_path, job="one"), folder(tmp_path, job="other")

    def make_and_remove(made: JobFolder) -> None:
        for _ in range(20):
            os.close(made.make())
            made.remove()

    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(make_and_remove, made) for made in (one, other)]:
            done.result()


def test_nothing_stays_because_somebody_else_removes_it_too(tmp_path: Path) -> None:
    made = folder(tmp_path)

    def remove_files() -> None:
        while made.path.exists():
            with suppress(FileNotFoundError):
                for path in [*made.path.glob("*")]:
                    path.unlink()

    with ThreadPoolExecutor() as threads:
        for _ in range(20):
            os.close(made.make())
            for number in range(20):
                (made.path / str(number)).touch()
            removing = threads.submit(remove_files)
            made.remove()
            removing.result()
            assert not made.path.exists()


def test_what_is_written_while_it_is_removed_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, remove_directory = folder(tmp_path), os.rmdir
    os.close(made.make())

    def remove_late(path: Path, **options: Any) -> None:
        if not made.is_told:
            monkeypatch.undo()
            made.note_told()
        remove_directory(path, **options)

    monkeypatch.setattr(os, "rmdir", remove_late)
    made.remove()
    assert not made.path.exists()


def test_something_else_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(NotADirectoryError):
        folder(tmp_path).make()


def test_no_folders(tmp_path: Path) -> None:
    assert [*find_folders(tmp_path / "jobs")] == []


def test_nothing_but_folders_is_found(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    (jobs / "alice").mkdir(parents=True)
    (jobs / "file").write_text("")
    (jobs / "alice" / "file").write_text("")
    (jobs / "link").symlink_to(tmp_path)
    assert [*find_folders(jobs)] == []


def test_the_sizes_of_what_is_not_there(tmp_path: Path) -> None:
    made = folder(tmp_path)
    assert made.spooled_bytes() == (0, 0)
    assert not made.is_supervised()


def test_the_end_is_that_of_the_outcome(tmp_path: Path) -> None:
    made = folder(tmp_path)
    os.close(made.make())
    os.utime(made.path, (5, 5))
    assert made.ended_at() == 5
    made.outcome.write_text("{}")
    os.utime(made.outcome, (7, 7))
    assert made.ended_at() == 7
