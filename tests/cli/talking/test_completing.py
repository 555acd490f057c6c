"""What could be meant by what is typed so far."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockserv.cli.talking.completing import completions, local_files
from sockserv.cli.talking.view import View

VIEW = View(names=("alice", "Bob", "王芳"), rooms=("lobby", "ops"))


@pytest.mark.parametrize(
    ("before", "length", "found"),
    [
        ("", 0, []),
        ("al", 2, ["alice: "]),
        ("ask b", 1, ["Bob "]),
        ("ask @", 1, ["@alice ", "@Bob ", "@王芳 "]),
        ("王", 1, ["王芳: "]),
        ("one\nal", 2, ["alice "]),
        ("/jo", 3, ["/join "]),
        ("/join ", 0, ["lobby", "ops", "@alice", "@Bob", "@王芳"]),
        ("/join @b", 2, ["@Bob"]),
        ("/LEAVE o", 1, ["ops"]),
        ("/msg @a", 2, ["@alice "]),
        ("/msg @alice b", 1, ["Bob "]),
        ("/history ", 0, []),
        ("/say", 4, []),
        ("//al", 4, []),
    ],
)
def test_completions(before: str, length: int, found: list[str]) -> None:
    assert completions(before, VIEW) == (length, found)


def test_all_commands() -> None:
    _, found = completions("/", VIEW)
    assert "/who " in found
    assert "/say " not in found


FILES = ("a b.txt", "a.txt", "it's", "'quoted'", "back\\slash", "a\nb", "a @b", "folder/")


@pytest.mark.parametrize(
    ("before", "length", "found"),
    [
        ("/send ", 0, ["a b.txt", "a.txt", "it's", "a @b", "folder/"]),
        ("/send a ", 2, ["a b.txt", "a @b"]),
        ("/SEND a.", 2, ["a.txt"]),
        ("/send a b.txt @", 1, ["@alice", "@Bob", "@王芳"]),
        ("/send a b.txt @b", 2, ["@Bob"]),
        ("/send x", 1, []),
    ],
)
def test_files(before: str, length: int, found: list[str]) -> None:
    def files(begun: str) -> list[str]:
        return [name for name in FILES if name.startswith(begun)]

    assert completions(before, VIEW, files) == (length, found)


def test_files_here(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".hidden").touch()
    (tmp_path / "file").touch()
    (tmp_path / "gone").symlink_to("nowhere")
    here = f"{tmp_path}/"
    assert local_files(f"{here}f") == [f"{here}file", f"{here}folder/"]
    assert local_files(here) == [f"{here}file", f"{here}folder/", f"{here}gone"]
    assert local_files(f"{here}folder/") == []
    assert local_files(f"{here}folder/.") == [f"{here}folder/.hidden"]
    assert local_files(f"{here}missing/") == []
    assert local_files(f"{here}file/") == []
    assert local_files("\0/") == []
