"""What could be meant by what is typed so far."""

from __future__ import annotations

import pytest

from sockserv.cli.talking.completing import completions
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
