"""Renaming that replaces nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockserv.files.rename import rename_after_looking, rename_exclusively


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


BOTH = pytest.mark.parametrize("rename", [rename_exclusively, rename_after_looking])


@BOTH
def test_to_a_free_name(tmp_path: Path, folder: int, rename: Callable[..., None]) -> None:
    (tmp_path / "é").write_text("1")
    rename("é", "中", source_fd=folder, target_fd=folder)
    assert os.listdir(tmp_path) == ["中"]


@BOTH
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_to_a_name_that_is_taken(
    tmp_path: Path, folder: int, rename: Callable[..., None], kind: str
) -> None:
    (tmp_path / "a").mkdir()
    if kind == "folder":
        (tmp_path / "b").mkdir()
    elif kind == "link":
        (tmp_path / "b").symlink_to("nowhere")
    else:
        (tmp_path / "b").touch()
    with pytest.raises(FileExistsError):
        rename("a", "b", source_fd=folder, target_fd=folder)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@BOTH
def test_what_is_not_there(folder: int, rename: Callable[..., None]) -> None:
    with pytest.raises(FileNotFoundError):
        rename("a", "b", source_fd=folder, target_fd=folder)


@BOTH
def test_a_name_does_not_end_in_the_middle(
    tmp_path: Path, folder: int, rename: Callable[..., None]
) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match="null"):
        rename("a", "b\0c", source_fd=folder, target_fd=folder)
    assert os.listdir(tmp_path) == ["a"]


def test_one_of_many_wins(tmp_path: Path, folder: int) -> None:
    won: list[int] = []

    def run(number: int) -> None:
        (tmp_path / str(number)).write_text(str(number))
        start.wait()
        try:
            rename_exclusively(str(number), "x", source_fd=folder, target_fd=folder)
        except FileExistsError:
            return
        won.append(number)

    start = threading.Barrier(8)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / "x").read_text()] == [str(number) for number in won]
